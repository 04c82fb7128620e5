"""Arithmetic of maps: by hand, by scipy, and finite on constant maps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deixis.ops.maps import (
    blur,
    combine,
    depth_weights,
    highest,
    hits,
    per_class,
    resize,
    spearman,
    to_symmetric,
    to_unit,
)
from tests.support import Peer

filters, statistics = Peer("scipy.ndimage"), Peer("scipy.stats")
MAPS = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(0)).double()
CONSTANT = torch.full((2, 4, 6), 3.0)


def test_a_map_is_stretched_to_its_own_least_and_greatest_value() -> None:
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[-1.0, 0.0], [1.0, 0.0]]])
    assert to_unit(maps).tolist() == [[[0, 0.5], [0.25, 1]], [[0, 0.5], [1, 0.5]]]


def test_a_map_with_signs_keeps_its_zero() -> None:
    maps = torch.tensor([[[1.0, -4.0], [2.0, 0.0]]])
    assert to_symmetric(maps).tolist() == [[[0.25, -1], [0.5, 0]]]


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 1e30])
def test_constant_maps_stay_finite(value: float) -> None:
    maps = torch.full((2, 4, 6), value)
    assert not to_unit(maps).any()
    for found in (to_symmetric(maps), resize(maps, (9, 5)), blur(maps, 2.0)):
        assert found.isfinite().all()
    for how in ("sum", "product", "plain_product"):
        assert combine([to_unit(maps)] * 3, how).isfinite().all()
    torch.testing.assert_close(blur(maps, 2.0), maps)


def test_spearman_of_a_constant_map_says_that_there_is_nothing_to_rank() -> None:
    assert spearman(CONSTANT, torch.rand(2, 4, 6)).isnan().all()


def test_a_resized_map_is_that_of_torch_whatever_stands_before_its_axes() -> None:
    found = resize(MAPS, (10, 14))
    expected = F.interpolate(MAPS, (10, 14), mode="bilinear", align_corners=False)
    assert torch.equal(found, expected)
    assert torch.equal(resize(MAPS[0, 0], (10, 14)), expected[0, 0])


def test_layers_are_combined_by_hand() -> None:
    first, second = torch.tensor([[[0.25, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert combine([first, second], "sum").tolist() == [[[0.625, 0.5]]]
    assert combine([first, second], "sum", (3.0, 1.0)).tolist() == [[[0.4375, 0.75]]]
    assert combine([first, second], "product").tolist() == [[[0.5, 0]]]
    torch.testing.assert_close(combine([first, second], "product", (3.0, 1.0)), torch.tensor([[[0.25**0.75, 0.0]]]))
    assert combine([first, second], "plain_product").tolist() == [[[0.25, 0]]]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one each is needed"):
        combine([CONSTANT, CONSTANT], "sum", weights)


def test_deeper_layers_weigh_more_in_proportion_to_their_depth() -> None:
    assert depth_weights(4, "linear") == (0.25, 0.5, 0.75, 1.0)
    assert depth_weights(3, "uniform") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("sigma", [0.05, 0.6, 1.0, 2.5, 6.0])
def test_a_blurred_map_is_that_of_scipy(sigma: float) -> None:
    expected = filters.gaussian_filter(MAPS.numpy(), (0, 0, sigma, sigma), mode="nearest")
    torch.testing.assert_close(blur(MAPS, sigma), torch.from_numpy(expected))


def test_the_highest_place_is_a_column_and_a_row_the_first_of_equals() -> None:
    maps = torch.zeros(2, 3, 4)
    maps[0, 1, 2], maps[1, 0, 3], maps[1, 2, 0] = 1, 5, 5
    assert highest(maps).tolist() == [[2, 1], [3, 0]]


def test_a_hit_is_nearer_than_the_tolerance_by_a_loop() -> None:
    rng = torch.Generator().manual_seed(1)
    points = torch.randint(0, 6, (12, 2), generator=rng)
    masks = torch.rand(12, 6, 6, generator=rng) < 0.05
    masks[3] = False
    for tolerance in (0.0, 1.0, 2.0, 5.0**0.5, 3.0):
        found = [
            any(
                mask[y, x] and (x - px) ** 2 + (y - py) ** 2 < tolerance**2 - 1e-9
                for y, x in itertools.product(range(6), range(6))
            )
            for (px, py), mask in zip(points.tolist(), masks, strict=True)
        ]
        assert hits(points, masks, tolerance).tolist() == found


def test_a_class_without_examples_counts_as_zero() -> None:
    shares = per_class(torch.tensor([True, False, True]), torch.tensor([0, 0, 2]), 4)
    assert shares.tolist() == [0.5, 0, 1, 0]


def test_rank_correlation_is_that_of_scipy_ties_among_them() -> None:
    rng = torch.Generator().manual_seed(2)
    left, right = torch.rand(4, 5, 6, generator=rng).double(), torch.randint(0, 4, (4, 5, 6), generator=rng).double()
    expected = [statistics.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(spearman(left, right), expected, rtol=1e-10)
    torch.testing.assert_close(spearman(left, left), torch.ones(4).double())
    torch.testing.assert_close(spearman(left, -left), -torch.ones(4).double())
