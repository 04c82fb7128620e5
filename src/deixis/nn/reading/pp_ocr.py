"""PP-OCR: a detector of lines of text and a recogniser of their characters, as two networks that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from deixis.inputs.preprocess import Preprocess
from deixis.nn.fingerprint import digest_of
from deixis.nn.reading.text_boxes import TextBox, in_reading_order, straightened, text_boxes

__all__ = ["PpOcr", "decoded"]

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images [B, 3, H, W], blue first, from -1 to 1, to a map [B, 1, H, W] or to chances [B, T, C]."""

_STEP, _LEAST_SHORT, _MOST_LONG = 32, 736, 2000
_HEIGHT, _WIDTH, _BATCH = 48, 320, 6


def decoded(chances: Float[np.ndarray, "T C"], characters: Sequence[str]) -> tuple[str, float]:
    """The likeliest characters of a line and their mean chance: what repeats is one, and the first class is a gap
    (Graves et al., CTC, 2006).

    Args:
        chances: of the gap and each character, step by step.
        characters: of the classes behind the first.
    """
    numbers, values = chances.argmax(1), chances.max(1)
    new = np.ones(len(numbers), dtype=bool)
    new[1:] = numbers[1:] != numbers[:-1]
    kept = new & (numbers != 0)
    text = "".join(characters[number - 1] for number in numbers[kept])
    return text, float(values[kept].mean()) if kept.any() else 0.0


class PpOcr:
    """Finds lines of text in pictures and reads them.

    Args:
        detector: gives the map of text.
        recogniser: gives chances of characters.
        characters: of the recogniser's classes behind the first.
        name: of the part.
    """

    def __init__(self, detector: Network, recogniser: Network, characters: Sequence[str], name: str = "ppocr") -> None:
        self._detector, self._recogniser, self.characters, self.name = detector, recogniser, tuple(characters), name
        self.preprocess = Preprocess(_HEIGHT, mode="squash", width=_WIDTH, mean=(0.5,) * 3, std=(0.5,) * 3)

    def fingerprint(self) -> str:
        """By name and characters: one name always has the same networks."""
        return digest_of({"class": type(self).__name__, "name": self.name, "characters": self.characters}, {})

    def find(self, picture: Image.Image) -> list[TextBox]:
        """Lines of text, in reading order.

        Args:
            picture: of any size.
        """
        ratio = max(1.0, _LEAST_SHORT / min(picture.size))
        ratio = min(ratio, _MOST_LONG / max(picture.size))
        width, height = (max(_STEP, round(side * ratio / _STEP) * _STEP) for side in picture.size)
        pixels = _blue_first(picture.resize((width, height), Image.Resampling.BILINEAR))
        return in_reading_order(text_boxes(self._detector(pixels[None])[0, 0], picture.size))

    def crops(self, picture: Image.Image, boxes: Sequence[TextBox]) -> list[Image.Image]:
        """What the boxes show, straightened."""
        return [straightened(picture, box) for box in boxes]

    def recognise(self, pictures: Sequence[Image.Image]) -> list[tuple[str, float]]:
        """What is written in pictures of single lines, and how sure it is of each.

        Args:
            pictures: that show a line and little else.
        """
        order = sorted(range(len(pictures)), key=lambda place: pictures[place].width / pictures[place].height)
        found: dict[int, tuple[str, float]] = {}
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            widths = [max(1, round(_HEIGHT * pictures[place].width / pictures[place].height)) for place in some]
            batch = np.zeros((len(some), 3, _HEIGHT, max(_WIDTH, *widths)), np.float32)
            for row, place, width in zip(batch, some, widths, strict=True):
                picture = pictures[place].convert("RGB").resize((width, _HEIGHT), Image.Resampling.BILINEAR)
                row[:, :, :width] = _blue_first(picture)
            for place, chances in zip(some, self._recogniser(batch), strict=True):
                found[place] = decoded(chances, self.characters)
        return [found[place] for place in range(len(pictures))]


def _blue_first(picture: Image.Image) -> NDArray[np.float32]:
    """[3, H, W] from -1 to 1."""
    values = np.asarray(picture.convert("RGB"), np.float32)[..., ::-1].transpose(2, 0, 1)
    return values / 127.5 - 1
