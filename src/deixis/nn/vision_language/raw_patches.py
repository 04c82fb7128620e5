"""An image tower that computes nothing: the pixels of each patch, for models that read them directly."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.inputs.preprocess import Preprocess
from deixis.types.outputs import TokenStates

__all__ = ["RawPatches"]


class RawPatches(nn.Module):
    """Patches of side P as vectors of 3 P P numbers: all of the red channel, then green, then blue, each row by row.

    Args:
        patch: side of a patch, in pixels.
        size: side of the images, a multiple of it.
    """

    def __init__(self, patch: int, size: int) -> None:
        super().__init__()
        if patch < 1 or size < patch or size % patch:
            raise ValueError(f"images of {size} pixels do not divide into patches of {patch}")
        self.patch, self.name, self.licence = patch, f"patches:{patch}:{size}", ""
        self.preprocess = Preprocess(size, mode="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.width = self.token_width = 3 * patch * patch
        self.channels, self.strides = (self.width,), (patch,)

    @property
    def config(self) -> dict[str, Any]:
        """What the preprocessing does not tell, as plain values."""
        return {"kind": "RawPatches", "patch": self.patch}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """The mean patch."""
        return self.cells(images).mean((2, 3))

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """One vector a patch, on their grid."""
        return F.pixel_unshuffle(images, self.patch)

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One vector a patch, row by row."""
        cells = self.cells(images)
        states = cells.flatten(2).transpose(1, 2)
        return TokenStates(states, states.new_ones(states.shape[:2]).bool(), (cells.shape[2], cells.shape[3]))

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """The patches, on their grid."""
        return [self.cells(images)]
