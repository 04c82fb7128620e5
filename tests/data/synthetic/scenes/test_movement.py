"""Second frames: the same things on the same background, somewhere else, with masks in the order of the first."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from deixis.data.synthetic.scenes import Scene, SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.types import Sample

SIDE = 64


@functools.cache
def of_shapes(moved: float) -> tuple[Sample, ...]:
    return scenes(0, 6, side=SIDE, config=SceneConfig(cast="shapes", moved=moved)).samples


def frames(moved: float = 0.2) -> list[tuple[Scene, Sample, Scene, Sample]]:
    """Drawing and sample of both frames."""
    return [
        (sample.image, sample, sample.extra["next_frame"].image, sample.extra["next_frame"])  # type: ignore[misc]
        for sample in of_shapes(moved)
    ]


def test_a_second_frame_changes_nothing_in_the_first_and_without_it_nothing_is_there() -> None:
    for still, sample in zip(of_shapes(0.0), of_shapes(0.2), strict=True):
        assert "next_frame" not in still.extra
        assert dataclasses.replace(sample, extra={**sample.extra, "next_frame": None}) == dataclasses.replace(
            still, extra={**still.extra, "next_frame": None}
        )


def test_things_move_by_no_more_than_may_be_and_are_else_as_they_were() -> None:
    moved = []
    for first, _, second, _ in frames():
        assert second.ground == first.ground
        for before, after in zip(first.items, second.items, strict=True):
            assert dataclasses.replace(after, x=before.x, y=before.y) == before
            assert max(abs(after.x - before.x), abs(after.y - before.y)) <= round(0.2 * SIDE)
            assert 0 <= after.x <= SIDE - after.size[0]
            assert 0 <= after.y <= SIDE - after.size[1]
            moved.append((after.x, after.y) != (before.x, before.y))
    assert np.mean(moved) > 0.9


def test_masks_of_both_frames_are_of_the_same_things_in_one_order_and_nothing_is_covered_too_much() -> None:
    for first, sample, second, later in frames():
        assert [region.category for region in later.regions] == [region.category for region in sample.regions]
        layers = second.layers()
        for before, region in zip(sample.regions, later.regions, strict=True):
            assert region.mask is not None
            pixels, number = decode_mask(region.mask), before.attributes["layer"]
            assert torch.equal(pixels, torch.from_numpy(layers == number))
            assert int(pixels.sum()) >= 0.75 * int(first.items[number].solid().sum())
            rows, columns = pixels.any(dim=1).nonzero()[:, 0], pixels.any(dim=0).nonzero()[:, 0]
            edges = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            assert region.box == tuple(edge / SIDE for edge in edges)


def test_a_share_beyond_1_is_refused() -> None:
    with pytest.raises(DeixisError, match="moved is 2"):
        SceneConfig(moved=2.0)
