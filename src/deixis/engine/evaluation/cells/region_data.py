"""Images with things in them, divided for heads on frozen maps: by concept, with the categories that can be learned."""

from __future__ import annotations

import collections
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from deixis.data.loading.crops import WHOLE, region_mask
from deixis.engine.evaluation.cells.linear_cells import class_map
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalReporter
from deixis.engine.fewshot.draws import Labelled, parts
from deixis.errors import DeixisError
from deixis.types.samples import Region

__all__ = ["SIDE", "RegionPlan", "region_plan"]

SIDE = 128
"""Of the square that masks are compared on, in pixels: the same for all encoders."""

_MOST = 600
_TEST, _VALIDATION = 0.4, 0.15
_LEAST, _CATEGORIES = 5, 40
"""Images for training that a category is in, and categories at the most: what is rarer counts nowhere."""


class RegionPlan(NamedTuple):
    """Images with regions, in three parts.

    Attributes:
        data: all of the images.
        names: the categories, in alphabetical order.
        train: indices of images.
        validation: likewise.
        test: likewise; each has a thing of one of the categories.
        note: the counts, in a sentence.
    """

    data: EvalSet
    names: tuple[str, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    note: str

    def regions(self, index: int) -> list[Region]:
        """What counts in an image: its regions of the categories."""
        return [each for each in self.data.samples[index].regions if each.category in self.names]

    def class_maps(self) -> Int64[Tensor, "N S S"]:
        """The class of each pixel of each image: 0 the background, n + 1 category n, -1 another category."""

        def pixels(region: Region) -> Tensor:
            return region_mask(region, WHOLE, (SIDE, SIDE))

        return torch.stack([class_map(each.regions, self.names, pixels, SIDE) for each in self.data.samples])


def region_plan(data: EvalData, options: EvalOptions, talk: EvalReporter, masks: bool) -> RegionPlan:
    """Divides the images that have regions.

    Args:
        data: with boxes that name things.
        options: the limit; 600 images, where it is 0.
        talk: is told how many the limit leaves.
        masks: whether regions need masks.

    Raises:
        DeixisError: no region has a category, or no category is in enough images.
    """
    every = data.placed(options.limit or _MOST, talk.say, masks)
    made = parts(Labelled.of(every.samples, every.groups), 0, _TEST, _VALIDATION)
    present = [{region.category for region in sample.regions} - {""} for sample in every.samples]
    counts = collections.Counter(name for i in made.train for name in sorted(present[i]))
    names = sorted(name for name, count in counts.most_common(_CATEGORIES) if count >= _LEAST)
    train, validation, test = (
        tuple(i for i in some if present[i] & set(names)) for some in (made.train, made.validation, made.test)
    )
    if not names or not validation or not test:
        raise DeixisError(
            f"No category of {data.source.name} is in {_LEAST} images for training and in others to test on.",
            "Give more images of each category.",
        )
    left_out = len(set().union(*present)) - len(names)
    note = f"{len(train)} images to learn from, {len(validation)} validation images, {len(test)} test images; "
    note += f"{len(names)} categories" + f", {left_out} rarer ones left out." * (left_out > 0) + "." * (left_out == 0)
    return RegionPlan(every, tuple(names), train, validation, test, note)
