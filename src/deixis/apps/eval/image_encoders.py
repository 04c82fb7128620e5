"""Encoders of images that are no models of the zoo: pixels, a perceptual hash, whitened features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import EvalReporter
from deixis.inputs.duplicates import perceptual_hash
from deixis.inputs.preprocess import Preprocess
from deixis.nn.fingerprint import digest_of
from deixis.ops.similarity.whitening import pca_whitening

__all__ = ["HashBits", "Pixels", "WhitenedModel"]

_SIDE, _HASH_SIDE, _BITS = 32, 256, 64


class Pixels(nn.Module):
    """The pixels of an image at 32 x 32: what an encoder must be better than."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(_SIDE, mode="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """From -1 to 1, not of length 1."""
        return images.flatten(1)

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """The colours of places."""
        return images


class HashBits(nn.Module):
    """The bits of `perceptual_hash` as -1 and 1: the cosine of two is 1 - 2 x (bits that differ) / 64."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(_HASH_SIDE, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 64"]:
        """One row an image."""
        hashes = [perceptual_hash(image) for image in (255 * images).round().clamp(0, 255).byte().cpu()]
        bits = [[2.0 * (each >> place & 1) - 1.0 for place in range(_BITS)] for each in hashes]
        return torch.tensor(bits, device=images.device)


class WhitenedModel(EvalModel):
    """The image features of a model, whitened by PCA: fitted without labels, once, on the first images whose features
    are requested: those that a protocol measures (of `copies`, the originals).

    Args:
        name: in tables.
        inner: whose features are whitened.
        width: directions that are kept.
    """

    def __init__(self, name: str, inner: EvalModel, width: int) -> None:
        super().__init__(name, inner.model)
        self.encoder, self.capabilities = None, frozenset({"encode_image"})
        self._inner, self._width = inner, width
        self._fitted: tuple[Tensor, Tensor] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the model within, and of the width."""
        return digest_of([self._inner.fingerprint, "whitened", self._width], {})

    def image_features(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N W"]:
        """Whitened, of length 1."""
        rows = F.normalize(self._inner.image_features(data, talk).double(), dim=1)
        if self._fitted is None:
            self._fitted = pca_whitening(rows, self._width)
        mean, matrix = self._fitted
        return F.normalize((rows - mean) @ matrix, dim=1).float()

    def image_embeddings(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N W"]:
        """The same."""
        return self.image_features(data, talk)
