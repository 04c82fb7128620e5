"""Whether a map tells the truth: each measure by hand, or by a loop over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from deixis.ops.maps import to_unit
from deixis.ops.saliency_metrics import area_under, centre, changed, difficult, edges, energy, order, overlap
from tests.support import Peer

filters = Peer("scipy.ndimage")
MAPS = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1))
MASKS = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(2)) < 0.3


def test_energy_by_hand() -> None:
    maps = torch.tensor([[[3.0, 1.0], [-5.0, 0.0]], [[-1.0, -2.0], [0.0, 0.0]]])
    masks = torch.tensor([[[True, False], [True, False]]]).expand(2, 2, 2)
    assert energy(maps, masks).tolist() == [0.75, 0.0]


def test_overlap_is_that_of_a_loop_over_pixels() -> None:
    wanted = []
    for found, mask in zip(MAPS, MASKS, strict=True):
        places = [(r, c) for r in range(5) for c in range(6)]
        inside = {place for place in places if mask[place]}
        highest = set(sorted(places, key=lambda place: -float(found[place]))[: len(inside)])
        wanted.append(len(highest & inside) / len(highest | inside))
    assert overlap(MAPS, MASKS).tolist() == pytest.approx(wanted)


def test_the_mask_itself_overlaps_wholly_its_opposite_not_at_all_and_no_mask_is_no_error() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert overlap(mask.float(), mask).item() == 0
    mask[0, 1, 1:3] = True
    assert overlap(mask.float(), mask).item() == 1
    assert overlap(-mask.float(), mask).item() == 0


def test_the_difficult_are_small_and_not_alone() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[:, 0, :3] = True  # 3 of 16
    masks[2, 0, 3] = True  # a quarter is not less than a quarter
    assert difficult(masks, torch.tensor([True, False, True])).tolist() == [True, False, False]


def test_pixels_change_from_the_highest_to_the_lowest_until_all_have() -> None:
    images, into = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    stages = list(changed(images, torch.tensor([[[0.1, 0.9], [0.5, 0.2]]]), 4, into))
    assert [each[0, 0].flatten().tolist() for each in stages] == [
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 1, 1],
        [1, 1, 1, 1],
    ]


def test_of_equal_pixels_the_first_comes_first() -> None:
    assert order(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])).tolist() == [[1, 2, 0, 3]]


def test_a_map_that_knows_the_score_deletes_it_soonest_and_inserts_it_soonest() -> None:
    """The score is the sum of pixels: the image itself is the best map of it, its opposite the worst."""
    images = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    nothing = torch.zeros_like(images)

    def area(maps: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        return area_under(torch.stack([each.sum((1, 2, 3)) for each in changed(start, maps, 36, end)]))

    best, worst = images[:, 0], -images[:, 0]
    random = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(4))
    assert (area(best, images, nothing) < area(random, images, nothing)).all()
    assert (area(random, images, nothing) < area(worst, images, nothing)).all()
    assert (area(best, nothing, images) > area(random, nothing, images)).all()
    assert torch.allclose(area(worst, nothing, images), area(best, images, nothing), rtol=1e-5)


def test_the_area_of_a_straight_line_is_its_mean() -> None:
    assert area_under(torch.tensor([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])).tolist() == [0.5, 1.0]


def test_the_centre_is_highest_in_the_middle_and_falls_as_a_gaussian_does() -> None:
    found = centre((5, 9))
    assert found[2, 4] == 1
    assert found[0, 0] == found[4, 8]
    assert float(found[2, 0]) == pytest.approx(math.exp(-2))  # half a side is two deviations


def test_edges_are_those_of_scipy() -> None:
    images = torch.rand(2, 3, 7, 8, generator=torch.Generator().manual_seed(5)).double()
    grey = images.mean(1).numpy()
    slopes = [[filters.sobel(each, axis, mode="nearest") for axis in (0, 1)] for each in grey]
    wanted = torch.stack([torch.from_numpy((a**2 + b**2) ** 0.5) for a, b in slopes])
    torch.testing.assert_close(edges(images), to_unit(wanted))


def test_a_flat_image_has_no_edges() -> None:
    assert not edges(torch.full((1, 3, 4, 4), 0.3)).any()
