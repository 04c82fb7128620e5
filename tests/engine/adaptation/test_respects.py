"""Of three ways to compare pictures in one respect that which is best on held-out ones is found, and no gain where
there is nothing to learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.adaptation.region_choosers import best_learner
from deixis.engine.adaptation.respects import (
    ALIKE,
    RESPECT_WAYS,
    RespectTable,
    alike_values,
    fit,
    respect_arms,
)
from deixis.engine.adaptation.verdict import judge
from deixis.types import ImageStates

COUNT, WIDTH = 160, 12
GROUPS = list(range(COUNT))


def planted(where: str) -> RespectTable:
    """Three values: in the embeddings where their texts point, in its first entries, in the features, or nowhere."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.arange(COUNT) % 3
    texts = F.normalize(torch.randn(3, WIDTH, generator=generator), dim=1)
    embedding = F.normalize(torch.randn(COUNT, WIDTH, generator=generator), dim=1)
    features = torch.randn(COUNT, 6, generator=generator)
    if where == "texts":
        embedding = F.normalize(embedding + 0.6 * texts[ids], dim=1)
    if where == "features":
        features[:, :3] += 2 * F.one_hot(ids, 3)
    return RespectTable(ImageStates(embedding, features, torch.ones(COUNT)), ids, texts)


@pytest.mark.parametrize(("where", "best"), [("texts", {"span", "weights"}), ("features", {"classifier"})])
def test_the_way_that_sees_the_values_is_chosen_and_beats_plain_vectors_beyond_chance(
    where: str, best: set[str]
) -> None:
    arms = respect_arms(planted(where), GROUPS, divide(GROUPS, 0, 3))
    arm, taken, way = best_learner(arms)
    assert way in best
    assert set(taken) <= best
    assert judge(arm, ALIKE).outcome == "adapted"
    before, after = (arm.intervals(which)[ALIKE] for which in ("before", "after"))
    assert after.low > before.high


def test_values_that_nothing_shows_are_no_gain() -> None:
    arm, _, _ = best_learner(respect_arms(planted("nowhere"), GROUPS, divide(GROUPS, 0, 3)))
    assert judge(arm, ALIKE).outcome == "original"


def test_how_many_of_the_first_ten_share_a_value_and_how_early_they_come_is_counted_without_the_picture_itself() -> (
    None
):
    vectors = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.2]]), dim=1)
    values = alike_values(vectors, torch.tensor([0, 0, 1, 0]))
    assert values[ALIKE].tolist() == [2, 2, 2], "of the three others; a value that no other has is not asked for"
    assert values[TEST_STATISTIC].tolist() == pytest.approx([0, 0, 0]), "they come first"


@pytest.mark.parametrize("way", RESPECT_WAYS)
def test_vectors_in_a_respect_have_length_1_and_pictures_without_a_value_teach_nothing(way: str) -> None:
    table = planted("features")
    known = table.take([row for row in range(COUNT) if row % 2])
    hidden = RespectTable(table.states, table.ids.where(torch.arange(COUNT) % 2 == 1, -1), table.texts)
    one, other = (fit(way, each)(table.states) for each in (known, hidden))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(COUNT))
