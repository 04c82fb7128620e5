"""The same scene a second time, with its things moved: what a mask is carried to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from deixis.data.synthetic.scenes.drawing import PlacedCutout, Scene
from deixis.data.synthetic.scenes.layout import ThingFacts, box_of
from deixis.inputs.masks import encode_mask
from deixis.types import Region, Sample

__all__ = ["moved_scene", "next_frame"]

_TRIES = 30  # places that are tried for a thing before it stays where it is


def moved_scene(rng: np.random.Generator, scene: Scene, farthest: float, overlap: float) -> Scene:
    """A scene with each of its things somewhere else, one after the other; the background and what lies above what
    stay. A thing for which there is no place where nothing is covered more than may be stays, too.

    Args:
        rng: draws the places.
        scene: as it is.
        farthest: that a thing moves along each axis, as a share of the side.
        overlap: the largest share of a thing that others may cover.
    """
    reach, last = round(farthest * scene.side), scene
    for number, item in enumerate(scene.items):
        steps = rng.integers(-reach, reach + 1, (_TRIES, 2)).tolist()
        for across, down in steps:
            there = _placed(last, number, item, (across, down))
            if there.items[number] != item and _visible(there, overlap):
                last = there
                break
    return dataclasses.replace(last, name=f"{scene.name}, later")


def next_frame(before: Sample, scene: Scene, facts: Sequence[ThingFacts], masks: bool) -> Sample:
    """The second frame as a sample.

    Args:
        before: the first frame, with a region for each thing.
        scene: after the things moved.
        facts: of the things, in the order of the regions of the first frame.
        masks: whether the regions carry masks.

    Returns:
        A sample whose regions are those of the first frame, in the same order, where they are now.
    """
    layers, regions = scene.layers(), []
    for region, fact in zip(before.regions, facts, strict=True):
        pixels = layers == fact.layer
        mask = encode_mask(torch.from_numpy(pixels)) if masks else None
        regions.append(Region(box_of(pixels, scene.side), region.category, mask=mask))
    return Sample(f"{before.id}/next", scene, label=before.label, regions=tuple(regions), split=before.split)


def _placed(scene: Scene, number: int, item: PlacedCutout, step: tuple[int, int]) -> Scene:
    """With one thing a step from where it was; not beyond the edge."""
    x, y = (
        min(max(0, at + by), scene.side - length)
        for at, by, length in zip((item.x, item.y), step, item.size, strict=True)
    )
    items = (*scene.items[:number], dataclasses.replace(item, x=x, y=y), *scene.items[number + 1 :])
    return dataclasses.replace(scene, items=items)


def _visible(scene: Scene, overlap: float) -> bool:
    """Whether something of each thing is to be seen, and none is covered more than may be."""
    left = np.bincount(scene.layers().ravel() + 1, minlength=len(scene.items) + 1)[1:]
    areas = np.array([item.solid().sum() for item in scene.items])
    return bool(((left >= (1 - overlap) * areas) & (left > 0)).all())
