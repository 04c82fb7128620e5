"""Linear probe on image features: logistic regression by L-BFGS, its penalty chosen on validation images.

The penalty under which validation images are explained best (mean cross-entropy) is taken; with it the probe learns
training and validation images together, and the test images are looked at once.
"""

from __future__ import annotations

from deixis.engine.evaluation.classify import accuracies, labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import ProbeSplit, linear_probe, probe_split
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="A linear classifier on frozen image features",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "labels"),
    metrics=(
        EvalMetric("top1", "top-1"),
        EvalMetric("top5", "top-5"),
        EvalMetric("mean_per_class", "mean per class"),
    ),
    plots=("top1", "top5", "mean_per_class"),
    test="the split `test`, else two fifths of the images, by concept; the rest is for training, a part of it "
    "validation, which chooses the penalty",
    source="Radford et al. 2021 (CLIP), appendix A.3: L-BFGS, at most 1,000 iterations",
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> tuple[EvalSet, ProbeSplit]:
    """The labelled images in three parts."""
    every = data.labelled(options.limit, talk.say)
    return every, probe_split(every, validation=True)


def measure(plan: tuple[EvalSet, ProbeSplit], model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy, one value a test image."""
    data, split = plan
    features = model.image_features(data, talk)
    with talk.step("learn"):
        probe = linear_probe(features, data, split)
    test = data.take(split.test)
    return EvalOutput.of(
        accuracies(probe.logits, labels_of(test, split.classes)),
        test,
        [probe.note(split), split.note(len(split.train) + len(split.validation))],
        classes=len(split.classes),
        penalty=probe.penalty,
        validation_loss=dict(probe.losses),
    )
