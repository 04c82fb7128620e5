"""A small convolutional network from a code to an image, whose stages have names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ConvDecoder"]


class ConvDecoder(nn.Module):
    """A linear map to a coarse map, stages that double its sides, and a last map to what is told of each pixel.

    Args:
        latent: width of the code.
        channels: of the coarse map, and after each doubling.
        side: of the image in pixels.
        out: numbers that are told of each pixel.
    """

    def __init__(self, latent: int, channels: Sequence[int], side: int, out: int) -> None:
        super().__init__()
        self.side, self.coarse = side, -(-side // 2 ** (len(channels) - 1))
        self.enter = nn.Linear(latent, channels[0] * self.coarse**2)
        self.stages = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(channels)
        )
        self.last = nn.Conv2d(channels[-1], out, 3, padding=1)

    @property
    def places(self) -> tuple[str, ...]:
        """Names of what `states` gives, from the code to the image."""
        return tuple(f"stage{number}" for number in range(len(self.stages) + 1))

    def states(self, code: Float[Tensor, "B D"]) -> dict[str, Float[Tensor, "B c h w"]]:
        """The maps on the way, by name."""
        states = self.enter(code).unflatten(1, (-1, self.coarse, self.coarse)).relu()
        found = {self.places[0]: states}
        for name, stage in zip(self.places[1:], self.stages, strict=True):
            states = stage(nn.functional.interpolate(states, scale_factor=2)).relu()
            found[name] = states
        return found

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """What is told of each pixel, of any sign."""
        return self.last(self.states(code)[self.places[-1]][:, :, : self.side, : self.side])
