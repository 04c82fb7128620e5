"""What windows of an image score, each read as an image of its own, sharpened by NormGrad's map of the whole.

    map(p) = norm(norm(sum over sides of norm(mean of score(w) over the windows w of that side that cover p)) n(p))

with norm the stretch to 0 ... 1, and n NormGrad's map. Gradient maps of a cosine show where an image-text model looks,
whatever is asked: for two texts they agree nearly everywhere, since with lengths fixed what speaks for one text speaks
against the other, and a norm takes the sign away. A window that shows one thing scores high for its name alone; it is
coarse, and NormGrad's map adds the outlines. Nothing but the score is needed, so it serves any network.

Costs a forward pass a window: 34 with the defaults, beside NormGrad's pass and its gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods import normgrad
from deixis.methods.normgrad import Score
from deixis.nn.dual import DualEncoder
from deixis.nn.taps import eval_with_grad
from deixis.ops.maps import to_unit
from deixis.types import Card, Part, Variant
from deixis.types.outputs import Maps

__all__ = ["CARD", "CLAIMS", "Config", "Method", "places"]

CARD = Card(
    title="Scores of windows, sharpened by NormGrad's map",
    year=2026,
    kind="training-free",
    role="baseline",
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("attribute",),
    tags=("explanation", "saliency", "occlusion"),
    variants={
        "windows": Variant({}, standard=True),
        "windows alone": Variant({"sharpen": False}, standard=True),
    },
)


@dataclass(frozen=True)
class Config(normgrad.Config):
    """Settings of the windows, and of NormGrad's map.

    Attributes:
        cell: as in NormGrad.
        layers: as in NormGrad.
        sides: of the windows, as shares of the image's sides.
        stride: from window to window, as a share of a window's side.
        sharpen: whether the map of the windows is multiplied by NormGrad's of the whole image.
    """

    cell: str = "norm_grad_selective"
    layers: tuple[str, ...] = ("auto",)
    sides: tuple[float, ...] = (1 / 2, 1 / 3)
    stride: float = 0.5
    sharpen: bool = True

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, four windows."""
        return cls(encoder="tiny", sides=(1 / 2,), stride=1.0)

    @classmethod
    def desk(cls) -> Config:
        """Two sizes, half overlapping: 9 and 25 windows."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same; there is no paper."""
        return cls()


CLAIMS = ()


def places(size: int, side: float, stride: float) -> list[tuple[int, int]]:
    """Start and stop, along one axis, of windows that cover it from edge to edge at equal distances.

    Args:
        size: of the axis, in pixels.
        side: of a window, as a share of the axis, above 0 and up to 1.
        stride: the greatest distance from window to window, as a share of a window, above 0 and up to 1.

    >>> places(8, 0.5, 0.5)
    [(0, 4), (2, 6), (4, 8)]
    """
    length = min(size, max(1, round(side * size)))
    count = 1 + max(0, -(-(size - length) // max(1, round(stride * length))))
    starts = [round(number * (size - length) / max(1, count - 1)) for number in range(count)]
    return [(start, start + length) for start in starts]


class Method(normgrad.Method):
    """What is explained, and its windows.

    Args:
        config: the settings.
        encoder: a dual encoder, or any other network that takes images, such as a classifier.

    Raises:
        DeixisError: a side or the stride lies outside 0 ... 1, or there is no side.
    """

    def __init__(self, config: Config, *, encoder: nn.Module) -> None:
        super().__init__(config, encoder=encoder)
        if not config.sides or not all(0 < each <= 1 for each in (*config.sides, config.stride)):
            raise DeixisError(
                f"The sides are {config.sides} and the stride {config.stride}.",
                "Give shares above 0 and up to 1, such as sides=(0.5,) and stride=0.5.",
            )
        self.config: Config = config

    def attribute(self, images: Float[Tensor, "B 3 H W"], score: Score) -> Float[Tensor, "*B H W"]:
        """Maps at image size, between 0 and 1.

        Args:
            images: preprocessed.
            score: as for NormGrad.
        """
        return self.maps(images, score).image

    def maps(self, images: Shaped[Tensor, "..."], score: Score) -> Maps:
        """The same with the maps of each size of window, and of NormGrad's layers.

        Args:
            images: preprocessed.
            score: as for `attribute`.
        """
        whole = super().maps(images, score)  # first: what a score records of its first call is the whole image
        with eval_with_grad(self.encoder, gradients=False), torch.no_grad():
            found = {f"windows {side:.2g}": self._windows(images, score, side) for side in self.config.sides}
        mean = to_unit(torch.stack([to_unit(each) for each in found.values()]).sum(0))
        return Maps(to_unit(mean * whole.image) if self.config.sharpen else mean, {**found, **whole.raw})

    def _windows(self, images: Tensor, score: Score, side: float) -> Tensor:
        """The mean score of the windows that cover each pixel."""
        total: Tensor | None = None
        covered = images.new_zeros(images.shape[-2:])
        for rows, columns in self._places(images, side):
            window = images[:, :, rows, columns]
            scores = score(self._forward(F.interpolate(window, images.shape[-2:], mode="bilinear"))).to(images)
            if total is None:
                total = images.new_zeros(*scores.shape, *images.shape[-2:])
            total[..., rows, columns] += scores[..., None, None]
            covered[rows, columns] += 1
        assert total is not None
        return total / covered

    def _places(self, images: Tensor, side: float) -> Iterator[tuple[slice, slice]]:
        height, width = images.shape[-2:]
        for row in places(height, side, self.config.stride):
            for column in places(width, side, self.config.stride):
                yield slice(*row), slice(*column)

    def _forward(self, images: Tensor) -> Tensor:
        if isinstance(self.encoder, DualEncoder):
            return self.encoder.encode_image(images)
        output: Tensor = self.encoder(images)
        return output
