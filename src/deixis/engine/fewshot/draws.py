"""Training and test images, with few of each class: parts, draws and halves.

The parts are made by group, so that near-duplicates and views of one thing never stand on both sides. A draw of few
images comes from the training part alone, and a smaller draw is the beginning of a larger one.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from deixis.data.splits import split
from deixis.errors import DeixisError
from deixis.types import Sample

__all__ = ["Labelled", "Parts", "draw", "halves", "limited", "parts", "style_of", "two_sided"]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What is known of N images besides their pixels.

    Attributes:
        ids: distinct.
        labels: the class name of each.
        groups: equal where images must stay on one side.
        sides: `train`, `val` or `test` where the data says so, else empty.
        styles: how each is drawn, where that is known; else empty.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[int, ...]
    sides: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    @classmethod
    def of(cls, samples: Sequence[Sample], groups: Sequence[int]) -> Labelled:
        """What samples with labels say.

        Args:
            samples: N of them.
            groups: of each.
        """
        return cls(
            tuple(sample.id for sample in samples),
            tuple(str(sample.label) for sample in samples),
            tuple(groups),
            tuple(sample.split for sample in samples),
            tuple(style_of(sample) for sample in samples),
        )

    def where(self, among: Sequence[int], names: Sequence[str], style: str | None = None) -> tuple[int, ...]:
        """Those of some images that are of some classes, and of one style where that is given."""
        wanted = set(names)
        return tuple(i for i in among if self.labels[i] in wanted and (style is None or self.styles[i] == style))


def style_of(sample: Sample) -> str:
    """How a sample is drawn: what a column or the set says under `style`; of stamps, whether it is a photograph; else
    the folder within that of its class."""
    style = str(sample.extra.get("style") or "")
    if not style and isinstance(photo := sample.extra.get("photo"), bool):
        return "photograph" if photo else "drawing"
    folders = PurePosixPath(sample.id).parent.parts
    if style or sample.label not in folders:
        return style
    below = folders[folders.index(str(sample.label)) + 1 :]
    return below[0] if below else ""


@dataclasses.dataclass(frozen=True)
class Parts:
    """Indices of images, ascending: to draw from, to choose settings by (may be none) and to report on."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def parts(data: Labelled, seed: int = 0, test: float = 0.4, validation: float = 0.0) -> Parts:
    """Splits images by group, class by class.

    Where the data names a split for training and one for the test, these are used; of the former, what is of a group of
    the latter is left out.

    Args:
        data: the images.
        seed: same seed, same parts.
        test: share of the images to report on.
        validation: share of the images to choose settings by; 0: none.

    Raises:
        DeixisError: too few groups.
    """
    every = range(len(data.ids))
    if {"train", "test"} <= set(data.sides):
        held = [i for i in every if data.sides[i] == "test"]
        gone = {data.groups[i] for i in held}
        rest = [i for i in every if data.sides[i] != "test" and data.groups[i] not in gone]
        chosen = [i for i in rest if data.sides[i] == "val"] if validation else []
        if chosen:
            gone = {data.groups[i] for i in chosen}
            rest = [i for i in rest if data.sides[i] != "val" and data.groups[i] not in gone]
            return Parts(tuple(rest), tuple(chosen), tuple(held))
    else:
        rest, held = _cut(data, every, seed, 1 - test)
    share = validation / (1 - test)
    train, chosen = _cut(data, rest, seed + 1, 1 - share) if validation else (rest, [])
    return Parts(tuple(train), tuple(chosen), tuple(held))


def _cut(data: Labelled, among: Sequence[int], seed: int, share: float) -> tuple[list[int], list[int]]:
    groups, labels = [data.groups[i] for i in among], [data.labels[i] for i in among]
    cut = split(groups, seed, share, labels=labels, minimum=2)
    return [among[i] for i in cut.train], [among[i] for i in cut.test]


def two_sided(data: Labelled, made: Parts) -> tuple[str, ...]:
    """The classes, in alphabetical order, of which all parts that are not empty hold an image.

    Raises:
        DeixisError: fewer than two are left.
    """
    sides = [{data.labels[i] for i in side} for side in (made.train, made.validation, made.test) if side]
    names = tuple(sorted(set.intersection(*sides))) if made.train and made.test else ()
    if len(names) < 2:
        raise DeixisError(
            f"Of {len(set(data.labels))} classes {len(names)} have images to train on and others to test on.",
            "Give at least two classes with two images or more that are not duplicates of each other.",
        )
    return names


def draw(
    data: Labelled, among: Sequence[int], names: Sequence[str], shots: Sequence[int], seed: int
) -> dict[int, tuple[int, ...]]:
    """K -> the images that are learned from: K of each class, or all where there are fewer.

    Draws are nested: those of 2 are the beginning of those of 4. Images of different groups come first, since two
    views of one thing tell little more than one. A class draws by itself, and so the same whatever others there are.

    Args:
        data: the images.
        among: indices that may be drawn.
        names: the classes.
        shots: images a class, at least one of each K.
        seed: of the draw.

    Raises:
        DeixisError: a K below 1, or a class without an image.
    """
    if not shots or min(shots) < 1:
        raise DeixisError(f"{list(shots)} images per class are requested.", "Give 1 or more, as in --shots 1 4 16.")
    members: dict[str, list[int]] = {name: [] for name in names}
    for i in among:
        if data.labels[i] in members:
            members[data.labels[i]].append(i)
    orders = {name: _order(data, members[name], name, seed) for name in names}
    bare = [name for name, order in orders.items() if not order]
    if bare:
        raise DeixisError(f"There is no image of {bare[0]!r} to learn from.", "Add some, or leave the class out.")
    return {k: tuple(i for name in names for i in orders[name][:k]) for k in shots}


def _order(data: Labelled, members: Sequence[int], name: str, seed: int) -> list[int]:
    """All images of a class: one of each group, then the second of each that has two, and so on."""
    rng = random.Random(f"{seed}/{name}")
    mixed = sorted(members, key=lambda i: data.ids[i])
    rng.shuffle(mixed)
    drawn: collections.Counter[int] = collections.Counter()
    turns = {}
    for i in mixed:
        turns[i] = drawn[data.groups[i]]
        drawn[data.groups[i]] += 1
    return sorted(mixed, key=lambda i: turns[i])  # sorting keeps the order of equals


def halves(names: Sequence[str], seed: int | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes that are learned, and those that are new: the first half of the sorted names (the larger, where they
    are odd) and the rest, as CoCoOp's authors split them.

    Args:
        names: of the classes.
        seed: of halves that are drawn instead; None for the authors' own.

    Raises:
        DeixisError: fewer than four classes: a half of one leaves nothing to choose among.
    """
    if len(names) < 4:
        raise DeixisError(
            f"There are {len(names)} classes, and a half of them is no choice between two.", "Give four or more."
        )
    ordered = sorted(names)
    if seed is not None:
        random.Random(seed).shuffle(ordered)
    first = -(-len(ordered) // 2)
    return tuple(sorted(ordered[:first])), tuple(sorted(ordered[first:]))


def limited(labels: Sequence[str], limit: int, sides: Sequence[str] = ()) -> list[int]:
    """Indices of at most `limit` images, ascending: of each class, and of each side where the data names some, nearly
    equally many, drawn with a fixed seed.

    Args:
        labels: [N] class names.
        limit: 0: all.
        sides: [N], or none.
    """
    if not limit or len(labels) <= limit:
        return list(range(len(labels)))
    members: Mapping[tuple[str, str], list[int]] = collections.defaultdict(list)
    for i, label in enumerate(labels):
        members[label, sides[i] if sides else ""].append(i)
    rng, queues = random.Random(0), sorted(members.items())
    for _, queue in queues:
        rng.shuffle(queue)
    turns = [(turn, number, i) for number, (_, queue) in enumerate(queues) for turn, i in enumerate(queue)]
    return sorted(i for _, _, i in sorted(turns)[:limit])
