"""Small methods that offer what no paper here offers yet, a toy for each capability; what they say is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis import zoo
from deixis.nn.dual import DualEncoder
from deixis.types import GroundOutput, Part
from tests.toys import carded

__all__ = ["COLOURS", "AnswerShower", "Answerer", "Captioner", "Grounder", "Reader", "Segmenter", "SureGrounder"]

COLOURS = ("red", "green", "blue")
_ENCODER = Part("encoder", "dual_encoder", frozen=True)


class Toy(nn.Module):
    """Built on the tiny encoder, whose preprocessing and tokenizer it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder: DualEncoder = zoo.load("tiny")

    def colourful(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """How much each pixel is of one of the colours, and of no other; 0 where it is grey, and in padding."""
        return images - (images.sum(1, keepdim=True) - images) / 2

    def asked(self, tokens: Int64[Tensor, " L"]) -> int:
        """Which colour a text names."""
        text = "".join(self.encoder.tokenizer.pieces(tokens.tolist()))
        return next((number for number, colour in enumerate(COLOURS) if colour in text), -1)


class Grounder(Toy):
    """Boxes around the pixels of each colour; the phrase's own colour fits best."""

    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Any = None,
    ) -> GroundOutput:
        inside = self.colourful(images) > 0.5
        boxes = torch.stack([torch.stack([_box(colour) for colour in image]) for image in inside])
        wanted = [self.asked(row[real]) for row, real in zip(tokens, mask, strict=True)]
        scores = torch.stack([torch.tensor([0.9 if number == one else 0.1 for number in range(3)]) for one in wanted])
        return GroundOutput(boxes, scores[:, None], inside.flatten(2).any(2), inside.float())


class SureGrounder(Grounder):
    """Gives a threshold, a source and labels, and scores for each phrase among the spans."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def ground(self, images: Tensor, tokens: Tensor, mask: Tensor, spans: Any = None) -> GroundOutput:
        alone = super().ground(images, tokens, mask)
        wide = 1 if spans is None else spans.shape[1]
        labels = tuple(tuple(f"thing {number}" for number in range(3)) for _ in images)
        return dataclasses.replace(
            alone,
            scores=alone.scores.expand(-1, wide, -1),
            thresholds=torch.full((len(images), wide), self.threshold),
            sources=(("kind",) * wide,) * len(images),
            labels=labels,
        )


class Segmenter(Toy):
    """The colour of each pixel, or the background; what is no colour is nowhere."""

    def __init__(self, names: Sequence[str] = COLOURS) -> None:
        super().__init__()
        self.names = tuple(names)

    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        none, colours = (
            torch.zeros_like(images[:, :1]),
            dict(zip(COLOURS, self.colourful(images).split(1, 1), strict=True)),
        )
        return torch.cat([none + 0.5, *(colours.get(name, none) for name in self.names)], dim=1)


class Captioner(Toy):
    """Names the commonest colour."""

    def caption(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        return [f"mostly {COLOURS[int(each.mean((1, 2)).argmax())]}" for each in self.colourful(images)]


class Reader(Toy):
    """Reads the commonest colour as a word."""

    def read(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        return [COLOURS[int(each.mean((1, 2)).argmax())].upper() for each in self.colourful(images)]


class Answerer(Toy):
    """Says whether the colour that is asked for is in the picture."""

    def answer(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[str]:
        there = (self.colourful(images) > 0.5).flatten(2).any(2)
        questions = tokens if mask is None else (row[real] for row, real in zip(tokens, mask, strict=True))
        return ["yes" if row[self.asked(words)] else "no" for row, words in zip(there, questions, strict=True)]


class AnswerShower(Toy):
    """Shows the pixels of the colour that is asked for."""

    def answer_mask(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B H W"]:
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        colours = self.colourful(images).clamp(0, 1)
        wanted = [self.asked(row[each]) for row, each in zip(tokens, real, strict=True)]
        return torch.stack([0.9 * (image[one] > 0.5) + 0.1 for image, one in zip(colours, wanted, strict=True)])


def _box(inside: Bool[Tensor, "H W"]) -> Float[Tensor, " 4"]:
    """Around what is true, in shares of the sides."""
    height, width = inside.shape
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(4)
    return torch.tensor(
        [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height], dtype=torch.float32
    )


for _cls, _capability in (
    (Grounder, "ground"),
    (SureGrounder, "ground"),
    (Captioner, "caption"),
    (Reader, "read"),
    (Answerer, "answer"),
    (AnswerShower, "answer_mask"),
):
    carded(_cls, kind="training-free", needs=(), parts=(_ENCODER,), capabilities=(_capability,))
carded(Segmenter, kind="training-free", needs=(), parts=(_ENCODER, Part("names", "names")), capabilities=("segment",))
