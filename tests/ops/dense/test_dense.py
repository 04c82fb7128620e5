"""Affinity of pixels, windows and prototypes: against the published numbers, loops, and in the cases that are plain."""

from __future__ import annotations

import pytest
import torch

from deixis.ops.dense.affinity import pixel_affinity, refine_scores
from deixis.ops.dense.prototypes import best_cosines, k_means, masked_means
from deixis.ops.dense.windows import WindowBox, mean_of_windows, sliding_windows
from tests.support import load_golden

RNG = torch.Generator().manual_seed(0)


@pytest.mark.golden
def test_refined_scores_are_those_of_the_authors_code() -> None:
    golden = load_golden("ovdiff_pamr")
    found = refine_scores(
        golden["in.image"],
        golden["in.scores"],
        int(golden["cfg.num_iter"]),
        golden["cfg.dilations"].tolist(),
        float(golden["cfg.std_eps"]),
        float(golden["cfg.std_factor"]),
    )
    torch.testing.assert_close(found, golden["out.scores"], rtol=1e-9, atol=1e-12)


def test_affinity_stops_at_an_edge_and_spreads_where_there_is_none() -> None:
    image = torch.zeros(1, 1, 6, 6)
    image[..., 3:] = 1
    weights = pixel_affinity(image, (1,))
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 6, 6))
    scores = image + 0.1 * torch.rand(1, 1, 6, 6, generator=RNG)
    refined = refine_scores(image, scores, 5, (1,))
    assert refined[..., 3:].min() > 0.9
    assert refined[..., :3].max() < 0.2
    assert refined[0, 0, :, :3].std() < scores[0, 0, :, :3].std() / 2
    torch.testing.assert_close(pixel_affinity(torch.ones(1, 3, 4, 4), (1, 2)), torch.full((1, 16, 4, 4), 1 / 16))


@pytest.mark.parametrize(("height", "width", "side", "stride"), [(9, 5, 4, 3), (4, 4, 4, 2), (3, 20, 8, 5)])
def test_windows_cover_all_and_the_mean_of_cuts_is_what_was_cut(
    height: int, width: int, side: int, stride: int
) -> None:
    boxes = sliding_windows(height, width, side, stride)
    assert len(set(boxes)) == len(boxes)
    whole = torch.rand(2, height, width, generator=RNG)
    cuts = [whole[:, box.y0 : box.y1, box.x0 : box.x1] for box in boxes]
    torch.testing.assert_close(mean_of_windows(cuts, boxes, (height, width)), whole)


def test_a_pixel_has_the_mean_of_the_windows_that_cover_it_and_0_without_any() -> None:
    maps = [torch.full((1, 1, 1), 1.0), torch.full((1, 2, 2), 3.0)]
    found = mean_of_windows(maps, [WindowBox(0, 0, 2, 1), WindowBox(1, 0, 3, 1)], (2, 3))
    assert found[0].tolist() == [[1, 2, 3], [0, 0, 0]]


def test_an_empty_mask_has_no_mean() -> None:
    rows = torch.tensor([[[1.0, 0.0], [3.0, 2.0]]] * 2)
    found = masked_means(rows, torch.tensor([[True, True], [False, False]]))
    assert found[0].tolist() == [2, 1]
    assert found[1].isnan().all()


def test_k_means_finds_groups_and_gives_no_more_centroids_than_rows_differ() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = (centres[:, None] + torch.randn(3, 20, 2, generator=RNG)).flatten(0, 1)
    found = k_means(rows, 3, torch.Generator().manual_seed(1))
    expected = rows.reshape(3, 20, 2).mean(1)
    assert torch.cdist(found, expected).argmin(1).sort().values.tolist() == [0, 1, 2]
    torch.testing.assert_close(found[torch.cdist(expected, found).argmin(1)], expected)
    torch.testing.assert_close(found, k_means(rows, 3, torch.Generator().manual_seed(1)))
    assert k_means(torch.ones(5, 2), 3, torch.Generator()).shape == (1, 2)
    assert k_means(torch.ones(0, 2), 3, torch.Generator()).shape == (0, 2)


def test_the_nearest_prototype_of_a_class_counts_whatever_its_length() -> None:
    prototypes = torch.tensor([[5.0, 0.0], [0.0, 0.1], [1.0, 1.0]])
    found = best_cosines(torch.tensor([[2.0, 0.0]]), prototypes, torch.tensor([0, 0, 2]), 4)
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0, 0.5**0.5, -1.0]]))
