"""PP-OCRv4, ready-made: a detector of lines of text and a recogniser of their characters, nothing trained here.

    boxes = grown rectangles around pixels with p(text) > 0.3,     text = CTC of the recogniser on each, straightened

The networks are PaddleOCR's, for Chinese and English; detector and recogniser are DB (Liao et al., 2020) and SVTR-LCNet
with CTC. What stands around them in the package that distributes them is written anew here without OpenCV: threshold,
components, least rectangles, growth, crops and reading order (`deixis.nn.reading.text_boxes`).

What differs from that package: lines upside down are not turned, as its classifier of directions is left out; the least
rectangle of a component is grown, not its polygon, which is the same up to the corners; boxes of one line are ordered
from the left wherever their middles are within the height of the first; and a picture no larger than a line in which
nothing is found is read as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from deixis.nn.reading.text_boxes import TextBox
from deixis.types import Card, Part
from deixis.types.protocols import TextReader

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="PP-OCRv4: detection and recognition of text, ready-made",
    year=2023,
    kind="training-free",
    role="baseline",
    parts=(Part("reader", "reader", frozen=True),),
    capabilities=("read",),
    arxiv="2109.03144",
    code="PaddlePaddle/PaddleOCR",
    tags=("text recognition", "text detection"),
)


@dataclass(frozen=True)
class Config:
    """Settings of PP-OCR.

    Attributes:
        reader: the networks.
        least: mean chance of the characters of a line below which it is left out.
    """

    reader: str = "ppocr"
    least: float = 0.5

    @classmethod
    def tiny(cls) -> Config:
        """For tests: dark pixels are text."""
        return cls(reader="tiny")

    @classmethod
    def desk(cls) -> Config:
        """The defaults."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """As its package has it."""
        return cls()


class Method(nn.Module):
    """Networks that are given, and what is made of their output."""

    def __init__(self, config: Config, *, reader: TextReader) -> None:
        super().__init__()
        self.config, self.reader = config, reader

    def find_text(self, picture: Image.Image) -> list[tuple[TextBox, Image.Image]]:
        """Lines of text in reading order, and what each shows, straightened.

        Args:
            picture: of any size.
        """
        boxes = self.reader.find(picture)
        return list(zip(boxes, self.reader.crops(picture, boxes), strict=True))

    def read_lines(self, pictures: Sequence[Image.Image]) -> tuple[list[str], list[float]]:
        """What is written in pictures of single lines of any size, and how sure it is; empty below the least chance.

        Args:
            pictures: that show a line and little else.
        """
        found = self.reader.recognise(pictures)
        return [text if chance >= self.config.least else "" for text, chance in found], [each for _, each in found]

    def read(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """One line an image, each resized to one shape: `read_lines` keeps theirs, and reads better."""
        shown = (images.detach().cpu().float().permute(0, 2, 3, 1).numpy() + 1) * 127.5
        return self.read_lines([Image.fromarray(each) for each in np.clip(shown.round(), 0, 255).astype(np.uint8)])[0]


CLAIMS = ()
