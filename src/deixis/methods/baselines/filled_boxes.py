"""The boxes of `detect_match`, filled: every pixel of a box is of its class, and smaller boxes lie on larger ones.

What a detector says of pixels without having seen a mask; methods that name pixels have to beat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from deixis.methods.baselines import detect_match
from deixis.nn.dual import DualEncoder
from deixis.ops.regions.boxes import nms
from deixis.types import Card, FieldSpec, GroundOutput, Part
from deixis.types.protocols import Names, Proposals

__all__ = ["CARD", "CLAIMS", "ClassBox", "Config", "Method"]

CARD = Card(
    title="A detector's boxes, filled",
    year=2026,
    kind="training-free",
    role="baseline",
    needs=(FieldSpec("images", "B 3 H W"),),
    parts=(
        Part("names", "names"),
        Part("proposals", "proposals", frozen=True),
        Part("encoder", "dual_encoder", frozen=True),
    ),
    capabilities=("segment",),
    tags=("segmentation", "detection", "zero-shot", "open vocabulary"),
)

_SAME = 0.5
"""IoU from which two boxes of a class are one thing."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        names: of the classes, by default some as an example; each may be a phrase, such as "the red car".
        proposals: the detector.
        encoder: compares crops with words.
    """

    names: str = "person,cat,dog"
    proposals: str = "centernet:30"
    encoder: str = "starter"

    @classmethod
    def tiny(cls) -> Config:
        """For tests: a grid of regions and the tiny encoder."""
        return cls(names="cat,dog", proposals="tiny", encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """The detector and the starter."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same; there is no paper."""
        return cls()


class ClassBox(NamedTuple):
    """A box that is of a class: corners in shares of the image, the chance, the class, and how it was chosen."""

    corners: tuple[float, float, float, float]
    chance: float
    number: int
    source: str

    @property
    def area(self) -> float:
        """As a share of the image."""
        x0, y0, x1, y1 = self.corners
        return (x1 - x0) * (y1 - y0)


class Method(nn.Module):
    """What finds boxes, and names.

    Args:
        config: the settings.
        names: of the classes, by default some as an example.
        proposals: the detector.
        encoder: compares crops with words.
    """

    def __init__(self, config: Config, *, names: Names, proposals: Proposals, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.names, self.proposals, self.encoder = config, names, proposals, encoder
        self._finder = detect_match.Method(detect_match.Config(), proposals=proposals, encoder=encoder)

    @torch.no_grad()
    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Chances: of a class inside its boxes, of everything else outside of all.

        Args:
            images: as the detector takes them.
        """
        return torch.stack([self._of_image(images[row : row + 1]) for row in range(len(images))])

    def _of_image(self, images: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "C H W"]:
        return self.painted(images, self.class_boxes(images))

    def painted(self, images: Float[Tensor, "1 3 H W"], boxes: Sequence[ClassBox]) -> Float[Tensor, "C H W"]:
        """The chances of one image, whose smaller boxes lie on larger ones.

        Args:
            images: as the detector takes them.
            boxes: with their classes.
        """
        found = images.new_zeros(len(self.names) + 1, *images.shape[2:])
        found[0] = 1.0
        for box in sorted(boxes, key=lambda each: -each.area):
            inside = self.pixels(images[0], box)
            found[:, inside] = 0.0
            found[box.number + 1, inside] = box.chance
        return found

    def class_boxes(self, images: Float[Tensor, "1 3 H W"]) -> list[ClassBox]:
        """The boxes of one image that are of a class, each thing once; the whole image only for words that are no kind
        of the detector's.

        Args:
            images: as the detector takes them.
        """
        found: list[ClassBox] = []
        for number, name in enumerate(self.names[:]):
            tokens = self.encoder.tokenize([str(name)]).to(images.device)
            output = self._finder.ground(images, tokens.ids, tokens.mask)
            boxes, chances, source = output.boxes[0], output.scores[0, 0].float(), output.sources[0][0]
            kept = self._kept(output)
            found += [ClassBox(_corners(boxes[each]), float(chances[each]), number, source) for each in kept]
        return found

    def _kept(self, output: GroundOutput) -> list[int]:
        """Which regions of one image are of a class: those that are likely enough, each thing once."""
        boxes, chances = output.boxes[0], output.scores[0, 0].float()
        assert output.thresholds is not None
        good = (output.valid[0] & (chances >= output.thresholds[0, 0])).nonzero().flatten()
        return good[nms(boxes[good], chances[good], _SAME)].tolist()  # type: ignore[no-any-return]

    def pixels(self, image: Float[Tensor, "3 H W"], box: ClassBox) -> Bool[Tensor, "H W"]:
        """Those that are of the box's class: here all that lie in it.

        Args:
            image: as the detector takes it.
            box: with a class.
        """
        height, width = image.shape[1:]
        x0, y0, x1, y1 = box.corners
        found = torch.zeros(height, width, dtype=torch.bool, device=image.device)
        found[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
        return found


def _corners(box: Tensor) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box.clamp(0, 1).tolist()
    return x0, y0, x1, y1


CLAIMS = ()
