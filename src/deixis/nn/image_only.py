"""A model of images alone in the place of a dual encoder: it indexes and compares images, and refuses words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tokenizers
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.modes import evaluating
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["ImageOnlyTower", "image_only", "words_error"]


def words_error(name: str) -> DeixisError:
    """What is said wherever words would have to be read by a model of images alone.

    Args:
        name: of the model, or the folder that holds it.
    """
    return DeixisError(
        f"{name} has no model that compares words with images.",
        "Use it with images: deixis index DATA --model RUN, deixis search INDEX photo.jpg, deixis serve, deixis label, "
        "deixis eval. For words, take a model that reads text, such as starter.",
    )


class ImageOnlyTower(nn.Module):
    """The image tower of a method that embeds images; its features are its embeddings.

    Args:
        method: that offers `encode_image`.
        preprocess: of its images.
        settings: of the method, as plain values; they are part of the fingerprint.
    """

    def __init__(self, method: nn.Module, preprocess: Preprocess, settings: dict[str, Any]) -> None:
        super().__init__()
        self.method, self.config = method, settings
        blank = torch.zeros(1, 3, preprocess.size, preprocess.size)
        with evaluating(method), torch.no_grad():
            self.width = self.feature_width = int(self._embeddings(blank).shape[1])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings, once more as features, and no doubt."""
        rows = self._embeddings(images)
        return ImageStates(rows, rows, rows.new_zeros(len(rows)))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """What the method's `image_tokens` gives."""
        states: TokenStates = self.method.image_tokens(images)  # type: ignore[operator]
        return states

    def _embeddings(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        rows: Tensor = self.method.encode_image(images)  # type: ignore[operator]
        return rows


class _NoTextTower(nn.Module):
    """Stands where a model of images alone has no text tower."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        raise words_error(self.name)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        raise words_error(self.name)


class _NoTokenizer(Tokenizer):
    """Refuses every text."""

    vocabulary = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self.around, self.marks = 0, ()

    def to_dict(self) -> dict[str, Any]:
        """No rules."""
        return {}

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        raise words_error(self.name)


def image_only(
    name: str, method: nn.Module, *, preprocess: Preprocess, settings: dict[str, Any], licence: str = ""
) -> DualEncoder:
    """A method that embeds images as a `DualEncoder` that can't encode text: `reads_text` is false.

    Args:
        name: of the model.
        method: that offers `encode_image`, whose embeddings have length 1 (shared, not copied).
        preprocess: of its images.
        settings: of the method, as plain values.
        licence: of its weights.
    """
    tower = ImageOnlyTower(method, preprocess, settings)
    return DualEncoder(
        tower,
        _NoTextTower(name, tower.width),
        tokenizer=_NoTokenizer(name),
        preprocess=preprocess,
        traits=Traits(name, 0, scale=1.0, licence=licence),
    ).eval()
