"""Parts of a method that see images or read text alone: the half of a dual encoder, or a network of timm.

Their interfaces are `ImageEncoder` and `TextEncoder` of `deixis.types.protocols`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder
from deixis.nn.layers.positions import require_side
from deixis.nn.vision.pyramid import feature_maps, final_map, levels_of
from deixis.types.outputs import TokenStates

__all__ = ["ImageHalf", "TextHalf", "TimmEncoder"]


class _ImagePart(nn.Module):
    """Tokens are the cells of a map, whatever the network.

    Args:
        network: the module inside.
        preprocess: of its images.
        name: of the part.
        licence: of the weights.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, name: str, licence: str) -> None:
        super().__init__()
        self.network, self.preprocess, self.name, self.licence = network, preprocess, name, licence

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The map that is pooled."""
        raise NotImplementedError

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the map that is pooled, row by row."""
        cells = self.cells(images)
        states = cells.flatten(2).transpose(1, 2)
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))


class ImageHalf(_ImagePart):
    """The image tower of a dual encoder, before the projection into the shared space.

    Args:
        network: the tower; one of `deixis.nn`, which tells its feature maps.
        preprocess: of its images.
        name: of the part.
        licence: of the weights.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, name: str, licence: str = "") -> None:
        super().__init__(network, preprocess, name, licence)
        inside: Any = network
        self.channels = tuple(each.channels for each in inside.levels)
        self.strides = tuple(each.stride for each in inside.levels)
        self.width = self.token_width = inside.feature_width

    @classmethod
    def of(cls, encoder: DualEncoder) -> ImageHalf:
        """The tower of an encoder (shared, not copied), in the mode it is in.

        Raises:
            DeixisError: the tower does not tell its feature maps, or was left on disk.
        """
        if not hasattr(encoder.image_tower, "feature_maps"):
            raise DeixisError(
                f"The image tower of {encoder.name!r} gives no feature maps.", "Load a whole model: deixis.load(...)"
            )
        half = cls(encoder.image_tower, encoder.preprocess, encoder.name, encoder.licence)
        half.training = encoder.training
        return half

    @property
    def config(self) -> dict[str, Any]:
        """What weights and preprocessing do not tell, as plain values."""
        return {"kind": "ImageHalf", "network": getattr(self.network, "config", {})}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """Pooled features."""
        return self.network(images).features

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The map that is pooled."""
        return cast(Any, self.network).cells(images)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """One map a stride, from the finest to the coarsest."""
        return cast(Any, self.network).feature_maps(images)


class TimmEncoder(_ImagePart):
    """A network of timm without its classifier.

    Args:
        network: made with `num_classes=0`.
        preprocess: of its images.
        name: of the part.
        licence: of the weights.
        fixed: whether images must have the size of `preprocess`.
    """

    def __init__(
        self, network: nn.Module, preprocess: Preprocess, *, name: str, licence: str = "", fixed: bool = False
    ) -> None:
        # two to three times faster on a CPU; the numbers are the same up to rounding
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, preprocess, name, licence)
        inside: Any = network
        self.token_width = int(inside.num_features)
        self.width = int(getattr(inside, "head_hidden_size", self.token_width))
        levels = levels_of(network, self.token_width)
        self.channels, self.strides = tuple(each.channels for each in levels), tuple(each.stride for each in levels)
        self._fixed = fixed

    @property
    def config(self) -> dict[str, Any]:
        """What weights and preprocessing do not tell, as plain values."""
        architecture = getattr(self.network, "pretrained_cfg", {}).get("architecture", "")
        return {"kind": "TimmEncoder", "network": architecture}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """Pooled features."""
        inside: Any = self.network
        return inside.forward_head(inside.forward_features(self._enter(images)), pre_logits=True)

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The last map, before pooling; class and register tokens are left out."""
        return final_map(self.network, self._enter(images))

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """One map a stride, from the finest to the coarsest, see `deixis.nn.vision.pyramid`."""
        return feature_maps(self.network, self._enter(images))

    def _enter(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        if self._fixed:
            require_side(images, self.preprocess.size)
        return images.contiguous(memory_format=torch.channels_last)


class TextHalf(nn.Module):
    """A text tower with the tokenizer that belongs to it, by itself.

    Args:
        encoder: whose text tower and adapter it is; shared, not copied.
    """

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.network, self.adapter = encoder.text_tower, encoder.text_adapter
        self.tokenizer: Tokenizer = encoder.tokenizer
        self.context_length, self.name, self.licence = encoder.context_length, encoder.name, encoder.licence
        self.width, self.token_width = encoder.width, int(cast(Any, self.network).token_width)
        self.training = encoder.training

    @property
    def config(self) -> dict[str, Any]:
        """What weights and tokenizer do not tell, as plain values."""
        inside = {name: getattr(each, "config", {}) for name, each in self.named_children()}
        return {"kind": "TextHalf", "context_length": self.context_length, **inside}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real."""
        pooled: Tensor = self.network(tokens, mask)
        return pooled if self.adapter is None else self.adapter(pooled)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> TokenStates:
        """States of the last layer, before the projection into the shared space; what stands where `mask` is false
        means nothing."""
        return TokenStates(self.encode(self.embeddings(tokens), mask), mask)

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word embeddings, before positions are added."""
        return cast(Any, self.network).embeddings(tokens)

    def encode(self, embeddings: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last layer, from embeddings that may come from anywhere."""
        return cast(Any, self.network).encode(embeddings, mask)
