"""Outfits: three or four coloured clothes in a picture, a sentence about each, and captions that name one or all.

Each thing has a quarter of the picture. Compared with generated scenes there are few words and no sizes, patterns or
relations, so that small models learn what the captions say within 25,000 images.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray

from deixis.data import catalogue
from deixis.data.synthetic import coloured_clothes
from deixis.data.synthetic.coloured_clothes import GROUNDS, ColouredPicture
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.wording import article, spoken_list
from deixis.errors import DeixisError
from deixis.inputs.masks import encode_mask
from deixis.types import Region, Sample, Source

__all__ = ["QUARTERS", "Outfit", "OutfitConfig", "outfits"]

QUARTERS = ("top left", "top right", "bottom left", "bottom right")
"""Where a thing can be."""


@dataclasses.dataclass(frozen=True)
class OutfitConfig:
    """Settings of outfits.

    Attributes:
        things: the fewest and the most things in a picture, up to one a quarter.
        named: the most things that a caption names.
        wrong: share of captions that are another picture's.
        invented: share of the sentences that are followed by one about what is not there.
        masks: whether there are regions with masks.
        side: of the pictures, in pixels.
    """

    things: tuple[int, int] = (3, 4)
    named: int = len(QUARTERS)
    wrong: float = 0.0
    invented: float = 0.0
    masks: bool = True
    side: int = 48

    def __post_init__(self) -> None:
        low, high = self.things
        if not 1 <= low <= high <= len(QUARTERS):
            raise DeixisError(f"{low} to {high} things are requested.", "1 to 4 fit, the smaller number first.")
        if not (0 <= self.wrong <= 1 and 0 <= self.invented <= 1):
            raise DeixisError(f"wrong is {self.wrong}, invented {self.invented}.", "Both are shares: from 0 to 1.")
        if self.named < 1 or self.side < 2 or self.side % 2:
            raise DeixisError(
                f"named is {self.named}, side {self.side}.", "A caption names 1 or more, and a side is even."
            )


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Coloured clothes on one grey ground, each in a quarter of its own.

    Attributes:
        things: that are drawn, each at half the side.
        quarters: of each thing, as an index into `QUARTERS`.
        ground: grey of the ground, 0 to 255.
        side: of the picture, in pixels.
    """

    things: tuple[ColouredPicture, ...]
    quarters: tuple[int, ...]
    ground: int
    side: int

    @property
    def name(self) -> str:
        """Such as `fashion/train/00042 in red, top left; fashion/train/00007 in blue, bottom right`."""
        pairs = zip(self.things, self.quarters, strict=True)
        return "; ".join(f"{thing.name}, {QUARTERS[quarter]}" for thing, quarter in pairs)

    def draw(self) -> UInt8[NDArray[np.uint8], "S S 3"]:
        """Its pixels."""
        drawn = np.full((self.side, self.side, 3), self.ground, dtype=np.uint8)
        for thing, quarter in zip(self.things, self.quarters, strict=True):
            drawn[_place(quarter, self.side)] = thing.draw()
        return drawn


def outfits(seed: int, count: int, part: str = "train", config: OutfitConfig | None = None) -> Source:
    """Pictures of several clothes, no two of one kind, with a caption and, in `extra["sentences"]`, a sentence each.

    Args:
        seed: of which clothes, and of their colours, places and texts.
        count: how many pictures.
        part: one of `deixis.data.synthetic.coloured_clothes.PARTS`; no piece of clothing is in two.
        config: by default as in `OutfitConfig`.

    Raises:
        DeixisError: no picture is requested, or the set of clothes is not in the cache.
    """
    config = config or OutfitConfig()
    if count < 1:
        raise DeixisError(f"{count} outfits are requested.", "Request 1 or more.")
    name, first, last = coloured_clothes.PARTS[part]
    whole = catalogue.read(name)
    kinds: dict[str, list[Sample]] = {}
    for sample in whole.samples[first : last or None]:
        kinds.setdefault(str(sample.label), []).append(sample)
    rng = np.random.Generator(np.random.PCG64((seed, zlib.crc32(b"outfits " + part.encode()))))
    made = [_outfit(f"{part}/{number:05d}", kinds, rng, config) for number in range(count)]
    return dataclasses.replace(whole, name="outfits", kind="captions", samples=tuple(_mixed(made, rng, config.wrong)))


def _outfit(name: str, kinds: dict[str, list[Sample]], rng: np.random.Generator, config: OutfitConfig) -> Sample:
    low, high = config.things
    number, ground = int(rng.integers(low, high + 1)), int(rng.integers(*GROUNDS))
    quarters = tuple(int(each) for each in rng.permutation(len(QUARTERS))[:number])
    labels = [str(each) for each in rng.permutation(sorted(kinds))[:number]]
    colours = [str(rng.choice(list(COLOURS))) for _ in labels]
    chosen = [kinds[label][int(rng.integers(len(kinds[label])))].picture for label in labels]
    pieces = zip(chosen, colours, strict=True)
    things = tuple(ColouredPicture(picture, colour, ground, config.side // 2) for picture, colour in pieces)
    names = [_named(*each) for each in zip(colours, labels, strict=True)]
    return Sample(
        name,
        Outfit(things, quarters, ground, config.side),
        captions=(_listed(names[: config.named]),),
        extra={"noisy": "", "sentences": _sentences(names, quarters, sorted(kinds), rng, config.invented)},
        regions=_regions(things, quarters, labels, config.side) if config.masks else (),
    )


def _named(colour: str, label: str) -> str:
    """A thing and its colour: `an orange bag`, `a pair of red trousers`."""
    return f"a pair of {colour} {label}" if label.endswith("s") else f"{article(colour)} {colour} {label}"


def _listed(names: Sequence[str]) -> str:
    return "".join(joint + name for joint, name in zip(spoken_list(list(names)), names, strict=True))


def _sentences(
    names: Sequence[str], quarters: Sequence[int], labels: Sequence[str], rng: np.random.Generator, invented: float
) -> list[dict[str, Any]]:
    """One a thing, some followed by one that is not true."""
    true = [_sentence(*each) for each in zip(names, quarters, strict=True)]
    told: list[dict[str, Any]] = []
    for sentence in true:
        told.append({"text": sentence, "true": True})
        if rng.random() < invented:
            other = _named(str(rng.choice(list(COLOURS))), str(rng.choice(labels)))
            text = _sentence(other, int(rng.integers(len(QUARTERS))))
            told.append(
                {"text": text, "true": text in {_sentence(*each) for each in zip(names, quarters, strict=True)}}
            )
    return told


def _sentence(name: str, quarter: int) -> str:
    return f"There is {name} at the {QUARTERS[quarter]}."


def _mixed(samples: Sequence[Sample], rng: np.random.Generator, share: float) -> list[Sample]:
    """A share of the captions dealt out among their pictures, each to the next of them."""
    chosen = rng.permutation(len(samples))[: round(share * len(samples))].tolist()
    if len(chosen) < 2:
        return list(samples)
    mixed = list(samples)
    for number, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        extra = {**samples[number].extra, "noisy": "swapped"}
        mixed[number] = dataclasses.replace(samples[number], captions=samples[other].captions, extra=extra)
    return mixed


def _regions(
    things: Sequence[ColouredPicture], quarters: Sequence[int], labels: Sequence[str], side: int
) -> tuple[Region, ...]:
    regions = []
    for thing, quarter, label in zip(things, quarters, labels, strict=True):
        mask = torch.zeros(side, side, dtype=torch.bool)
        mask[_place(quarter, side)] = torch.from_numpy(_hides_the_ground(thing))
        y, x = divmod(quarter, 2)
        box = (x / 2, y / 2, (x + 1) / 2, (y + 1) / 2)
        regions.append(Region(box, label, mask=encode_mask(mask), attributes={"colour": thing.colour}))
    return tuple(regions)


def _place(quarter: int, side: int) -> tuple[slice, slice]:
    (y, x), half = divmod(quarter, 2), side // 2
    return slice(y * half, (y + 1) * half), slice(x * half, (x + 1) * half)


def _hides_the_ground(thing: ColouredPicture) -> NDArray[np.bool_]:
    """Which pixels are the same on any ground."""
    dark, light = (dataclasses.replace(thing, ground=ground).draw() for ground in (0, 255))
    same: NDArray[np.bool_] = (dark == light).all(2)
    return same
