"""Linear probe on image features: logistic regression by L-BFGS, its penalty chosen on validation images.

The penalty under which validation images are explained best (mean cross-entropy) is taken; with it the probe learns
training and validation images together, and the test images are looked at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.classify import accuracies, labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import ProbeSplit, probe_split
from deixis.ops.logistic import linear_layer
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PENALTIES", "PROTOCOL", "measure", "prepare"]

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_TRIAL, _FINAL = 100, 1000
"""Iterations of L-BFGS, at the most, while penalties are compared and for what is reported (as CLIP's evaluation)."""

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
    features = F.normalize(model.image_features(data, talk).double(), dim=-1)
    labels, count = labels_of(data.take(split.all), split.classes), len(split.classes)
    label_of = dict(zip(split.all, labels.tolist(), strict=True))

    def logits(learned: tuple[int, ...], queried: tuple[int, ...], penalty: float, iterations: int) -> Tensor:
        own = torch.tensor([label_of[i] for i in learned])
        weight, intercept = linear_layer(features[list(learned)], own, count, penalty, iterations=iterations)
        return features[list(queried)] @ weight.T + intercept

    with talk.step("learn"):
        held = torch.tensor([label_of[i] for i in split.validation])
        losses = [
            float(F.cross_entropy(logits(split.train, split.validation, penalty, _TRIAL), held))
            for penalty in PENALTIES
        ]
        # Of equally good penalties the largest.
        penalty = PENALTIES[max(range(len(PENALTIES)), key=lambda i: (-losses[i], PENALTIES[i]))]
        found = logits(split.train + split.validation, split.test, penalty, _FINAL)
    test = data.take(split.test)
    edge = " It is at the edge of those tried." if penalty in (PENALTIES[0], PENALTIES[-1]) else ""
    note = f"Penalty {penalty:g}, chosen on {len(split.validation)} validation images.{edge}"
    return EvalOutput.of(
        accuracies(found, torch.tensor([label_of[i] for i in split.test])),
        test,
        [note, split.note(len(split.train) + len(split.validation))],
        classes=count,
        penalty=penalty,
        validation_loss=dict(zip(map(str, PENALTIES), losses, strict=True)),
    )
