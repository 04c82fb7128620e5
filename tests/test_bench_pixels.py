"""Races over pixels and letters: what is timed is equal first, and would not be if a side were wrong."""

from __future__ import annotations

import pytest
import torch

from bench import pamr, read_words, segment
from deixis.ops.dense.affinity import refine_scores


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
