"""Lines of text that were read in a picture: what is written, where, and how sure that is."""

from __future__ import annotations

import dataclasses
from typing import Any

from PIL import Image

from deixis.types.region_drawing import MarkedRegion, draw_boxes

__all__ = ["ReadLine", "ReadPicture"]

_PLACES = 4
_SIDES = ("x0", "y0", "x1", "y1")


@dataclasses.dataclass(frozen=True)
class ReadLine:
    """A line of text.

    Attributes:
        text: what is written.
        box: x0 y0 x1 y1 from 0 to 1, of the picture as it is shown.
        chance: how sure the recogniser is, from 0 to 1.
    """

    text: str
    box: tuple[float, float, float, float]
    chance: float


@dataclasses.dataclass(frozen=True)
class ReadPicture:
    """What is written in one picture.

    Attributes:
        path: of the picture, or what it is called.
        picture: the picture.
        words: its lines in reading order.
    """

    path: str
    picture: Image.Image
    words: tuple[ReadLine, ...]

    @property
    def text(self) -> str:
        """All of it, with spaces between lines."""
        return " ".join(each.text for each in self.words)

    def rows(self) -> list[dict[str, Any]]:
        """One row a line; of a picture without text, one that is empty."""
        if not self.words:
            return [{"text": "", **dict.fromkeys(_SIDES, ""), "chance": ""}]
        return [
            {
                "text": each.text,
                **{side: round(share, _PLACES) for side, share in zip(_SIDES, each.box, strict=True)},
                "chance": round(each.chance, _PLACES),
            }
            for each in self.words
        ]

    def lines(self) -> list[str]:
        """One line a line."""
        if not self.words:
            return ["no words found"]
        return [
            f"{each.text}   ({' '.join(f'{share:.3f}' for share in each.box)}, chance {each.chance:.2f})"
            for each in self.words
        ]

    def overlay(self) -> Image.Image:
        """The picture with a box around each line, and what is written there above it."""
        return draw_boxes(self.picture, [MarkedRegion(each.text, each.box, each.chance) for each in self.words])

    def label_map(self) -> None:
        """Lines have none."""
