"""Residual ridge: the correction of `residual` on the image side, in closed form.

    W, b = argmin  sum_i |z_i + W s(f_i) + b - t_i|^2 + penalty |W|^2

over all pairs, seen once: only X'X and X'Y are kept, X the scaled features with a column of ones. The intercept is not
penalised. It pulls every image onto its caption and pushes nothing apart, which is what contrast adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.nn.adaptation.adapters import AdaptedEncoder, ImageResidual
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method", "ridge"]

CARD = Card(
    title="Residual ridge regression from image features to captions",
    year=1970,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "image_states", "embedding")),
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("text_embedding", "B D", values="unit", made=Made("encoder", "encode_text", of=("text",))),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("adapters", "encode_image", "encode_text"),
    tags=("closed form", "retrieval"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the residual ridge.

    Attributes:
        encoder: the model to adapt.
        penalty: weight of |W|^2, as a share of the mean squared length of the features' coordinates times the pairs.
    """

    encoder: str = "starter"
    penalty: float = 1.0

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


def ridge(gram: Float[Tensor, "M M"], cross: Float[Tensor, "M D"], penalty: float) -> Float[Tensor, "M D"]:
    """Solves (X'X + penalty n I) W = X'Y, the last row of X'X being the intercept's, which is not penalised.

    `n` is the number of rows, which stands in the last diagonal entry of X'X.
    """
    weights = gram.new_full((len(gram),), float(penalty * gram[-1, -1]))
    weights[-1] = 0.0
    return torch.linalg.solve(gram + torch.diag(weights), cross)


class Method(AdaptedEncoder):
    """The frozen encoder with a correction of its images."""

    gram: Tensor
    cross: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        width, features = encoder.width, encoder.feature_width
        super().__init__(encoder, ImageResidual(features, width, gated=False).requires_grad_(False))
        self.config = config
        size = features + 1
        self.register_buffer("gram", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("cross", torch.zeros(size, width, dtype=torch.float64))

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Adds a batch to X'X and X'Y."""
        features = batch.extra["image_features"].double()
        scaled = F.normalize(features, dim=-1) * features.shape[-1] ** 0.5
        x = torch.cat([scaled, scaled.new_ones(len(scaled), 1)], dim=1)
        self.gram += x.T @ x
        self.cross += x.T @ (batch.extra["text_embedding"] - batch.extra["image_embedding"]).double()

    def finish(self, progress: Progress) -> None:
        """Solves for the correction."""
        if not self.gram[-1, -1]:
            raise ValueError("nothing was observed")
        solution = ridge(self.gram, self.cross, self.config.penalty).to(self.image.linear.weight.dtype)
        self.image.linear.weight.copy_(solution[:-1].T)
        self.image.linear.bias.copy_(solution[-1])


CLAIMS = ()
