"""Where the answers to questions lie: the overlap of the pixels that a model shows with those of the things named.

Each picture is measured at its own size. Of a question about what is not there the expected mask is empty: then the
overlap is 1 where nothing is shown, and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from deixis.data.grounding import answer_masks
from deixis.data.loading.crops import WHOLE, on_picture, region_mask
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.grounders import TextRow, run_on_texts
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.inputs.images import shown_size
from deixis.ops.regions.dense import mask_iou
from deixis.types import EvalMetric, EvalProtocol, Sample

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Where answers lie: overlap of the pixels shown with those that the answer rests on",
    capabilities=(("answer_mask",),),
    fields=("images", "questions", "masks"),
    metrics=(
        EvalMetric("iou", "mean IoU"),
        EvalMetric("everything", "mean IoU of all that is there"),
    ),
    plots=("iou", "everything"),
    axis="kind of question",
    test="the split `test` if the data has one, else all images; each picture at its own size",
    source="Chen et al. 2022 (VizWiz-VQA-Grounding: mean IoU over pictures)",
)

_LEAST = 0.5


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The pictures with questions."""
    found = on_test(data.questioned(options.limit, talk.say))
    answer_masks(found.source)  # refuses data without masks
    return found


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Of each question the IoU; beside it that of all things with masks, which reads no question."""
    places = {id(sample.image): place for place, sample in enumerate(plan.samples)}
    asked = answer_masks(plan.source).samples
    pictures = [places[id(sample.image)] for sample in asked]

    def run(pixels: Tensor, tokens: Tensor, real: Tensor, rows: Sequence[TextRow]) -> Iterable[tuple[Tensor, TextRow]]:
        return zip(model.model.answer_mask(pixels, tokens, real).float().cpu(), rows, strict=True)

    pairs = [(place, sample.captions[0]) for place, sample in zip(pictures, asked, strict=True)]
    with talk.step("show answers"), talk.bar("show answers") as bar:
        maps = run_on_texts(model.model, plan, pairs, run, bar)
    shares, blind = np.zeros(len(asked)), np.zeros(len(asked))
    for number, (sample, (values, row)) in enumerate(zip(asked, maps, strict=True)):
        size = shown_size(sample.picture)
        chances, seen = on_picture(values, row.window, size)
        expected = _pixels(sample, size)
        shares[number] = _overlap(seen & (chances >= _LEAST), expected)
        blind[number] = _overlap(_pixels(plan.samples[pictures[number]], size), expected)
    kinds, names = np.array([str(sample.extra["kind"]) for sample in asked]), np.array([s.id for s in asked], object)
    columns = {}
    for metric, each in (("iou", shares), ("everything", blind)):
        for kind in ("", *sorted(set(kinds.tolist()) - {""})):
            some = kinds == kind if kind else np.ones(len(kinds), dtype=bool)
            clusters = plan.clusters[np.array(pictures)][some]
            columns[Column(metric, kind)] = QueryValues(each[some], tuple(names[some]), clusters)
    empty = sum(not sample.regions for sample in asked)
    facts = {"images": len(plan.samples), "questions": len(asked), "empty": empty}
    return EvalOutput({"": columns}, (), facts)


def _pixels(sample: Sample, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Of all regions with a mask, at the picture's own size."""
    found = torch.zeros(size[1], size[0], dtype=torch.bool)
    for region in sample.regions:
        if region.mask is not None:
            found |= region_mask(region, WHOLE, size[::-1])
    return found


def _overlap(shown: Bool[Tensor, "H W"], expected: Bool[Tensor, "H W"]) -> float:
    return float(mask_iou(shown[None], expected[None])[0])
