"""In one respect pictures are compared by what sets its values apart, and what that is worth is measured and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.search.about import likeness, search_about
from deixis.apps.search.query import Query
from deixis.apps.search.search import search
from deixis.apps.search.searcher import Searcher
from deixis.errors import DeixisError
from deixis.ops.similarity.subspaces import span_of

COLOURS = ("red", "green", "blue")


def test_results_are_ranked_by_the_part_of_vectors_in_which_the_values_differ(place: Path) -> None:
    searcher, said = Searcher(place / "plain"), list[str]()
    file = place / "pictures" / "07.png"
    query = Query(images=(file,))
    found = search_about(searcher, query, searcher.vector(query), "colour", COLOURS, (5, ()), said.append)
    encoder = zoo.load("tiny")
    projection = span_of(encoder.encode_text(list(COLOURS)))
    rows = torch.from_numpy(np.array(searcher.index.vectors, np.float32))
    scores = F.normalize(rows @ projection, dim=1) @ F.normalize(encoder.encode_image([file])[0] @ projection, dim=0)
    own = searcher.index.row_of("07.png")
    expected = [row for row in scores.argsort(descending=True).tolist() if row != own][:5]
    assert [round(hit.score, 4) for hit in found] == [round(float(scores[row]), 4) for row in expected]
    assert all(hit.item["id"] != "07.png" for hit in found)
    assert found.sentence == "Compared in colour alone, among: red, green, blue."
    assert not said, "no column says which colours the pictures have"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"about": "lable"}, "no column 'lable'; did you mean 'label'"),
        ({"about": "colour", "values": ("red",)}, "1 value was given for 'colour'"),
        ({"about": "colour", "values": (" red, ",)}, "1 value was given for 'colour'"),
        ({"about": ""}, "The respect is empty. Name one: --about colour"),
        ({"about": "  "}, "The respect is empty"),
        ({"about": "the colour of it, " * 40}, "'the colour of it, the colour of it, the '... has 720 letters"),
        ({"about": "id"}, None),
        ({"about": "colour", "values": COLOURS, "min_relevance": 0.5}, "nothing was measured"),
    ],
)
def test_respects_without_values_are_refused(place: Path, settings: dict, message: str | None) -> None:
    if message is None:
        assert len(search(place / "plain", "a red sheet", k=3, **settings)) == 3, "31 values are not too many"
        return
    with pytest.raises(DeixisError, match=message):
        search(place / "plain", "a red sheet", **settings)


def test_how_many_of_the_first_share_a_value_is_told_before_and_after() -> None:
    draw = torch.Generator().manual_seed(0)
    ids = torch.arange(60) % 3
    noise = torch.randn(60, 6, generator=draw)
    near = torch.cat([F.one_hot(ids, 3).float() * 9, noise[:, :3]], dim=1)
    found = likeness(noise, near, [COLOURS[i] for i in ids.tolist()])
    assert found is not None
    assert found.after == pytest.approx(10)
    assert 2 < found.before < 5
    assert "of the first 10 pictures 10.0 share it" in found.sentence("colour")
    worse = likeness(near, noise, [COLOURS[i] for i in ids.tolist()])
    assert worse is not None
    assert worse.sentence("colour").endswith("no better than a search without --about.")
    assert likeness(noise, near, ["red"] * 60) is None
    assert likeness(noise, near, [""] * 60) is None
    assert likeness(noise, near, [str(i) for i in range(60)]) is None


def test_values_may_stand_between_spaces_or_commas(place: Path) -> None:
    apart, joined = (
        search(place / "plain", "a red sheet", k=5, about="colour", values=values)
        for values in (COLOURS, ("red,green, blue",))
    )
    assert joined.sentence == apart.sentence == "Compared in colour alone, among: red, green, blue."
    assert [hit.row for hit in joined] == [hit.row for hit in apart]
