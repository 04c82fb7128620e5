"""The first results of a search in the order of a model that reads picture and words together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import deixis
from deixis import engine
from deixis.apps.search import rerank
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from tests import commands


class Matcher:
    """Puts pictures in the order of their names."""

    def __init__(self, method: Any) -> None:
        self.seen: list[tuple[str, str]] = []
        Matcher.last = self

    last: Matcher

    def match(self, pictures: list[Path], texts: list[str]) -> torch.Tensor:
        self.seen += [(picture.name, text) for picture, text in zip(pictures, texts, strict=True)]
        order = sorted(picture.name for picture in pictures)
        return torch.tensor([-float(order.index(picture.name)) for picture in pictures])


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "open_method", lambda run, capability: None)
    monkeypatch.setattr(rerank, "RegionPairs", Matcher)


@pytest.mark.usefixtures("toy")
def test_the_first_results_come_in_the_order_of_the_pairs_scores_and_keep_their_own(place: Path) -> None:
    plain = deixis.search(place / "plain", "red", k=50)
    again = deixis.search(place / "plain", "red", k=3, rerank="uniter-run")
    names = sorted(Path(str(each.item["path"])).name for each in plain)
    assert [Path(str(each.item["path"])).name for each in again] == names[:3]
    assert sorted(Matcher.last.seen) == [(name, "red") for name in names]
    own = {each.row: each.score for each in plain}
    assert all(own[each.row] == each.score for each in again)


@pytest.mark.usefixtures("toy")
def test_the_command_tells_how_many_pairs_were_scored_and_json_stays_json(place: Path) -> None:
    done = commands.deixis("search", place / "plain", "red", "--k", 2, "--rerank", "uniter-run")
    assert done.code == 0
    assert "were scored again by uniter-run in" in done.out + done.err
    parsed = json.loads(commands.deixis("search", place / "plain", "red", "--rerank", "uniter-run", "--json").out)
    assert len(parsed["found"]) > 1


def test_a_query_that_is_not_words_alone_and_a_run_that_scores_no_pairs_are_refused(
    place: Path, tmp_path: Path
) -> None:
    picture = place / "pictures" / "07.png"
    for more in ((picture,), ("red", "--minus", "blue")):
        done = commands.deixis("search", place / "plain", *more, "--rerank", "uniter-run")
        assert (done.code, done.out) == (2, "")
        assert "not words alone" in done.err
    refused = commands.deixis("search", place / "plain", "red", "--rerank", place / "plain")
    assert refused.code == 2
    assert "is no run of a method" in refused.err
    assert "uniter" in refused.err


def test_pairs_are_scored_as_the_method_does_whatever_stands_beside_them(place: Path) -> None:
    method = engine.build("uniter", "tiny").eval()
    pairs = RegionPairs(method)
    pictures = sorted((place / "pictures").glob("*.png"))[:3]
    texts = ["red", "a blue square", "red"]
    together = pairs.match(pictures, texts)
    alone = torch.cat([pairs.match([picture], [text]) for picture, text in zip(pictures, texts, strict=True)])
    torch.testing.assert_close(together, alone)
    with pytest.raises(DeixisError, match="A text is empty"):
        pairs.match(pictures[:1], [" "])
    with pytest.raises(DeixisError, match="boxes that its data have"):
        RegionPairs(engine.build("uniter", "tiny", {"proposals": "own:tiny"}))
