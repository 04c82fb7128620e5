"""Detection by two convolutions of 3 x 3 on a frozen map: the heat map of centres, and sizes.

All encoders see the whole of each image, squashed to their square; boxes are compared in the whole image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deixis.engine.evaluation.average_precision import BoxRow
from deixis.engine.evaluation.cells.ap50 import average_precision_50
from deixis.engine.evaluation.cells.centre_boxes import box_rows, decode_centres, fit_centres
from deixis.engine.evaluation.cells.region_data import RegionPlan, region_plan
from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.ops.regions.boxes import nms
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Detection by two 3 x 3 convolutions on a frozen map: AP at IoU 0.5",
    capabilities=(("image_tokens",),),
    fields=("images", "boxes"),
    metrics=(
        EvalMetric("ap50", "AP at IoU 0.5, mean of categories"),
        EvalMetric("ap50_any", "the same, all categories as one"),
    ),
    plots=("ap50", "ap50_any"),
    test="the split `test`, else two fifths of the images, by concept; the rest is for training. At most 600 images, "
    "or --limit; categories in fewer than 5 training images are left out",
    source="the head of Zhou et al. 2019 (CenterNet); AP as COCO computes it",
    slow=True,
)


_OVERLAP = 0.5
"""IoU above which a box is dropped for a better one, where categories count as one."""


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> RegionPlan:
    """The images with boxes in parts."""
    return region_plan(data, options, talk, masks=False)


def measure(plan: RegionPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """AP, one value a category."""
    maps, count = model.image_maps(plan.data, talk), len(plan.names)
    learned = plan.train + plan.validation
    boxes, categories = zip(*(_boxes(plan, i) for i in learned), strict=True)
    with talk.step("learn"):
        head = fit_centres(maps[list(learned)], boxes, categories, count)
    with torch.no_grad():
        outputs = head(maps[list(plan.test)])
    predicted, apart, truth = list[BoxRow](), list[BoxRow](), list[BoxRow]()
    for picture, (index, output) in enumerate(zip(plan.test, outputs, strict=True)):
        found = decode_centres(output)
        rows = box_rows(picture, found)
        predicted += rows
        apart += [rows[i] for i in nms(found.boxes, found.scores, _OVERLAP).tolist()]
        known = _boxes(plan, index)
        truth += [
            BoxRow(picture, category, (x0, y0, x1, y1))
            for (x0, y0, x1, y1), category in zip(known[0].tolist(), known[1].tolist(), strict=True)
        ]
    by_category = average_precision_50(count, truth, predicted)
    as_one = average_precision_50(1, *([row._replace(category=0) for row in rows] for rows in (truth, apart)))
    there = np.isfinite(by_category)
    columns = {
        Column("ap50"): _values(by_category[there], [n for n, has in zip(plan.names, there, strict=True) if has]),
        Column("ap50_any"): _values(as_one, ["any"]),
    }
    notes = (plan.note, "Average precision is computed over all images at once: it has no intervals.")
    return EvalOutput({"": columns}, notes, {"images": len(plan.test), "grid": list(maps.shape[2:])})


def _boxes(plan: RegionPlan, index: int) -> tuple[Tensor, Tensor]:
    """The boxes of an image and their categories."""
    regions = plan.regions(index)
    return (
        torch.tensor([region.box for region in regions], dtype=torch.float32),
        torch.tensor([plan.names.index(region.category) for region in regions], dtype=torch.long),
    )


def _values(values: np.ndarray, queries: list[str]) -> QueryValues:
    return QueryValues(values, tuple(queries), np.zeros(len(values), dtype=np.int64))
