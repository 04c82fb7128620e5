"""K labelled images of every class are learned, for each K."""

from __future__ import annotations

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot import evaluation
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Trains on K images per class, for each K of --shots",
    capabilities=(("encode_image", "encode_text"),),
    fields=("images", "labels"),
    metrics=(EvalMetric("accuracy", "accuracy"),),
    plots=("accuracy",),
    axis="images a class",
    joined=True,
    test="two fifths of the images, by concept, or the split `test`; the same for all draws",
    source="Zhou et al. 2022 (CoOp)",
    methods=("zero_shot", "linear", "tip", "delta", "coop"),
    slow=True,
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> evaluation.FewShotJob:
    """Parts, draws and questions."""
    return evaluation.prepare("few-shot", PROTOCOL.methods, data, options, talk)


def measure(plan: evaluation.FewShotJob, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy of each method."""
    return evaluation.measure(plan, model, talk)
