"""Clutter: scenes in which one of three or four things is of the classes, for methods that must find it among others.

A scene is drawn as all scenes are (`data.synthetic.scenes`) from nouns that are classes and nouns that are none; it
counts where exactly one of its things is of a class, which then is its label, and as long as its class needs more.
Splits share no cut-out.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS, assemble, part
from deixis.errors import DeixisError
from deixis.types import Sample, Source

__all__ = ["class_sets", "clutter", "shared_nouns"]

_BLOCK = 16
"""Scenes that are drawn at a time."""

_MOST = 400
"""Scenes that are drawn for each one that is requested, at the most."""


def shared_nouns(cast: str, classes: int = 1) -> tuple[str, ...]:
    """The nouns of a cast that have cut-outs in every split, sorted.

    Args:
        cast: as in `SceneConfig`.
        classes: how many there must be.

    Raises:
        DeixisError: the cast is not in the cache, or has fewer.
    """
    cutouts = assemble(SceneConfig(cast=cast))
    nouns = sorted(set.intersection(*(set(part(cutouts, split, "stamp")) for split in SPLITS)))
    if len(nouns) < classes:
        raise DeixisError(
            f"{classes} nouns are requested, and the cast {cast} has {len(nouns)} with cut-outs in every split.",
            "Take fewer, or another cast: emoji/all has the most.",
        )
    return tuple(nouns)


def class_sets(
    cast: str, sets: int, classes: int, seed: int, among: Collection[str] = ()
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Sets of classes that share none, each with the nouns that are in none of them.

    Args:
        cast: as in `SceneConfig`.
        sets: how many.
        classes: nouns in each.
        seed: of the draw.
        among: nouns that classes may be; empty: any.

    Raises:
        DeixisError: the cast has too few nouns for the classes, and as many that are none.
    """
    nouns = list(shared_nouns(cast, sets * classes + 2 * classes))
    random.Random(seed).shuffle(nouns)
    if among:
        nouns.sort(key=lambda noun: noun not in among)
        if nouns[sets * classes - 1] not in among:
            there = sum(noun in among for noun in nouns)
            raise DeixisError(f"Of the cast {cast} {there} nouns may be classes.", "Take fewer classes, or sets.")
    others = nouns[sets * classes :]
    members = [nouns[start : start + classes] for start in range(0, sets * classes, classes)]
    return tuple((tuple(sorted(own)), tuple(sorted(others[: 2 * classes]))) for own in members)


def clutter(
    classes: Sequence[str],
    others: Sequence[str],
    each: Mapping[str, int],
    seed: int,
    *,
    cast: str = "emoji/all",
    objects: tuple[int, int] = (3, 4),
    side: int = 224,
) -> Source:
    """Scenes whose label is the one thing in them that is of a class.

    Args:
        classes: nouns.
        others: nouns of the things beside it.
        each: split -> scenes of each class.
        seed: same seed, same scenes.
        cast: as in `SceneConfig`.
        objects: the fewest and the most things of a scene.
        side: of the images, in pixels.

    Raises:
        DeixisError: a noun is class and none, or the cast has no scenes of a class.
    """
    if set(classes) & set(others) or not others:
        raise DeixisError("Things beside the classes must be of other nouns.", "Give nouns that are no classes.")
    nouns = (*classes, *others)
    config = SceneConfig(
        cast=assemble(SceneConfig(cast=cast, nouns=nouns)),  # once, and not for each block of scenes
        nouns=nouns,
        objects=objects,
        repeats=1,
        tinted=0.0,
        phrases=0,
        questions=0,
        masks=False,
    )
    parts = [_of_split(config, split, frozenset(classes), count, seed, side) for split, count in each.items()]
    samples = [sample for members in parts for sample in members]
    first = scenes(seed, 0, split="train", side=side, config=dataclasses.replace(config, cast=cast))
    return dataclasses.replace(first, name="clutter", kind="labels", samples=tuple(samples))


def _of_split(
    config: SceneConfig, split: str, classes: frozenset[str], count: int, seed: int, side: int
) -> Iterator[Sample]:
    """So many scenes of each class, in the order in which they are drawn."""
    wanted = Counter(dict.fromkeys(classes, count))
    limit = _MOST * max(1, count)
    for block in itertools.count():
        # The seed of a block, so that nothing is drawn twice; blocks of two seeds are never the same.
        for sample in scenes(seed * 10_000 + block, _BLOCK, split=split, side=side, config=config).samples:
            inside = [region.category for region in sample.regions if region.category in classes]
            if len(inside) == 1 and wanted[inside[0]]:
                wanted[inside[0]] -= 1
                yield dataclasses.replace(sample, label=inside[0], groups=(), captions=())
        if not any(wanted.values()):
            return
        if block * _BLOCK > limit * len(classes):
            lacking = ", ".join(sorted(noun for noun, left in wanted.items() if left))
            raise DeixisError(f"The split {split} has too few scenes of {lacking}.", "Take other nouns as classes.")
