"""How labelled images are divided for classifiers on frozen features: by concept, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.classify import labels_of
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.fewshot.draws import parts, two_sided
from deixis.ops.logistic import linear_layer

__all__ = ["PENALTIES", "LinearProbe", "ProbeSplit", "linear_probe", "probe_split"]

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_TRIAL, _FINAL = 100, 1000
"""Iterations of L-BFGS, at the most, while penalties are compared and for what is reported (as CLIP's evaluation)."""

_SEED, _TEST, _VALIDATION = 0, 0.4, 0.15
"""The test part is that of the few-shot protocols."""


class ProbeSplit(NamedTuple):
    """Indices of images.

    Attributes:
        train: to learn from.
        validation: to choose settings by; none where none are chosen.
        test: to report on.
        classes: labels of which each part has an image.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Of all parts, ascending."""
        return tuple(sorted(self.train + self.validation + self.test))

    def note(self, learned: int) -> str:
        """The counts, in a sentence."""
        return f"{learned} images to learn from, {len(self.test)} test images, {len(self.classes)} classes."


def probe_split(data: EvalSet, validation: bool = False) -> ProbeSplit:
    """Divides images so that copies and pictures of one concept are in one part; splits that the data names are used.

    Args:
        data: labelled images.
        validation: whether there is a part to choose settings by.

    Raises:
        DeixisError: too few classes or concepts.
    """
    known = data.labelled()
    made = parts(known, _SEED, _TEST, _VALIDATION if validation else 0.0)
    names = two_sided(known, made)
    train, chosen, test = (known.where(part, names) for part in (made.train, made.validation, made.test))
    return ProbeSplit(train, chosen, test, names)


class LinearProbe(NamedTuple):
    """A linear classifier that was fitted on frozen features.

    Attributes:
        logits: of the test images.
        penalty: that was chosen.
        losses: penalty -> mean cross-entropy on validation images.
        weight: of features of length 1.
        intercept: of each class.
    """

    logits: Float[Tensor, "N C"]
    penalty: float
    losses: Mapping[str, float]
    weight: Float[Tensor, "C F"]
    intercept: Float[Tensor, " C"]

    def scores(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N C"]:
        """Logits of other images."""
        return F.normalize(features.double(), dim=-1) @ self.weight.T + self.intercept

    def note(self, split: ProbeSplit) -> str:
        """How the penalty was chosen, in a sentence."""
        edge = " It is at the edge of those tried." if self.penalty in (PENALTIES[0], PENALTIES[-1]) else ""
        return f"Penalty {self.penalty:g}, chosen on {len(split.validation)} validation images.{edge}"


def linear_probe(features: Float[Tensor, "N F"], data: EvalSet, split: ProbeSplit) -> LinearProbe:
    """Logistic regression by L-BFGS, its penalty chosen on validation images; with it training and validation images
    are learned together.

    Args:
        features: of all images of `data`.
        data: labelled images.
        split: with a validation part.
    """
    rows = F.normalize(features.double(), dim=-1)
    labels, count = labels_of(data.take(split.all), split.classes), len(split.classes)
    label_of = dict(zip(split.all, labels.tolist(), strict=True))

    def fitted(learned: tuple[int, ...], penalty: float, iterations: int) -> tuple[Tensor, Tensor]:
        own = torch.tensor([label_of[i] for i in learned])
        return linear_layer(rows[list(learned)], own, count, penalty, iterations=iterations)

    def loss(penalty: float) -> float:
        weight, intercept = fitted(split.train, penalty, _TRIAL)
        return float(F.cross_entropy(rows[list(split.validation)] @ weight.T + intercept, held))

    held = torch.tensor([label_of[i] for i in split.validation])
    losses = [loss(penalty) for penalty in PENALTIES]
    # Of equally good penalties the largest.
    penalty = PENALTIES[max(range(len(PENALTIES)), key=lambda i: (-losses[i], PENALTIES[i]))]
    weight, intercept = fitted(split.train + split.validation, penalty, _FINAL)
    found = rows[list(split.test)] @ weight.T + intercept
    return LinearProbe(found, penalty, dict(zip(map(str, PENALTIES), losses, strict=True)), weight, intercept)
