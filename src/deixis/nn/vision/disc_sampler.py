"""A sampler that knows nothing of the world: a disc, the colour of which hangs on the text, before noise."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from deixis.types.outputs import SampledImages

__all__ = ["DiscSampler"]


class DiscSampler(nn.Module):
    """Equal texts give discs of equal colour; place and noise are random.

    Args:
        size: side of the images, in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @property
    def config(self) -> dict[str, Any]:
        """All there is to it, as plain values."""
        return {"kind": "DiscSampler", "size": self.size}

    def forward(self, text: str, count: int, rng: torch.Generator) -> SampledImages:
        """`count` images of what `text` says, and the disc as attribution.

        Args:
            text: any.
            count: of images.
            rng: on the CPU.
        """
        colour = torch.tensor(list(hashlib.blake2b(text.encode(), digest_size=3).digest()), dtype=torch.uint8)
        images = torch.randint(0, 256, (count, 3, self.size, self.size), generator=rng, dtype=torch.uint8)
        centre = self.size * (0.3 + 0.4 * torch.rand(count, 2, generator=rng))
        place = torch.arange(self.size) + 0.5
        across = (place[None, None, :] - centre[:, 1, None, None]).square()
        down = (place[None, :, None] - centre[:, 0, None, None]).square()
        inside = (across + down).sqrt() < 0.25 * self.size
        images = torch.where(inside[:, None], colour[None, :, None, None], images)
        return SampledImages(images, inside.float())
