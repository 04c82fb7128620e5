"""Words for places: mirrored boxes fit mirrored words, and each word holds where one can see that it does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deixis.ops.regions.places import EXTREMES, RELATIONS, extreme_scores, relation_scores, side_scores, size_scores

MIRRORED = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
LEFT, RIGHT, LOW = [0.1, 0.1, 0.3, 0.3], [0.7, 0.1, 0.9, 0.3], [0.3, 0.6, 0.7, 0.9]


@st.composite
def boxes(draw: st.DrawFn) -> Tensor:
    share = st.integers(1, 98).map(lambda hundredths: hundredths / 100)
    rows = draw(st.lists(st.tuples(share, share, share, share), min_size=1, max_size=5))
    corners = torch.tensor(rows).reshape(-1, 2, 2).sort(dim=1).values.flatten(1)
    return corners + torch.tensor([0.0, 0.0, 0.01, 0.01])


def mirror(given: Tensor) -> Tensor:
    return torch.stack([1 - given[:, 2], given[:, 1], 1 - given[:, 0], given[:, 3]], dim=1)


@given(boxes(), st.sampled_from(RELATIONS), st.sampled_from(["left", "right", "top", "bottom", "middle"]))
def test_in_a_mirrored_picture_mirrored_words_fit(given: Tensor, relation: str, side: str) -> None:
    there = relation_scores(given, given, relation)
    torch.testing.assert_close(relation_scores(mirror(given), mirror(given), MIRRORED.get(relation, relation)), there)
    torch.testing.assert_close(side_scores(mirror(given), MIRRORED.get(side, side)), side_scores(given, side))
    assert (there >= 0).all()
    assert (there <= 1).all()
    assert not there.diagonal().any(), "nothing stands in a relation to itself"


@pytest.mark.parametrize(
    ("relation", "one", "other"),
    [
        ("left", LEFT, RIGHT),
        ("right", RIGHT, LEFT),
        ("above", LEFT, LOW),
        ("below", LOW, LEFT),
        ("on", [0.4, 0.4, 0.6, 0.62], LOW),
        ("near", [0.4, 0.4, 0.6, 0.62], LOW),
        ("with", LOW, [0.4, 0.65, 0.5, 0.75]),
        ("with", LOW, [0.7, 0.8, 0.8, 0.9]),
        ("front", [0.5, 0.7, 0.8, 1.0], LOW),
        ("behind", LOW, [0.5, 0.7, 0.8, 1.0]),
    ],
)
def test_a_relation_holds_one_way(relation: str, one: list[float], other: list[float]) -> None:
    scores = relation_scores(torch.tensor([one, other]), torch.tensor([one, other]), relation)
    assert scores[0, 1] > 0.6
    if relation not in ("near", "with"):
        assert scores[1, 0] < 0.45


@given(boxes(), st.sampled_from(list(EXTREMES)))
def test_of_things_that_are_sure_the_most_extreme_alone_is_left(given: Tensor, extreme: str) -> None:
    scores = extreme_scores(given, torch.ones(len(given)), extreme)
    assert scores[EXTREMES[extreme](given).argmax()] == 1
    assert ((scores == 0) | (scores == 1)).all()
    assert (extreme_scores(given, torch.zeros(len(given)), extreme) == 1).all(), "what is not there is no rival"


def test_the_chance_of_an_extreme_is_the_product_over_those_that_are_more_so() -> None:
    given = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.3, 0.0, 0.4, 0.1], [0.6, 0.0, 0.7, 0.1]])
    scores = extreme_scores(given, torch.tensor([0.5, 0.2, 0.9]), "leftmost")
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.5, 0.5 * 0.8]))


def test_a_size_is_among_its_kind() -> None:
    given = torch.tensor([[0.0, 0.0, 0.1, 0.1], [0.3, 0.0, 0.5, 0.2], [0.5, 0.5, 1.0, 1.0]])
    sure = torch.ones(3)
    assert size_scores(given, sure, "small").argmax() == 0
    assert size_scores(given, sure, "medium").argmax() == 1
    assert size_scores(given, sure, "large").argmax() == 2
    torch.testing.assert_close(size_scores(given[:1], sure[:1], "large"), torch.tensor([0.5]))
