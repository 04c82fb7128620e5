"""Mean shift: moves all images by one vector, the mean caption minus the mean image. A control.

If this alone earned what an adapter earns, the adapter would only have closed the gap between the two modalities and
learned nothing of the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deixis.nn.adaptation.adapters import AdaptedEncoder, ImageResidual
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Mean shift between images and captions",
    year=2022,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "image_states", "embedding")),
        FieldSpec("text_embedding", "B D", values="unit", made=Made("encoder", "encode_text", of=("text",))),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("adapters", "encode_image", "encode_text"),
    tags=("control", "retrieval"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the mean shift.

    Attributes:
        encoder: the model to adapt.
    """

    encoder: str = "starter"

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """As the demo uses it."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same as `desk`."""
        return cls()


class Method(AdaptedEncoder):
    """The frozen encoder with one vector added to its images."""

    sum: Tensor
    count: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        width, features = encoder.width, encoder.feature_width
        super().__init__(encoder, ImageResidual(features, width, gated=False).requires_grad_(False))
        self.config = config
        self.register_buffer("sum", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Adds a batch to the mean."""
        self.sum += (batch.extra["text_embedding"] - batch.extra["image_embedding"]).double().sum(dim=0)
        self.count += len(batch)

    def finish(self, progress: Progress) -> None:
        """Sets the vector."""
        if not self.count:
            raise ValueError("nothing was observed")
        self.image.linear.bias.copy_(self.sum / self.count)


CLAIMS = ()
