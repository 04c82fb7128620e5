"""Trains on half of the classes and tests on both halves, each separately."""

from __future__ import annotations

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot import evaluation
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Trains on the first half of the sorted classes and tests on both halves",
    capabilities=(("encode_image", "encode_text"),),
    fields=("images", "labels"),
    metrics=(EvalMetric("accuracy", "accuracy"),),
    plots=("accuracy",),
    axis="tested on",
    joined=False,
    test="two fifths of the images, by concept, or the split `test`; each half is classified separately",
    source="Zhou et al. 2022 (CoCoOp)",
    methods=("zero_shot", "coop", "pre"),
    slow=True,
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> evaluation.FewShotJob:
    """Parts, draws and questions."""
    return evaluation.prepare("base-to-new", PROTOCOL.methods, data, options, talk)


def measure(plan: evaluation.FewShotJob, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy of each method."""
    return evaluation.measure(plan, model, talk)
