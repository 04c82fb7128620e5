"""`deixis adapt --votes` learns what votes have in common, and nothing from votes that have nothing in common."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.adapt.tasks import adapt_or_index
from deixis.apps.adapt.votes import VotedTriplets, held_out_agreement
from deixis.apps.common.options import Reading
from deixis.apps.label.label import label, telling_triplets
from deixis.errors import DeixisError
from deixis.types import ImageStates
from tests.pictures import captioned


def planted(shuffled: bool = False) -> VotedTriplets:
    """Pictures that are alike by two of six features, of which the embedding says next to nothing."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(120, 6, generator=generator)
    embedding = normalize(torch.randn(120, 4, generator=generator), dim=1)
    places = torch.stack([torch.arange(300) % 60, *(60 + torch.randint(60, (2, 300), generator=generator))], 1)
    reference, left, right = features[places][..., :2].unbind(1)
    votes = ((reference - right).norm(dim=1) < (reference - left).norm(dim=1)).float()
    votes = votes[torch.randperm(300, generator=generator)] if shuffled else votes
    return VotedTriplets(ImageStates(embedding, features, torch.ones(120)), places, votes, places[:, 0])


@pytest.mark.slow
def test_what_votes_have_in_common_is_found_on_references_that_had_none() -> None:
    before, after = held_out_agreement(planted(), seed=0)
    assert float(before.double().mean()) < 0.6
    assert float(after.double().mean()) > 0.7
    _, after = held_out_agreement(planted(shuffled=True), seed=0)
    assert 0.4 < float(after.double().mean()) < 0.6, "votes at random teach nothing"


def test_the_most_telling_others_are_near_alike_and_unlike_each_other() -> None:
    angles = torch.tensor([0.0, 0.3, -0.3, 0.9, 2.5])
    found = telling_triplets(torch.stack([angles.cos(), angles.sin()], 1), [0, 4, 1])
    assert found[0][0] == 0
    assert set(found[0][1:]) == {1, 4}, "of those that are to be voted on"
    found = telling_triplets(torch.stack([angles.cos(), angles.sin()], 1), [0, 1, 2, 3])
    assert set(found[0][1:]) == {1, 2}
    with pytest.raises(DeixisError, match="three or more"):
        telling_triplets(torch.eye(2), [0, 1])


@pytest.mark.slow
def test_votes_that_were_filled_in_are_adapted_to_and_too_few_are_refused(tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 24)
    table = label(str(tmp_path / "pictures"), tmp_path / "votes.csv", "tiny", triplets=True, quiet=True)
    settings = AdaptSettings(model="tiny", votes=str(table))
    run = tmp_path / "run"

    def adapt() -> None:
        adapt_or_index(str(tmp_path / "pictures"), str(run), settings, Reading(), overwrite=False, quiet=True)

    with pytest.raises(DeixisError, match="No row of"):
        adapt()
    rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    for most, refused in ((6, True), (22, False)):
        with table.open("w", encoding="utf-8", newline="") as file:
            filled = [[*row[:3], ("left", "right")[i % 2] if i < most else ""] for i, row in enumerate(rows[1:])]
            csv.writer(file).writerows([rows[0], *filled])
        if refused:
            with pytest.raises(DeixisError, match="6 references, and 20 are needed"):
                adapt()
            assert not run.exists()
    adapt()
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["sentence"].startswith("Of 100 held-out votes it agrees with")
    assert result["data"]["triplets"] == 22
    assert (run / "index").is_dir()


def test_votes_and_respects_at_once_are_refused_before_votes_are_read(tmp_path: Path) -> None:
    data, settings = captioned(tmp_path / "data", 4), AdaptSettings(votes="nowhere.csv", about=("colour",))
    with pytest.raises(DeixisError, match="--votes and --about were both given"):
        adapt_or_index(str(data), str(tmp_path / "run"), settings, Reading(), overwrite=False, quiet=True)
    assert not (tmp_path / "run").exists()
