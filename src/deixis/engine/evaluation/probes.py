"""How labelled images are divided for classifiers on frozen features: by concept, class by class."""

from __future__ import annotations

from typing import NamedTuple

from deixis.engine.evaluation.data import EvalSet
from deixis.engine.fewshot.draws import parts, two_sided

__all__ = ["ProbeSplit", "probe_split"]

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
