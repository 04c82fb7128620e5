"""Trains on one style and tests on each."""

from __future__ import annotations

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot import evaluation
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Trains on one style (--style) and tests on each",
    capabilities=(("encode_image", "encode_text"),),
    fields=("images", "labels", "style"),
    metrics=(EvalMetric("accuracy", "accuracy"),),
    plots=("accuracy",),
    axis="tested on",
    joined=False,
    test="two fifths of the images of each style, by concept",
    methods=("zero_shot", "linear", "delta", "coop"),
    slow=True,
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> evaluation.FewShotJob:
    """Parts, draws and questions."""
    return evaluation.prepare("cross-style", PROTOCOL.methods, data, options, talk)


def measure(plan: evaluation.FewShotJob, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy of each method."""
    return evaluation.measure(plan, model, talk)
