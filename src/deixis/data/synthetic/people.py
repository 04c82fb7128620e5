"""Drawn people of 64 x 32 pixels, known by hair, top, bottom, shoes and bag; several pictures and captions of each.

A third of them have a twin that differs in one of these. All is made of numbers: nobody is shown.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deixis.data.synthetic.scenes.wording import article
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.types import Phrase, Region, Sample, Source

__all__ = ["ATTRIBUTES", "PersonDrawing", "PersonLook", "identities", "people"]

HEIGHT, WIDTH = 64, 32
PICTURES, CAPTIONS = 6, 3
_SCALE = 4  # drawn larger, so that edges are smooth

_PALETTE: Mapping[str, tuple[int, int, int]] = {
    "black": (25, 25, 30),
    "white": (238, 238, 235),
    "grey": (135, 135, 140),
    "red": (205, 35, 40),
    "yellow": (235, 205, 50),
    "green": (40, 140, 65),
    "blue": (40, 85, 205),
    "brown": (110, 70, 40),
    "pink": (240, 130, 180),
    "blond": (225, 190, 110),
}
_COLOURS = ("black", "white", "grey", "red", "yellow", "green", "blue", "brown", "pink")
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "hair": tuple(
        f"{length} {colour} hair" for length in ("short", "long") for colour in ("black", "brown", "blond", "grey")
    ),
    "top": tuple(f"{colour} {kind}" for kind in ("T-shirt", "coat") for colour in _COLOURS),
    "bottom": tuple(f"{colour} {kind}" for kind in ("trousers", "skirt", "shorts") for colour in _COLOURS),
    "shoes": tuple(f"{colour} shoes" for colour in _COLOURS),
    "bag": (
        "",
        *(f"{colour} {kind}" for kind in ("backpack", "handbag") for colour in ("black", "red", "blue", "brown")),
    ),
}
"""What a person may have of each, in words; without a bag nothing is said of it."""

_PLURAL = ("hair", "trousers", "shorts", "shoes")
_OPENINGS = ("A person with ", "Somebody with ", "A passer-by with ")
_TWINS = 1 / 3


@dataclasses.dataclass(frozen=True)
class PersonLook:
    """How a person looks: one of `ATTRIBUTES` of each kind, by its words."""

    hair: str
    top: str
    bottom: str
    shoes: str
    bag: str

    def words(self) -> dict[str, str]:
        """Kind -> words, of what there is."""
        return {name: words for name, words in dataclasses.asdict(self).items() if words}


@dataclasses.dataclass(frozen=True)
class PersonDrawing:
    """One picture of a person.

    Attributes:
        name: of the picture.
        look: of the person.
        seed: of pose, side, light, scale, place, background and what covers it.
    """

    name: str
    look: PersonLook
    seed: int

    def draw(self) -> UInt8[NDArray[np.uint8], "64 32 3"]:
        """The pixels."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), tuple(rng.integers(90, 220, 3).tolist()))
        pen, pose = ImageDraw.Draw(image), _Pose.drawn(rng)
        for part, (colour, boxes) in _parts(self.look, pose).items():
            for box in boxes:
                (pen.ellipse if part in ("head", "hair") else pen.rectangle)(box, fill=colour)
        if rng.random() < 0.3:  # a post or a bush in front
            x, y = rng.uniform(0, WIDTH * 0.8), rng.uniform(HEIGHT * 0.45, HEIGHT * 0.8)
            side = tuple(float(v) * _SCALE for v in (x, y, x + rng.uniform(4, 10), HEIGHT))
            pen.rectangle(side, fill=tuple(rng.integers(40, 110, 3).tolist()))
        pixels = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX), dtype=np.float64)
        if pose.mirrored:
            pixels = pixels[:, ::-1]
        light = rng.uniform(0.75, 1.15) * rng.uniform(0.95, 1.05, 3)
        noise = rng.normal(0, 4, pixels.shape)
        return np.clip(pixels * light + noise, 0, 255).astype(np.uint8)

    def boxes(self) -> dict[str, tuple[float, float, float, float]]:
        """Kind -> where it is, from 0 to 1, whatever covers it."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        rng.integers(90, 220, 3)
        pose, found = _Pose.drawn(rng), {}
        for part, (_, boxes) in _parts(self.look, pose).items():
            corners = np.array(boxes) / (WIDTH * _SCALE, HEIGHT * _SCALE, WIDTH * _SCALE, HEIGHT * _SCALE)
            x0, y0 = np.clip(corners[:, :2].min(0), 0, 1)
            x1, y1 = np.clip(corners[:, 2:].max(0), 0, 1)
            found[part] = (1 - x1, y0, 1 - x0, y1) if pose.mirrored else (x0, y0, x1, y1)
        return {part: tuple(map(float, box)) for part, box in found.items() if part != "head"}  # type: ignore[misc]


@dataclasses.dataclass(frozen=True)
class _Pose:
    """Where and how somebody stands."""

    x: float
    foot: float
    scale: float
    stride: float
    mirrored: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Pose:
        return cls(
            rng.uniform(13, 19), rng.uniform(58, 62), rng.uniform(0.8, 1.0), rng.uniform(0, 3), bool(rng.random() < 0.5)
        )

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Of what lies so far from the middle and above the feet, in drawn pixels."""
        left, right = self.x + x0 * self.scale, self.x + x1 * self.scale
        top, bottom = self.foot - y1 * self.scale, self.foot - y0 * self.scale
        return left * _SCALE, top * _SCALE, right * _SCALE, bottom * _SCALE


_Boxes = list[tuple[float, float, float, float]]


def _parts(look: PersonLook, pose: _Pose) -> dict[str, tuple[tuple[int, int, int], _Boxes]]:
    """Colour and boxes of each part, in the order in which they are drawn."""
    step, low = pose.stride, {"trousers": 4.0, "shorts": 14.0, "skirt": 11.0}[look.bottom.split()[-1]]
    legs = [(-4.5 - step / 2, -0.8 - step / 2), (0.8 + step / 2, 4.5 + step / 2)]
    skin = (224, 180, 150)
    bare = [pose.box(x0 + 0.8, 3.0, x1 - 0.8, 25.0) for x0, x1 in legs]
    covered = (
        [pose.box(-6.5, low, 6.5, 26.0)]
        if look.bottom.endswith("skirt")
        else [pose.box(x0, low, x1, 26.0) for x0, x1 in legs]
    )
    found: dict[str, tuple[tuple[int, int, int], _Boxes]] = {}
    if look.bag.endswith("backpack"):
        found["bag"] = (_colour(look.bag), [pose.box(-9.5, 29.0, -4.0, 44.0)])
    found["head"] = (skin, [*bare, pose.box(-3.6, 45.0, 3.6, 54.0)])
    found["bottom"] = (_colour(look.bottom), covered)
    reach = 17.0 if look.top.endswith("coat") else 24.0
    found["top"] = (
        _colour(look.top),
        [pose.box(-6.0, reach, 6.0, 46.0), pose.box(-8.5, 27.0, -6.0, 45.0), pose.box(6.0, 27.0, 8.5, 45.0)],
    )
    tail = [pose.box(-4.4, 40.0, -2.2, 52.0), pose.box(2.2, 40.0, 4.4, 52.0)] if look.hair.startswith("long") else []
    found["hair"] = (_colour(look.hair), [pose.box(-4.2, 50.0, 4.2, 56.5), *tail])
    found["shoes"] = (_colour(look.shoes), [pose.box(x0 - 0.5, 0.0, x1 + 1.2, 3.6) for x0, x1 in legs])
    if look.bag.endswith("handbag"):
        found["bag"] = (_colour(look.bag), [pose.box(6.5, 17.0, 12.0, 26.0)])
    return found


def _colour(words: str) -> tuple[int, int, int]:
    return next(_PALETTE[word] for word in words.split() if word in _PALETTE)


def identities(seed: int, count: int) -> list[PersonLook]:
    """So many people, no two of whom look the same; a third of them have a twin behind them that differs in one thing.

    Args:
        seed: of what they look like.
        count: how many.

    Raises:
        DeixisError: more are requested than differ.
    """
    most = int(np.prod([len(each) for each in ATTRIBUTES.values()])) // 4
    if not 0 <= count <= most:
        raise DeixisError(f"{count} people are requested.", f"Ask for 0 to {most}.")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, zlib.crc32(b"people")))))
    found: dict[PersonLook, None] = {}
    while len(found) < count:
        look = PersonLook(**{name: each[int(rng.integers(len(each)))] for name, each in ATTRIBUTES.items()})
        found.setdefault(look)
        if len(found) < count and rng.random() < _TWINS / (2 - _TWINS):
            found.setdefault(_twin(look, rng))
    return list(found)


def _twin(look: PersonLook, rng: np.random.Generator) -> PersonLook:
    name = list(ATTRIBUTES)[int(rng.integers(len(ATTRIBUTES)))]
    others = [each for each in ATTRIBUTES[name] if each != getattr(look, name)]
    return dataclasses.replace(look, **{name: others[int(rng.integers(len(others)))]})


def people(seed: int = 0, count: int = 2000, split: str = "train", pictures: int = PICTURES) -> Source:
    """Pictures of people. A sample's group and label are the person; its regions are hair, top, bottom, shoes and bag,
    with the place where the first caption speaks of them, if it does.

    Args:
        seed: of everything.
        count: people, over all splits: seven tenths are in `train`, the others half in `val`, half in `test`. Twins are
            on one side, but for those that a border parts.
        split: `train`, `val` or `test`.
        pictures: of each person.

    Raises:
        DeixisError: there is no such split, or more people are requested than differ.
    """
    bounds = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
    if split not in bounds:
        raise DeixisError(f"There is no split {split!r}.", f"There are: {', '.join(bounds)}.")
    every = identities(seed, count)
    low, high = (round(each * count) for each in bounds[split])
    samples = tuple(
        _sample(every[number], number, picture, seed) for number in range(low, high) for picture in range(pictures)
    )
    return Source("people", cache_dir("sets"), "captions", f"generated people, split {split}", samples)


def _sample(look: PersonLook, person: int, picture: int, seed: int) -> Sample:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, person, picture))))
    drawing = PersonDrawing(f"person {person}-{picture}", look, int(rng.integers(2**31)))
    told = [_caption(look, rng) for _ in range(CAPTIONS)]
    spans, boxes = told[0][1], drawing.boxes()
    regions = tuple(
        Region(
            boxes[name], name, (Phrase(words),), (spans[name],) if name in spans else (), attributes={"colour": words}
        )
        for name, words in look.words().items()
    )
    key = f"person:{person:05d}"
    extra: dict[str, Any] = {"look": look.words()}
    return Sample(
        f"{person:05d}/{picture}", drawing, tuple(text for text, _ in told), key, (key,), extra, regions=regions
    )


def _caption(look: PersonLook, rng: np.random.Generator) -> tuple[str, dict[str, tuple[int, int]]]:
    """A caption that leaves out one to three things, and where it speaks of each of the others."""
    words = look.words()
    names = [list(words)[i] for i in rng.permutation(len(words))]
    names = names[: len(names) - int(rng.integers(1, 4))]
    text = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    spans = {}
    for number, name in enumerate(names):
        text += "" if number == 0 else " and " if number == len(names) - 1 else ", "
        phrase = words[name] if words[name].endswith(_PLURAL) else f"{article(words[name])} {words[name]}"
        spans[name] = (len(text), len(text) + len(phrase))
        text += phrase
    return f"{text}.", spans
