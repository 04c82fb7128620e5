"""Whether the nearest of a gallery are of the same individual: cumulative matches (CMC) and mean average precision.

Nothing is sorted: the places of a query's own hits are counted, a block of queries at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["IdentityRanks", "identity_ranks"]

_TIE = 1e-7
"""Similarities of unit vectors that differ by less are tied, and ties count against the query."""


class IdentityRanks(NamedTuple):
    """What came out for each query; a query without a hit has rank 0 and precision 0.

    Attributes:
        first: the place of the best hit, from 1.
        precision: the average precision: the mean over the hits of (hits up to there) / (place).
        hits: how many there are.
    """

    first: Int64[Tensor, " Q"]
    precision: Float[Tensor, " Q"]
    hits: Int64[Tensor, " Q"]


def identity_ranks(
    queries: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "G D"],
    query_ids: Int64[Tensor, " Q"],
    gallery_ids: Int64[Tensor, " G"],
    own: Int64[Tensor, " Q"] | None = None,
    block: int = 128,
) -> IdentityRanks:
    """The places of the entries of the same individual, for each query.

    Args:
        queries: of length 1.
        gallery: of length 1.
        query_ids: individuals.
        gallery_ids: individuals.
        own: the entry that is the query's own picture, which is left out; -1 or None: none.
        block: queries at a time.
    """
    order = torch.argsort(gallery_ids, stable=True)
    ids = gallery_ids[order].contiguous()
    start, end = torch.searchsorted(ids, query_ids), torch.searchsorted(ids, query_ids, right=True)
    most = max(1, int((end - start).max())) if len(query_ids) else 1
    own = torch.full_like(query_ids, -1) if own is None else own
    parts = []
    for rows in torch.arange(len(queries)).split(block) if len(queries) else ():
        scores = queries[rows] @ gallery.T
        left_out = own[rows] >= 0
        scores[left_out.nonzero()[:, 0], own[rows][left_out]] = -torch.inf
        place = start[rows, None] + torch.arange(most)
        real = place < end[rows, None]
        entries = order[place.clamp(max=len(order) - 1)]
        real &= entries != own[rows, None]
        parts.append(_places(scores, entries, real))
    return IdentityRanks(*(torch.cat(each) for each in zip(*parts, strict=True))) if parts else _none(query_ids)


def _places(scores: Tensor, entries: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a block [Q, G], where its hits [Q, P] stand."""
    found = scores.gather(1, entries).masked_fill(~real, -torch.inf)
    found, _ = found.sort(1, descending=True)
    count = real.sum(1)
    number = torch.arange(1, found.shape[1] + 1)
    # all entries at least as near, less the hits among them, which are counted by their order
    lowest = (found - _TIE).unbind(1)
    # ten times as fast as a sum in int64
    above = torch.stack([(scores >= each[:, None]).sum(1, dtype=torch.int32) for each in lowest], 1).long()
    tied = (found[:, None] >= found[:, :, None] - _TIE).sum(2)
    place = (above - tied + number).double()
    counted = number <= count[:, None]
    precision = torch.where(counted, number / place, 0.0).sum(1) / count.clamp(min=1)
    first = torch.where(count > 0, place[:, 0].long(), 0)
    return first, precision, count


def _none(ids: Tensor) -> IdentityRanks:
    return IdentityRanks(torch.zeros_like(ids), torch.zeros(0, dtype=torch.float64), torch.zeros_like(ids))
