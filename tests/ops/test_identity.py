"""Places of the pictures of one individual are those of a full sort, and a query's own picture is no answer."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from deixis.ops.similarity.identity import identity_ranks


def slow(scores: list[float], hits: list[bool]) -> tuple[int, float]:
    """By sorting, hits last among what is tied."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], hits[i]))
    places = [place for place, i in enumerate(order, 1) if hits[i]]
    if not places:
        return 0, 0.0
    return places[0], sum(number / place for number, place in enumerate(places, 1)) / len(places)


@pytest.mark.parametrize("own", [False, True])
def test_places_and_precisions_are_those_of_a_sort(own: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = normalize(torch.randn(30, 4, generator=generator), dim=1)
    vectors[7] = vectors[3]  # a tie
    ids = torch.randint(0, 8, (30,), generator=generator)
    ids[5] = 99  # nobody else
    queries = torch.arange(20)
    found = identity_ranks(vectors[:20], vectors, ids[:20], ids, queries if own else None, block=7)
    for query in range(20):
        others = [i for i in range(30) if not (own and i == query)]
        scores = [round(float(vectors[query] @ vectors[i]), 6) for i in others]
        first, precision = slow(scores, [bool(ids[i] == ids[query]) for i in others])
        assert int(found.first[query]) == first
        assert float(found.precision[query]) == pytest.approx(precision, abs=1e-9)
        assert int(found.hits[query]) == sum(int(ids[i] == ids[query]) for i in others)
    if own:
        assert int(found.hits[5]) == int(found.first[5]) == 0


def test_with_one_hit_the_precision_is_one_by_its_place_and_no_query_is_no_answer() -> None:
    vectors = normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]]), dim=1)
    found = identity_ranks(vectors[:1], vectors, torch.tensor([1]), torch.tensor([1, 2, 3, 1]), torch.tensor([0]))
    assert (int(found.first[0]), float(found.precision[0])) == (3, pytest.approx(1 / 3))
    assert len(identity_ranks(vectors[:0], vectors, torch.zeros(0).long(), torch.arange(4)).first) == 0
