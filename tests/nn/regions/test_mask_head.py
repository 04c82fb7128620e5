"""Masks of queries: at the finest map's resolution, each query by itself."""

from __future__ import annotations

import pytest
import torch

from deixis.nn.regions.mask_head import MaskHead

QUERIES, CELLS, MEMORY = (torch.randn(2, *shape) for shape in ((3, 16), (16, 4, 5), (16, 4, 5)))
REAL = torch.ones(2, 4, 5, dtype=torch.bool)


@pytest.mark.parametrize(("channels", "size"), [((), (4, 5)), ((6, 4), (16, 20))])
def test_masks_have_the_finest_maps_size_and_a_query_does_not_see_the_others(
    channels: tuple[int, ...], size: tuple[int, int]
) -> None:
    head = MaskHead(16, 8, channels)
    finer = [torch.randn(2, width, 8 * 2**n, 10 * 2**n) for n, width in enumerate(channels)]
    found = head(QUERIES, MEMORY, CELLS, REAL, finer)
    assert found.shape == (2, 3, *size)
    torch.testing.assert_close(head(QUERIES[:, 1:2], MEMORY, CELLS, REAL, finer)[:, 0], found[:, 1])
    assert not torch.equal(found[:, 0], found[:, 1])
