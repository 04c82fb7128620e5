"""Results show themselves: one short text, and for notebooks HTML in which every text is escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import deixis
from deixis.apps.adapt.adapt import AdaptResult
from deixis.apps.explain.explanations import Explanation
from deixis.apps.search.query import SearchHit, SearchResults
from deixis.data.loading.crops import Window
from deixis.types.html import html_table
from tests.pictures import captioned

EVIL = '<script>alert("x")</script>'


def escaped(html: str) -> bool:
    return "<script" not in html and "&lt;script&gt;" in html


def found(path: str, caption: str) -> SearchResults:
    hits = [
        SearchHit(0.31, {"id": "a", "path": path, "captions": [caption]}, 0),
        SearchHit(0.2, {"id": "b", "path": "gone.png", "label": "cat"}, 1, 0.05),
    ]
    return SearchResults(hits, False, "", 9)


def test_search_results_are_listed_with_their_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (4, 4), "red").save(picture)
    results = found(str(picture), "a red square")
    assert repr(results).splitlines() == [
        "SearchResults: 2 of 9",
        f"1.  0.310  {picture}  a red square",
        "2.  0.200 (5% relevant)  gone.png  cat",
    ]
    html = results._repr_html_()
    assert html.count("<img") == 1
    assert html.count("<tr>") == 3
    assert "data:image/png;base64," in html


def test_sources_tell_what_they_hold_and_not_each_sample(tmp_path: Path) -> None:
    source = deixis.read_data(str(captioned(tmp_path / "pictures", 12)))
    assert repr(source).startswith("Source 'pictures': 12 samples, captions, folder")
    html = source._repr_html_()
    assert "The first 10 of them:" in html
    assert html.count("<tr>") == 11


def test_runs_say_their_sentence(tmp_path: Path) -> None:
    run = object.__new__(AdaptResult)
    run.__dict__.update(folder=tmp_path, result={"sentence": f"Better. {EVIL}"}, encoder=deixis.load("tiny"))
    assert repr(run) == f"AdaptResult {str(tmp_path)!r}: Better. {EVIL}"
    assert "report.html" in run._repr_html_()
    assert escaped(run._repr_html_())


def test_explanations_show_their_sheet_and_words() -> None:
    why = Explanation(
        "normgrad", ((EVIL,),), torch.tensor([[0.5]]), torch.rand(1, 1, 8, 8), {}, (0.0, 1.0), (),
        (Image.new("RGB", (8, 8)),), (Window(0.0, 0.0, 1.0, 1.0),),
    )  # fmt: skip
    html = why._repr_html_()
    assert html.startswith('<img src="data:image/png;base64,')
    assert escaped(html)


@pytest.mark.parametrize("where", ["path", "caption"])
def test_what_comes_from_files_is_shown_as_text(where: str) -> None:
    texts = {"path": "a.png", "caption": "a caption"} | {where: EVIL}
    assert escaped(found(**texts)._repr_html_())
    assert escaped(html_table([EVIL], [["x"]], ['" onerror="' + EVIL]))
