"""COCO's average precision of a model that grounds phrases: each category is a phrase, asked of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deixis.data.synthetic.scenes.wording import article
from deixis.engine.evaluation.average_precision import BoxRow, average_precision, require_coco_eval
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.grounders import answer_by_method
from deixis.engine.evaluation.grounding import PhraseQuery
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.inputs.images import shown_size
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "DetectionPlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Boxes of all categories: COCO's average precision",
    capabilities=(("ground",),),
    fields=("images", "boxes"),
    metrics=(
        EvalMetric("ap", "AP"),
        EvalMetric("ap50", "AP at IoU 0.5"),
        EvalMetric("ap75", "AP at IoU 0.75"),
        EvalMetric("ap_small", "AP, small"),
        EvalMetric("ap_medium", "AP, medium"),
        EvalMetric("ap_large", "AP, large"),
        EvalMetric("ar", "AR with 100 boxes"),
    ),
    plots=("ap", "ap50", "ap75"),
    test="the split `test` if the data has one, else all images; every category is asked of every image",
    source="Lin et al. 2014 (COCO); computed by faster-coco-eval",
    slow=True,
)

_BOXES = 100


class DetectionPlan(NamedTuple):
    """Pictures, and the categories of what is in them."""

    data: EvalSet
    categories: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> DetectionPlan:
    """The pictures with boxes.

    Raises:
        DeixisError: faster-coco-eval is not installed, or no box has a category.
    """
    require_coco_eval()
    some = on_test(data.boxed(options.limit, talk.say))
    names = {region.category for sample in some.samples for region in sample.regions if region.category}
    return DetectionPlan(some, tuple(sorted(names)))


def measure(plan: DetectionPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """One value a category; what COCO reports is their mean."""
    data, categories = plan
    sizes = [shown_size(picture) for picture in data.pictures]
    texts = [f"{article(name)} {name}" for name in categories]
    queries = [PhraseQuery(row, text, "noun", ()) for row in range(len(sizes)) for text in texts]
    with talk.step("ground"), talk.bar("ground categories") as bar:
        answers = answer_by_method(model.model, data, queries, bar, boxes=_BOXES)
    predicted = [
        BoxRow(query.picture, texts.index(query.phrase), _pixels(box, sizes[query.picture]), score)
        for query, answer in zip(queries, answers, strict=True)
        for box, score in zip(answer.boxes.tolist(), answer.scores.tolist(), strict=True)
    ]
    truth = [
        BoxRow(row, categories.index(region.category), _pixels(region.box, sizes[row]))
        for row, sample in enumerate(data.samples)
        for region in sample.regions
        if region.category
    ]
    found = average_precision(sizes, len(categories), truth, predicted)
    columns = {}
    for name, values in found.items():
        if (known := np.isfinite(values)).any():
            queried = tuple(category for category, has in zip(categories, known, strict=True) if has)
            columns[Column(name)] = QueryValues(values[known], queried, np.zeros(int(known.sum()), dtype=np.int64))
    note = "Average precision is computed over all pictures at once: it has no intervals."
    return EvalOutput({"": columns}, (note,), {"images": len(sizes), "categories": len(categories)})


def _pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1]
