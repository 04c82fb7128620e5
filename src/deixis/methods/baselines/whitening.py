"""PCA whitening of a frozen tower's features: the baseline of every tower that is trained on one's own images.

    z = s(M' (s(f) - m)),     s(f) = f / |f|

with m the mean of the unit features of the training images, and M the directions of their largest variance, each
divided by its standard deviation (Jégou & Chum, 2012). It needs no labels, no gradient and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.ops.similarity.whitening import pca_whitening
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress
from deixis.types.protocols import ImageEncoder

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="PCA whitening of image features",
    year=2012,
    kind="fitted",
    role="baseline",
    needs=(FieldSpec("image_features", "B F", made=Made("encoder", "forward")),),
    parts=(Part("encoder", "image_tower", frozen=True),),
    capabilities=("encode_image",),
    tags=("images without text", "copies"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the whitening.

    Attributes:
        encoder: the image tower whose features are whitened.
        width: directions that are kept; all, where the tower has fewer.
    """

    encoder: str = "starter"
    width: int = 256

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and eight directions."""
        return cls(encoder="tiny", width=8)

    @classmethod
    def desk(cls) -> Config:
        """256 directions of the starter's features."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """128 directions."""
        return cls(width=128)


class Method(nn.Module):
    """A frozen tower and a linear map."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.register_buffer("mean", torch.zeros(encoder.width))
        self.register_buffer("matrix", torch.eye(encoder.width)[:, : config.width].clone())
        self._seen: list[Tensor] = []

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the features of a batch."""
        self._seen.append(F.normalize(batch.extra["image_features"].double(), dim=1))

    def finish(self, progress: Progress) -> None:
        """Computes the map and forgets the features."""
        if not self._seen:
            raise ValueError("nothing was observed")
        mean, matrix = pca_whitening(torch.cat(self._seen), self.config.width)
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)
        self._seen.clear()

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Whitened features, rows of length 1."""
        rows = F.normalize(self.encoder(images), dim=1)
        return F.normalize((rows - self.mean) @ self.matrix, dim=1)


CLAIMS = ()
