"""Proposals of images as another part frames them, so that boxes of both lie in one picture."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.inputs.preprocess import Preprocess
from deixis.types.outputs import RegionProposals
from deixis.types.protocols import ImagePreprocessing, Proposals

__all__ = ["FramedProposals"]


class FramedProposals(nn.Module):
    """What a part proposes where another says which part of a picture is seen: cropped, padded or squashed.

    Args:
        proposals: gives the regions; it takes images of its own size and normalisation.
        frame: the preprocessing of the other part.
    """

    def __init__(self, proposals: Proposals, frame: ImagePreprocessing) -> None:
        super().__init__()
        own = proposals.preprocess
        assert isinstance(frame, Preprocess)
        assert isinstance(own, Preprocess)
        self.proposals, self._frame = proposals, frame
        self.preprocess = dataclasses.replace(frame, size=own.size, mean=own.mean, std=own.std)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "FramedProposals", "proposals": getattr(self.proposals, "config", {})}

    def regions(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The regions of images that `preprocess` has prepared; boxes are shares of what it shows."""
        return self.proposals(images)

    def of_frame(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The regions of images that the other part's preprocessing has prepared: resized, normalised anew."""
        seen, own = self._frame, self.preprocess
        pixels = images * images.new_tensor(seen.std)[:, None, None] + images.new_tensor(seen.mean)[:, None, None]
        pixels = F.interpolate(pixels, (own.size, own.size), mode="bilinear", align_corners=False, antialias=True)
        values = (pixels - images.new_tensor(own.mean)[:, None, None]) / images.new_tensor(own.std)[:, None, None]
        return self.regions(values)
