"""What each protocol learns and tests, before any image is encoded: classes, parts, draws and questions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deixis.engine.fewshot.draws import Labelled, Parts, draw, halves, parts, two_sided
from deixis.errors import DeixisError

__all__ = ["PLANS", "FewShotPlan", "TestQuestion", "few_shot_plan", "plan"]

TEST = 0.4
"""Share of the images for the test, where the data does not name a test split."""

_SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True)
class TestQuestion:
    """Which of some classes each test image is of.

    Attributes:
        name: such as `base`, `new`, or a style.
        images: indices.
        names: the classes to choose among.
    """

    name: str
    images: tuple[int, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FewShotPlan:
    """What is run for every method.

    Attributes:
        protocol: its name.
        classes: all of them.
        names: those that are learned.
        parts: the same for all draws.
        draws: seed -> K -> images.
        tests: of each trained method.
        notes: what a user should know of it.
    """

    protocol: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    parts: Parts
    draws: Mapping[int, Mapping[int, tuple[int, ...]]]
    tests: tuple[TestQuestion, ...]
    notes: tuple[str, ...] = ()

    def lists(self, data: Labelled) -> dict[str, Any]:
        """All lists of images, by id, as JSON can hold them.

        Args:
            data: that the plan was made for.
        """

        def ids(images: Sequence[int]) -> list[str]:
            return [data.ids[i] for i in images]

        return {
            "train": ids(self.parts.train),
            "test": ids(self.parts.test),
            "asks": {test.name: {"classes": list(test.names), "images": ids(test.images)} for test in self.tests},
            "draws": {str(s): {str(k): ids(i) for k, i in each.items()} for s, each in self.draws.items()},
        }


def plan(protocol: str, data: Labelled, shots: Sequence[int], seeds: int, style: str = "") -> FewShotPlan:
    """Plans a protocol.

    Args:
        protocol: `few-shot` (all classes, every K of `shots`), `base-to-new` (half of the classes are learned, and both
            halves tested, each by itself) or `cross-style` (learned in one style, tested in each). The last
            two take the largest of `shots`.
        data: the images.
        shots: images a class.
        seeds: how many draws.
        style: that is learned; empty: the one with the most images.

    Raises:
        DeixisError: there are too few classes, images or styles.
    """
    if seeds < 1:
        raise DeixisError(f"{seeds} draws are requested.", "Give 1 or more; 3 show how much they differ.")
    return PLANS[protocol](data, tuple(sorted(set(shots))), range(seeds), style)


def few_shot_plan(
    data: Labelled,
    shots: Sequence[int],
    seeds: Sequence[int],
    style: str = "",
    *,
    split_seed: int = _SPLIT_SEED,
    test: float = TEST,
) -> FewShotPlan:
    """Plans the protocol `few-shot`, on any split.

    Args:
        data: the images.
        shots: images a class, ascending.
        seeds: of the draws.
        style: has no say here.
        split_seed: of the parts.
        test: share of the images for the test.

    Raises:
        DeixisError: there are too few classes or images.
    """
    made = parts(data, split_seed, test)
    names = two_sided(data, made)
    draws = {seed: draw(data, made.train, names, shots, seed) for seed in seeds}
    tests = (TestQuestion("test", data.where(made.test, names), names),)
    return FewShotPlan("few-shot", names, names, made, draws, tests, _notes(data, made.train, names, shots))


def _base_to_new(data: Labelled, shots: Sequence[int], seeds: Sequence[int], style: str) -> FewShotPlan:
    made = parts(data, _SPLIT_SEED, TEST)
    names = two_sided(data, made)
    base, new = halves(names)
    draws = {seed: draw(data, made.train, base, shots[-1:], seed) for seed in seeds}
    tests = tuple(
        TestQuestion(name, data.where(made.test, half), half) for name, half in (("base", base), ("new", new))
    )
    return FewShotPlan("base-to-new", names, base, made, draws, tests, _notes(data, made.train, names, shots[-1:]))


def _cross_style(data: Labelled, shots: Sequence[int], seeds: Sequence[int], style: str) -> FewShotPlan:
    counts = Counter(data.styles)
    unknown = counts.pop("", 0)
    if len(counts) < 2 or unknown:
        raise DeixisError(
            f"{unknown} images have no style; the others have {len(counts)} styles, and two are needed.",
            "Give a table with a column `style`, or sub-folders within the classes: cat/photo/1.jpg, cat/sketch/1.jpg.",
        )
    learned = style or min(counts, key=lambda each: (-counts[each], each))
    if learned not in counts:
        raise DeixisError(f"There is no style {learned!r}.", f"There are: {', '.join(sorted(counts))}.")
    made = parts(dataclasses.replace(data, sides=()), _SPLIT_SEED, TEST)
    every = set(data.labels)
    made = dataclasses.replace(made, train=data.where(made.train, tuple(every), learned))
    names = two_sided(data, made)
    draws = {seed: draw(data, made.train, names, shots[-1:], seed) for seed in seeds}
    styles = [learned, *sorted(set(counts) - {learned})]
    tests = tuple(TestQuestion(each, data.where(made.test, names, each), names) for each in styles)
    tests = tuple(test for test in tests if test.images)
    notes = (f"Learned in the style {learned!r}.", *_notes(data, made.train, names, shots[-1:]))
    return FewShotPlan("cross-style", names, names, made, draws, tests, notes)


PLANS: Mapping[str, Callable[[Labelled, Sequence[int], Sequence[int], str], FewShotPlan]] = {
    "few-shot": few_shot_plan,
    "base-to-new": _base_to_new,
    "cross-style": _cross_style,
}
"""Name -> what plans it."""


def _notes(data: Labelled, train: Sequence[int], names: Sequence[str], shots: Sequence[int]) -> tuple[str, ...]:
    """What is short."""
    counts = Counter(data.labels[i] for i in train)
    short = sorted((counts[name], name) for name in names if counts[name] < max(shots))
    gone = sorted(set(data.labels) - set(names))
    notes = []
    if short:
        listed = ", ".join(f"{name} {count}" for count, name in short[:5]) + (", ..." if len(short) > 5 else "")
        notes.append(f"{len(short)} classes have fewer than {max(shots)} training images, and all are used: {listed}.")
    if gone:
        listed = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
        notes.append(f"{len(gone)} classes have no images for both sides, and are left out: {listed}.")
    return tuple(notes)
