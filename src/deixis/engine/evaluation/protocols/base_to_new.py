"""Half of the classes are learned, and both halves are asked about, each by itself."""

from __future__ import annotations

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot import evaluation
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="The first half of the sorted classes is learned, and both halves are asked about",
    capabilities=(("encode_image", "encode_text"),),
    fields=("images", "labels"),
    metrics=(EvalMetric("accuracy", "accuracy"),),
    plots=("accuracy",),
    axis="asked about",
    joined=False,
    test="two fifths of the images, by concept, or the side `test`; each half is told apart within itself",
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
