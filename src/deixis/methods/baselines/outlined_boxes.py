"""The boxes of `detect_match`, of each of which only what differs from its surroundings is of the class.

    m(p) = min_j |x_p - s_j|^2 - min_j |x_p - t_j|^2      s_j: prototypes of the ring around the box, t_j: of its middle

with x a pixel's colours (lightness, and two opponent channels) and its place in the box. The prototypes t are found
anew from the pixels of the box where m is above 0, some times; then m is refined by the affinity of pixels, and
a pixel is of the thing where it is above 0. This is GrabCut (Rother et al. 2004) with centroids for mixtures, and a
diffusion for the cut. Where little of a box would be left, or nearly all is, the box is filled.

Words that are no kind of the detector's have no boxes worth the name: they are looked for all over the image, by the
score map, whether or not a region looks like them, and boxes lie on what is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from deixis.methods.baselines import filled_boxes, score_map
from deixis.methods.baselines.filled_boxes import ClassBox
from deixis.nn.dense.window_maps import unit_range
from deixis.nn.dual import DualEncoder
from deixis.ops.dense.affinity import refine_scores
from deixis.ops.dense.prototypes import k_means
from deixis.types import Card, FieldSpec, GroundOutput, Part
from deixis.types.protocols import Names, Proposals

__all__ = ["CARD", "CLAIMS", "Config", "Method", "pixel_features", "thing_scores"]

CARD = Card(
    title="A detector's boxes, outlined by what differs from their surroundings",
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


_FLAT = 1e-3
"""Deviation of a cut below which nothing in it differs from anything."""


@dataclass(frozen=True)
class Config(filled_boxes.Config):
    """Settings; the first are those of `filled_boxes`.

    Attributes:
        names: of the classes; each may be a phrase.
        proposals: the detector.
        encoder: compares crops with words.
        outline: whether boxes are outlined; else they are filled.
        side: of the square that a box and its ring are resized to, in pixels.
        ring: how far the ring reaches, as a share of the box.
        centroids: prototypes of the thing, and as many of the ring.
        rounds: how often the thing's prototypes are found anew.
        place: weight of a pixel's place beside its colours.
        refinements: steps of the affinity of pixels.
        least: of a box that the thing must take, or the box is filled.
        most: of a box that it may take, likewise.
        spread: whether words that are no kind of the detector's are painted by the score map.
    """

    outline: bool = True
    side: int = 96
    ring: float = 0.25
    centroids: int = 6
    rounds: int = 3
    place: float = 0.1
    refinements: int = 5
    least: float = 0.15
    most: float = 0.95
    spread: bool = True

    @classmethod
    def tiny(cls) -> Config:
        """For tests: a grid of regions and the tiny encoder."""
        return cls(names="cat,dog", proposals="tiny", encoder="tiny", side=24, spread=False)


def pixel_features(image: Float[Tensor, "3 H W"], place: float) -> Float[Tensor, "H W 5"]:
    """Lightness, two opponent colours, and the place from -1 to 1, weighed.

    Args:
        image: from 0 to 1.
        place: weight of the place.
    """
    red, green, blue = image
    colours = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], dim=-1)
    down, right = (torch.linspace(-1, 1, side, device=image.device) for side in image.shape[1:])
    grid = torch.stack(torch.meshgrid(down, right, indexing="ij"), dim=-1).to(image)
    return torch.cat([colours, place * grid], dim=-1)


def thing_scores(
    features: Float[Tensor, "H W D"], box: Bool[Tensor, "H W"], middle: Bool[Tensor, "H W"], centroids: int, rounds: int
) -> Float[Tensor, "H W"]:
    """How much nearer each pixel is to the thing in a box than to what is around the box.

    Args:
        features: of pixels.
        box: those of the box; the others are its ring.
        middle: those that the thing's first prototypes come from.
        centroids: of either side.
        rounds: how often the thing's are found anew.
    """

    def nearest(pixels: Bool[Tensor, "H W"]) -> Float[Tensor, "H W"]:
        found = k_means(features[pixels], centroids, torch.Generator().manual_seed(0), iterations=10)
        return torch.cdist(features.flatten(0, 1), found).amin(1).square().unflatten(0, features.shape[:2])

    around = nearest(~box) if bool((~box).any()) else features.new_ones(features.shape[:2])
    scores = around - nearest(middle)
    for _ in range(rounds):
        thing = box & (scores > 0)
        if not bool(thing.any()):
            break
        scores = around - nearest(thing)
    return scores


class Method(filled_boxes.Method):
    """What finds boxes, and names.

    Args:
        config: the settings.
        names: of the classes.
        proposals: the detector.
        encoder: compares crops with words.
    """

    def __init__(self, config: Config, *, names: Names, proposals: Proposals, encoder: DualEncoder) -> None:
        super().__init__(config, names=names, proposals=proposals, encoder=encoder)
        self.config: Config = config
        self._map = score_map.Method(score_map.Config(), names=names, encoder=encoder) if config.spread else None

    def _of_image(self, images: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "C H W"]:
        boxes = self.class_boxes(images)
        spread = {box.number for box in boxes if box.source == "crop"} if self._map is not None else set()
        found = self.painted(images, [box for box in boxes if box.number not in spread])
        if self._map is not None and spread:
            image = unit_range(images, self.proposals.preprocess)
            scores = self._map.of_plain(image)[0]
            rest = [number + 1 for number in range(len(self.names)) if number not in spread]
            scores[rest] = scores.amin()
            best, free = scores.argmax(0), found[0] == 1.0
            for number in spread:
                inside = free & (best == number + 1)
                found[0, inside] = 0.0
                found[number + 1, inside] = max(box.chance for box in boxes if box.number == number)
        return found

    def _kept(self, output: GroundOutput) -> list[int]:
        """Of a word that the detector does not know, the likeliest region, for its chance: the map finds where."""
        if self._map is None or output.sources[0][0] != "crop":
            return super()._kept(output)
        return [int(output.scores[0, 0].masked_fill(~output.valid[0], -1.0).argmax())]

    def pixels(self, image: Float[Tensor, "3 H W"], box: ClassBox) -> Bool[Tensor, "H W"]:
        """Those of the box that differ from its surroundings.

        Args:
            image: as the detector takes it.
            box: with a class.
        """
        filled = super().pixels(image, box)
        if not self.config.outline or not bool(filled.any()):
            return filled
        rows, columns = (filled.any(axis).nonzero()[:, 0] for axis in (1, 0))
        top, low, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        down, across = round((low - top) * self.config.ring), round((right - left) * self.config.ring)
        place = (
            slice(max(0, top - down), min(filled.shape[0], low + down)),
            slice(max(0, left - across), min(filled.shape[1], right + across)),
        )
        cut = unit_range(image[None], self.proposals.preprocess)[:, :, place[0], place[1]]
        if float(cut.flatten(2).std(-1, unbiased=False).amax()) < _FLAT:
            return filled
        thing = self._outlined(cut, filled[place])
        share = float(thing.sum() / filled.sum())
        if not self.config.least <= share <= self.config.most:
            return filled
        found = torch.zeros_like(filled)
        found[place] = thing
        return found

    def _outlined(self, cut: Float[Tensor, "1 3 H W"], filled: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
        """The pixels of the thing, in a cut around its box."""
        config, size = self.config, (self.config.side, self.config.side)
        small = F.interpolate(cut, size, mode="bilinear", antialias=True)
        box = F.interpolate(filled[None, None].float(), size, mode="nearest")[0, 0] > 0
        middle = box & ~_near_edge(box, config.side // 8)
        features = pixel_features(small[0], config.place)
        scores = thing_scores(features, box, middle if bool(middle.any()) else box, config.centroids, config.rounds)
        limit = scores.abs().flatten().quantile(0.9).clamp(min=1e-6)
        maps = (scores / limit).clamp(-1, 1)[None, None]
        refined = refine_scores(small, maps, config.refinements, (1, 2, 4)) if config.refinements else maps
        return (F.interpolate(refined, cut.shape[2:], mode="bilinear")[0, 0] > 0) & filled


def _near_edge(box: Bool[Tensor, "H W"], reach: int) -> Bool[Tensor, "H W"]:
    """The pixels within a distance of what is not of the box."""
    outside = F.pad((~box).float()[None], (reach,) * 4, value=1.0)
    return F.max_pool2d(outside, 2 * reach + 1, 1)[0] > 0


CLAIMS = ()
