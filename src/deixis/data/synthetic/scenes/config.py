"""What a scene may hold: the settings, and the words for colours and sizes with what they mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from deixis.data.synthetic.scenes.cutouts import Cutout
from deixis.errors import DeixisError

__all__ = ["BACKGROUNDS", "COLOURS", "PATTERNS", "SHADES", "SIDES", "SIZES", "SceneConfig"]

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (216, 28, 36),
    "orange": (242, 128, 16),
    "yellow": (242, 214, 32),
    "green": (36, 158, 58),
    "blue": (36, 92, 224),
    "purple": (134, 48, 178),
    "pink": (246, 120, 184),
    "grey": (128, 128, 128),
}
"""Tints of things: what a grey of medium brightness becomes."""

SIZES: Mapping[str, tuple[float, float]] = {"small": (0.15, 0.18), "medium": (0.24, 0.28), "large": (0.36, 0.42)}
"""The longer side of a thing as a share of the image's side; nothing lies between the classes."""

SHADES: Mapping[str, tuple[int, int, int]] = {
    "white": (243, 243, 240),
    "blue": (176, 204, 236),
    "green": (184, 218, 180),
    "pink": (242, 208, 216),
    "yellow": (242, 232, 182),
    "purple": (212, 198, 230),
    "brown": (198, 174, 146),
    "grey": (168, 168, 170),
}
"""Colours of backgrounds, paler than any tint."""

PATTERNS = ("plain", "gradient", "noise", "stripes", "dots", "photo")
"""What a background may be; `photo` is one of the set `photos`, out of focus, each in one split only."""

BACKGROUNDS = (
    "plain white",
    "plain blue",
    "gradient green",
    "gradient pink",
    "noise grey",
    "noise brown",
    "stripes yellow",
    "dots purple",
)
"""Backgrounds that need nothing but numbers, as `PATTERN COLOUR`."""

SIDES = (48, 256)
"""The smallest and the largest side of an image, in pixels."""


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """Settings of scenes.

    Attributes:
        cast: what is pasted: `stamps`, `emoji` (3D), `emoji/STYLE` (a style of the set `emoji-styles`), `emoji/all`
            (all of its styles), `shapes` (drawn here, nothing to fetch), or cut-outs of your own.
        unseen: what a split shares with no other: the cut-outs (`stamp`; the other splits hold nouns that train holds
            too), the concepts (`concept`), the cut-outs and the pairs of noun and colour (`pair`), or `nothing`.
        nouns: only these; by default all.
        objects: the fewest and the most things in a scene; fewer where the cast has too few nouns.
        repeats: the most things of one noun; how many there are of the first noun is drawn evenly from 1 to this.
        tinted: share of the scenes in which every thing is tinted, so that colours can be spoken of.
        overlap: the largest share of a thing that others may cover.
        backgrounds: which there are, as `PATTERN COLOUR` or `photo`.
        rho: how strongly the background hangs on the first noun: each noun has one background of its own, which it is
            shown on with this probability, and else on any, evenly.
        named: the most nouns that a caption names.
        noise: share of captions that are wrong: another scene's, shuffled or cut short (`extra["noisy"]` says which).
        invented: share of further sentences in the long caption that speak of what is not there.
        phrases: the most referring expressions of a thing.
        questions: the most questions of a scene.
        masks: whether regions carry masks.
        changes: the most changes of a scene, each a picture in which one thing is another.
        scale: factor on the size of all things, up to 2.
        moved: how far each thing is moved at the most, along each axis, as a share of the side, in a second frame of
            the same scene (`extra["next_frame"]`); 0: there is none.
    """

    cast: str | tuple[Cutout, ...] = "stamps"
    unseen: Literal["stamp", "concept", "pair", "nothing"] = "stamp"
    nouns: tuple[str, ...] = ()
    objects: tuple[int, int] = (2, 5)
    repeats: int = 3
    tinted: float = 0.5
    overlap: float = 0.25
    backgrounds: tuple[str, ...] = BACKGROUNDS
    rho: float = 0.0
    named: int = 4
    noise: float = 0.0
    invented: float = 0.0
    phrases: int = 3
    questions: int = 6
    masks: bool = True
    changes: int = 0
    scale: float = 1.0
    moved: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tinted", "overlap", "rho", "noise", "invented", "moved"):
            if not 0 <= getattr(self, name) <= 1:
                raise DeixisError(f"{name} is {getattr(self, name)}.", "It is a share: from 0 to 1.")
        if not 0.5 <= self.scale <= 2:
            raise DeixisError(f"scale is {self.scale}.", "It is a factor from 0.5 to 2.")
        low, high = self.objects
        if not 1 <= low <= high <= 8:
            raise DeixisError(
                f"A scene of {low} to {high} objects is requested.", "Request 1 to 8, the smaller number first."
            )
        if min(self.repeats, self.named) < 1 or min(self.phrases, self.questions, self.changes) < 0:
            raise DeixisError(
                f"repeats is {self.repeats}, named {self.named}, phrases {self.phrases}, questions {self.questions}, "
                f"changes {self.changes}.",
                "The first two are at least 1, the others at least 0.",
            )
        for background in self.backgrounds:
            pattern, _, colour = background.partition(" ")
            if pattern not in PATTERNS or (colour not in SHADES and background != "photo"):
                raise DeixisError(
                    f"There is no background called {background!r}.",
                    f"Say 'photo', or one of {', '.join(PATTERNS[:-1])} and a colour: {', '.join(SHADES)}.",
                )
        if not self.backgrounds:
            raise DeixisError("A scene needs a background, and none is named.", "Leave `backgrounds` as it is.")
