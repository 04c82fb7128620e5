"""Small corrections on top of frozen towers: nothing beyond rounding when new, exactly nothing at strength 0."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.types.outputs import ImageStates

__all__ = ["AdaptedEncoder", "ImageResidual", "TextResidual", "from_config"]


def from_config(config: dict[str, Any]) -> nn.Module:
    """A new adapter from what an adapter's `config` tells.

    Raises:
        ValueError: no adapter of that kind, or other settings than it has.
    """
    settings = dict(config)
    kinds: dict[str, type[nn.Module]] = {each.__name__: each for each in (ImageResidual, TextResidual)}
    kind = settings.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"there is no adapter {kind!r}; there are {', '.join(kinds)}")
    try:
        return kinds[kind](**settings)
    except TypeError as error:
        raise ValueError(f"{kind} does not take these settings: {settings}") from error


class ImageResidual(nn.Module):
    """Adds a linear function of the tower's features to its embedding, the more the less the tower is sure.

        out = normalise(z + strength * gate * (W s(f) + b)),     s(f) = sqrt(F) f / |f|

    with `gate` the doubt of the tower, or 1. W and b start at zero, so a new one changes nothing; at strength 0 the
    embedding is returned as it came, bit for bit.

    Args:
        features: width of the tower's features (F).
        width: of the shared space (D).
        gated: whether the correction is scaled by the tower's doubt.
        dropout: share of the features dropped in training.
    """

    strength: Tensor

    def __init__(self, features: int, width: int, *, gated: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.gated, self.dropout = gated, dropout
        self.register_buffer("strength", torch.ones(()))

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs; dropout is a matter of training and left out."""
        width, features = self.linear.weight.shape
        return {"kind": "ImageResidual", "features": features, "width": width, "gated": self.gated}

    def forward(self, states: ImageStates) -> Float[Tensor, "B D"]:
        """The corrected embeddings, rows of length 1."""
        if not torch.compiler.is_compiling() and float(self.strength) == 0.0:
            return states.embedding
        scaled = F.normalize(states.features, dim=-1) * states.features.shape[-1] ** 0.5
        shift = self.linear(F.dropout(scaled, self.dropout, self.training))
        if self.gated:
            shift = shift * states.doubt[:, None]
        return F.normalize(states.embedding + self.strength * shift, dim=-1)


class TextResidual(nn.Module):
    """Adds a linear function of a text embedding to itself: `normalise(t + strength * (B t + c))`.

    B and c start at zero.

    Args:
        width: of the shared space (D).
    """

    strength: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("strength", torch.ones(()))

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {"kind": "TextResidual", "width": len(self.linear.weight)}

    def forward(self, embedding: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The corrected embeddings, rows of length 1."""
        if not torch.compiler.is_compiling() and float(self.strength) == 0.0:
            return embedding
        return F.normalize(embedding + self.strength * self.linear(embedding), dim=-1)


class AdaptedEncoder(nn.Module):
    """A frozen encoder, a correction of its images, and one of its texts or none.

    Args:
        encoder: the frozen model.
        image: the correction of images.
        text: that of texts; None: they stay.
    """

    def __init__(self, encoder: DualEncoder, image: ImageResidual, text: TextResidual | None = None) -> None:
        super().__init__()
        self.encoder, self.image = encoder, image
        self.text = nn.Identity() if text is None else text

    def adapters(self) -> tuple[nn.Module, nn.Module | None]:
        """The corrections, as `DualEncoder.with_adapters` takes them."""
        return self.image, None if isinstance(self.text, nn.Identity) else self.text

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Corrected image embeddings, rows of length 1."""
        return self.image(self.encoder.image_states(images))

    def encode_text(
        self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Text embeddings, corrected where texts are, rows of length 1."""
        return self.text(self.encoder.encode_text(tokens, mask=mask))
