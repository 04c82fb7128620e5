"""Subspace: images are compared in the span of the texts of the values that a respect may have; nothing is trained.

    f = unit(P z),    P = the projection on the span of the values' vectors, less their mean

Of a respect it needs the words of its values (red, green, blue...), and an encoder in whose space images and texts met.
As in CLAY (CVPR 2026), by a singular value decomposition. An instruction goes to the respect whose instructions, on
average, are nearest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.language.frozen_texts import FrozenTexts
from deixis.nn.vision_language.instructions import require_instructions
from deixis.ops.similarity.subspaces import span_of
from deixis.types import Batch, Card, FieldSpec, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Subspaces of the texts of values",
    year=2026,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("captions", "B", "object"),
        FieldSpec("instruction", "B", "object"),
        FieldSpec("respect", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("encode_about", "encode_image"),
    tags=("conditional similarity", "retrieval", "control"),
)


@dataclass(frozen=True)
class Config:
    """Settings of subspaces.

    Attributes:
        encoder: whose space it is.
        respects: the most there may be.
        rank: directions of each at the most; 0: all that its values span.
    """

    encoder: str = "starter"
    respects: int = 8
    rank: int = 0

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """All that the values span."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same as `desk`."""
        return cls()


class Method(nn.Module):
    """A frozen encoder, and a projection a respect."""

    projections: Tensor
    instructions: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.encoder, self._texts = config, encoder, FrozenTexts()
        self.register_buffer("projections", self._first(encoder))
        self.register_buffer("instructions", torch.zeros(config.respects, encoder.width))
        self._wordings: dict[int, set[str]] = defaultdict(set)
        self._values: dict[int, set[str]] = defaultdict(set)

    def _first(self, encoder: DualEncoder) -> Tensor:
        """What there is of each respect, before anything was observed."""
        return torch.zeros(self.config.respects, encoder.width, encoder.width)

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Collects the values of each respect, and what it is called.

        Raises:
            DeixisError: there are more respects than there is room for.
        """
        assert batch.captions is not None
        for respect, captions, wordings in zip(
            batch.extra["respect"].tolist(), batch.captions, batch.extra["instruction"], strict=True
        ):
            if respect >= self.config.respects:
                raise DeixisError(
                    f"There are more respects than {self.config.respects}.", "Set respects to their number."
                )
            self._values[respect].add(captions[0])
            self._wordings[respect].update(wordings)

    def finish(self, progress: Progress) -> None:
        """Makes the projections."""
        if not self._values:
            raise ValueError("nothing was observed")
        for respect in self._values:
            mean = self._read(sorted(self._wordings[respect])).mean(0)
            self.instructions[respect] = F.normalize(mean, dim=0)
            self._solve(respect, sorted(self._values[respect]))
        self._values.clear()
        self._wordings.clear()

    def _solve(self, respect: int, values: Sequence[str]) -> None:
        self.projections[respect] = span_of(self._read(values), self.config.rank)

    def _read(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        encoder = self.encoder
        return self._texts(encoder.text_tower, lambda new: encoder.encode_text(encoder.tokenize(new)), texts)

    def respects_of(self, instructions: Sequence[str]) -> Int64[Tensor, " B"]:
        """The respect that each instruction is nearest to.

        Args:
            instructions: in words.
        """
        near = self._read(instructions) @ self.instructions.T
        return near.masked_fill(~self.instructions.any(1), -torch.inf).argmax(1)

    def encode_about(self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str]) -> Float[Tensor, "B D"]:
        """Vectors of images in the respects that the instructions name, rows of length 1.

        Raises:
            DeixisError: an instruction is empty or longer than the encoder reads, or there is not one an image.
        """
        require_instructions(self.encoder, instructions, len(images))
        projections = self.projections[self.respects_of(instructions)]
        return F.normalize(torch.einsum("bde,be->bd", projections, self.encode_image(images)), dim=-1)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Image embeddings, rows of length 1."""
        return self.encoder.encode_image(images)


CLAIMS = ()
