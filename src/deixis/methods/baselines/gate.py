"""Gate: the instruction weighs the entries of the finished vector of an image.

    f = unit(z (1 + W text(instruction)))

The cheap rival of FocalLens: each image passes through the tower once, whatever is asked for, and an index keeps one
vector an image. W starts at 0, where it is the plain encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods.baselines import same_triplets
from deixis.nn.dual import DualEncoder
from deixis.types import Card, FieldSpec, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Instructions as gates of image embeddings",
    year=2025,
    kind="trained",
    role="baseline",
    needs=(
        FieldSpec("images", "B 3 H W"),
        FieldSpec("captions", "B", "object"),
        FieldSpec("instruction", "B", "object"),
    ),
    parts=(Part("encoder", "dual_encoder"),),
    capabilities=("encode_about", "encode_image", "encode_text"),
    min_batch=2,
    zero_gradient=("attention.key.bias",),
    tags=("control", "conditional similarity", "retrieval"),
)


@dataclass(frozen=True)
class Config(same_triplets.Config):
    """Settings of the contrast of pictures with answers."""


class Method(same_triplets.Method):
    """An encoder, and a gate on its image embeddings."""

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__(config, encoder=encoder)
        self.gate = nn.Linear(encoder.width, encoder.width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def _vectors(
        self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str], real: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        weight = 1 + self.gate(self._read(instructions)) * real[:, None]
        return F.normalize(self.encoder.encode_image(images) * weight, dim=-1)


CLAIMS = ()
