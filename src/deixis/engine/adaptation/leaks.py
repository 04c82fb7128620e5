"""Why a control may fail: what stands on both sides of a division although it belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.features.store import FeatureTable

__all__ = ["FEWEST_GROUPS", "Leak", "likely_leaks", "linked_groups"]

FEWEST_GROUPS = 30
"""Groups below which an interval over groups is too narrow to be relied on."""

_PICTURES, _CAPTIONS = 0.96, 0.92
"""Cosines from which two pictures, or two captions, of different groups are taken for one thing. They are those of
vectors without their mean over the collection, since some encoders give all texts nearly one direction."""

_LARGEST = 0.5
"""Share of the samples beyond which linked groups are taken for what all have in common, and not for a leak."""

_BLOCK = 1024


class Leak(NamedTuple):
    """A cause: in words, and the groups it was seen in.

    Attributes:
        cause: of the failure, as a clause.
        pairs: ids of two samples of different groups each, most alike first.
        share: of the samples that are in such a pair.
    """

    cause: str
    pairs: tuple[tuple[str, str], ...]
    share: float


def likely_leaks(table: FeatureTable, groups: Sequence[int], shown: int = 5) -> list[Leak]:
    """Near-duplicate pictures and nearly equal captions in different groups, and too few groups; likeliest first.

    Args:
        table: the samples.
        groups: the concept of each.
        shown: pairs named for each cause.
    """
    found = []
    for cause, pairs in _pairs(table, groups).items():
        if pairs:
            named = tuple((table.ids[one], table.ids[other]) for one, other in pairs[:shown])
            found.append(Leak(cause, named, len({i for pair in pairs for i in pair}) / len(table)))
    found.sort(key=lambda each: -each.share)
    count = len(set(groups))
    if count < FEWEST_GROUPS:
        found.append(Leak(f"there are only {count} groups, and {FEWEST_GROUPS} or more are needed", (), 1.0))
    return found


def linked_groups(table: FeatureTable, groups: Sequence[int]) -> list[int]:
    """Groups joined where their pictures or captions are nearly the same.

    Captions that are dealt out at random by these, and tested by the groups themselves, show a leak: copies of one
    picture in two groups get one foreign caption, which is learned from one and found again for the other. Dealt out by
    groups, each copy would get another caption, and the leak would hide.

    Args:
        table: the samples.
        groups: the concept of each.
    """
    places = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    pairs = [pair for each in _pairs(table, groups).values() for pair in each]
    edges = [(places[groups[one]], places[groups[other]]) for one, other in pairs]
    if not edges:
        return list(groups)
    rows, columns = zip(*edges, strict=True)
    graph = coo_array(([1] * len(edges), (rows, columns)), shape=(len(places), len(places)))
    label = connected_components(graph, directed=False)[1]
    linked = [int(label[places[group]]) for group in groups]
    return list(groups) if max(Counter(linked).values()) > _LARGEST * len(linked) else linked


def _pairs(table: FeatureTable, groups: Sequence[int]) -> dict[str, list[tuple[int, int]]]:
    """Cause -> pairs of samples of different groups, each sample with the one most like it; most alike first."""
    concept = torch.as_tensor(groups)
    features = F.normalize(table.features[0], dim=-1)
    return {
        "pictures of different groups are nearly the same": _alike(_centred(features), _PICTURES, concept),
        "captions of different groups say nearly the same": _alike(_centred(table.text), _CAPTIONS, concept),
    }


def _centred(vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return F.normalize(vectors - vectors.mean(0), dim=-1)


def _alike(vectors: Float[Tensor, "B D"], least: float, concept: Int[Tensor, " B"]) -> list[tuple[int, int]]:
    best, partner = [], []
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosine = vectors[rows] @ vectors.T
        cosine[concept[rows, None] == concept[None, :]] = -1
        value, place = cosine.max(1)
        best.append(value)
        partner.append(place)
    value, place = torch.cat(best), torch.cat(partner)
    order = [i for i in value.argsort(descending=True, stable=True).tolist() if value[i] >= least]
    return list(dict.fromkeys((min(i, int(place[i])), max(i, int(place[i]))) for i in order))
