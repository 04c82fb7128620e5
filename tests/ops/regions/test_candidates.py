from __future__ import annotations

import math

import torch
from torch import Tensor

from deixis.ops.regions.candidates import geometry5, geometry7, pixel_iou, right_candidates, visual_difference


def boxes(count: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, 2, generator=rng).sort(dim=1).values.flatten(1)


def test_geometry_of_five_numbers_is_that_of_pixels_scaled_to_minus_one_and_one() -> None:
    width, height, pixels = 40.0, 30.0, (10.0, 15.0, 30.0, 30.0)
    found = geometry5(torch.tensor(pixels) / torch.tensor([width, height] * 2))
    x0, y0, x1, y1 = (2 * value / side - 1 for value, side in zip(pixels, [width, height] * 2, strict=True))
    torch.testing.assert_close(found, torch.tensor([x0, y0, x1, y1, (x1 - x0) * (y1 - y0)]))


def test_geometry_of_seven_numbers_holds_sides_and_area_in_shares_of_the_image() -> None:
    assert geometry7(torch.tensor([[0.25, 0.0, 0.75, 0.5]])).tolist() == [[0.25, 0.0, 0.75, 0.5, 0.5, 0.5, 0.25]]


def test_the_visual_difference_is_the_mean_of_unit_differences_to_others_of_the_kind() -> None:
    features = torch.randn(2, 5, 3)
    kinds = torch.tensor([[0, 1, 0, 0, 2], [4, 4, 4, 4, 4]])
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = visual_difference(features, kinds, valid)
    for row in range(2):
        for i in range(5):
            others = [
                j for j in range(5) if j != i and kinds[row, i] == kinds[row, j] and valid[row, j] and valid[row, i]
            ]
            apart = [features[row, i] - features[row, j] for j in others]
            mean = sum((each / each.norm() for each in apart), torch.zeros(3)) / max(len(others), 1)
            torch.testing.assert_close(found[row, i], mean, rtol=1e-4, atol=1e-5)


def test_regions_that_look_the_same_have_no_visual_difference_and_a_finite_gradient() -> None:
    features = torch.ones(1, 3, 4, requires_grad=True)
    found = visual_difference(features, torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
    found.sum().backward()
    assert not found.any()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_overlap_of_inclusive_pixels_counts_the_last_row_and_column() -> None:
    size = (10, 20)
    one, other = torch.tensor([[0.1, 0.1, 0.3, 0.2]]), torch.tensor([[0.2, 0.1, 0.5, 0.2]])

    def area(x0: float, y0: float, x1: float, y1: float) -> float:
        return max(0.0, x1 - x0 + 1) * max(0.0, y1 - y0 + 1)

    inside = area(2, 2, 3, 4)
    expected = inside / (area(1, 2, 3, 4) + area(2, 2, 5, 4) - inside)
    assert math.isclose(float(pixel_iou(one, other, size)), expected, rel_tol=1e-5)


def test_right_is_a_candidate_that_overlaps_any_of_the_boxes_that_are_meant_and_nothing_where_none_is() -> None:
    meant = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    candidates = torch.tensor(
        [[[0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0, 0.0, 0.5, 0.5]]]
    )
    valid = torch.tensor([[True, True, True, False]])
    first, both = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    assert right_candidates(candidates, valid, meant, both).tolist() == [[True, True, False, False]]
    assert right_candidates(candidates, valid, meant, first).tolist() == [[True, False, False, False]]
    assert not right_candidates(candidates, valid, meant[:, :0], both[:, :0]).any()
    assert right_candidates(candidates[:, :0], valid[:, :0], meant, both).shape == (1, 0)
