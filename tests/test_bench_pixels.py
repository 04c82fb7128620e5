"""Races over pixels and letters: what is timed is equal first, and would not be if a side were wrong."""

from __future__ import annotations

import pytest
import torch

from bench import first_use_rows, pamr, read_words, segment, segment_rows
from deixis.ops.dense.affinity import refine_scores
from deixis.types import Region


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4, 24)])
def test_the_published_refinement_gives_the_same_scores(dilations: tuple[int, ...]) -> None:
    images, scores = pamr.inputs(3, 24)
    found = refine_scores(images, scores, 3, dilations)
    torch.testing.assert_close(found, pamr.published(images, scores, 3, dilations), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, pamr.published(images, scores, 2, dilations), atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_published_decoder_reads_the_same_characters(depth: int) -> None:
    method = read_words.reader(7, "tiny", depth)
    memory = 3 * torch.randn(5, 4, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, other = read_words.ours(method, memory), read_words.published(method, memory)
    assert torch.equal(found, other)
    assert len(found.unique(dim=0)) > 1, "of pictures that differ, other characters are read"


def test_windows_one_by_one_give_the_same_scores() -> None:
    method = segment.segmenter(16, 8, "tiny")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = segment.ours(method, images)
    torch.testing.assert_close(found, segment.one_by_one(method, images), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_inside_of_a_box_a_thing_is_where_its_score_is_higher_or_all_of_the_box_where_that_tells_nothing() -> None:
    image, large = (torch.zeros(3, side, side) for side in (256, 448))
    region = Region((0.25, 0.25, 0.75, 0.75), "cat")
    left = torch.zeros(2, 448, 448)
    left[1, :, :224] = 1.0
    left[0, :, 224:] = 1.0
    cut = segment_rows._by_map(lambda noun, pixels: left)
    assert cut(image, large, region).nonzero().aminmax(dim=0).max.tolist() == [191, 127]
    everywhere = torch.stack([torch.zeros(448, 448), torch.ones(448, 448)])
    for cut in (segment_rows._by_map(lambda noun, pixels: None), segment_rows._by_map(lambda noun, pixels: everywhere)):
        assert int(cut(image, large, region).sum()) == 128**2


def test_a_row_of_first_use_says_whether_the_longest_wait_is_below_the_limit() -> None:
    waits = iter([9.0, 3.0, 4.0])
    row = first_use_rows.first_use("read", lambda: next(waits), 3)
    assert (row["first"], row["median"], row["longest"], row["below"]) == (9.0, 4.0, 9.0, True)
    assert not first_use_rows.first_use("read", lambda: 10.0, 2)["below"]
