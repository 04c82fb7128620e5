"""Few-shot protocols on a user's own folder: tables, a plot, and a recipe that every number can be traced to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.eval.chart import Chart, ChartPoint, Series
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.engine.fewshot import evaluation
from deixis.errors import DeixisError
from tests import pictures
from tests.support import few

SMALL = {"protocol": ("few-shot",), "model": ("tiny",), "seeds": 2, "shots": (1, 2)}


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """A few-shot run on a folder of six classes, one of which has a name that must be escaped."""
    root = tmp_path_factory.mktemp("few")
    folder = pictures.labelled(root / "mine", 60)
    (folder / "mwmwmwmwmwmwm").rename(folder / "<b>&mw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEIXIS_CACHE", str(root / "cache"))
        settings = EvalSettings(methods=("zero_shot", "linear"), **SMALL)
        return root / "out", evaluate(str(folder), root / "out", settings, quiet=True)


@pytest.mark.slow
def test_every_row_bears_the_hash_of_the_recipe_and_is_repeated_by_it(run: Any) -> None:
    out, result = run
    rows, recipe = rows_of(out), json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    assert {row["recipe"] for row in rows} == {recipe["hash"], result["recipe"]}
    assert len(rows) == 2 * 2 * 2
    assert recipe["methods"]["linear"]["penalty"].startswith("by cross-validation on the shots")
    assert {"splits", "transform", "seeds", "model_fingerprint", "data_fingerprint"} <= set(recipe)


def test_the_draws_are_written_and_hold_nothing_that_is_asked_about(run: Any) -> None:
    out, _ = run
    lists = json.loads((out / "shots.json").read_text(encoding="utf-8"))
    for draws in lists["draws"].values():
        assert set(draws["1"]) < set(draws["2"]) <= set(lists["train"])
        assert not set(draws["2"]) & set(lists["test"])
    assert lists["draws"]["0"] != lists["draws"]["1"]


def test_the_averages_are_those_of_the_rows(run: Any) -> None:
    out, result = run
    values = [row["accuracy"] for row in rows_of(out) if (row["method"], row["shots"]) == ("linear", 2)]
    told = result["accuracy"]["linear"]["2"]["test"]
    assert told["value"] == pytest.approx(sum(values) / 2)
    assert result["accuracy"]["zero_shot"]["2"]["test"]["low"] is None, "no draw changes what learns nothing"
    assert result["difference"]["linear"]["test"]["low"] <= result["difference"]["linear"]["test"]["value"]


def test_table_page_and_plot_are_there_and_names_are_escaped(run: Any) -> None:
    out, result = run
    assert {path.name for path in out.iterdir()} == {
        *("result.json", "recipe.json", "shots.json", "rows.jsonl", "table.html", "table.txt", "plot.png")
    }
    page = (out / "table.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<svg" in page
    assert not re.search(r"(src|href)=", page), "nothing is loaded from elsewhere"
    parser = HTMLParser()
    parser.feed(page)
    text = (out / "table.txt").read_text(encoding="utf-8")
    assert "linear" in text
    assert result["recipe"] in text
    with Image.open(out / "plot.png") as plot:
        assert plot.size == (1440, 800)
        assert len(plot.getcolors(1 << 16) or []) > 20


def test_both_harmonic_means_stand_in_the_result_under_their_names(tmp_path: Path) -> None:
    settings = EvalSettings(**{**SMALL, "protocol": ("base-to-new",), "methods": ("zero_shot",)})
    result = evaluate(str(pictures.labelled(tmp_path / "mine", 36)), tmp_path / "out", settings, quiet=True)
    means = result["harmonic"]["zero_shot"]
    base, new = (result["accuracy"]["zero_shot"]["2"][name]["value"] for name in ("base", "new"))
    assert means["H of the averages"] == pytest.approx(2 * base * new / (base + new) if base + new else 0.0)
    assert set(means) == {"H of the averages", "average of H"}
    assert "CoCoOp" in (tmp_path / "out/table.txt").read_text(encoding="utf-8")


def test_styles_are_the_folders_within_a_class(tmp_path: Path) -> None:
    folder = pictures.labelled(tmp_path / "mine", 48)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        place = path.parent / ("ink" if i % 3 else "photo") / path.name
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    settings = EvalSettings(**{**SMALL, "protocol": ("cross-style",), "methods": ("zero_shot",)})
    result = evaluate(str(folder), tmp_path / "out", settings, quiet=True)
    assert list(result["accuracy"]["zero_shot"]["2"]) == ["ink", "photo"]
    assert "Learned in the style 'ink'." in result["notes"]


@pytest.mark.parametrize("protocol", few(("few-shot", "base-to-new", "cross-style"), "base-to-new"))
def test_texts_reach_the_methods_that_read_them_and_stand_in_the_recipe(protocol: str, tmp_path: Path) -> None:
    folder = pictures.labelled(tmp_path / "mine", 36)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        place = path.parent / ("ink" if i % 3 else "photo") / path.name
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    names = sorted(place.name for place in folder.iterdir())
    texts = "".join(f"{name},a photo of a {other}.\n" for name, other in zip(names, names[1:] + names[:1], strict=True))
    (tmp_path / "texts.csv").write_text(f"class,text\nokapy,a horse\n{texts}")
    found = {}
    for knowledge in ("", str(tmp_path / "texts.csv")):
        out = tmp_path / f"out-{bool(knowledge)}"
        settings = EvalSettings(**{**SMALL, "protocol": (protocol,)}, methods=("described",), knowledge=knowledge)
        result = evaluate(str(folder), out, settings, quiet=True)
        recipe = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
        found[bool(knowledge)] = result["accuracy"], len(recipe["methods"]["described"]["knowledge"]), recipe["hash"]
    assert [found[given][1] for given in (False, True)] == [0, 6]
    assert found[False][2] != found[True][2]
    assert found[False][0] != found[True][0], "each class is told what another is"


def test_methods_that_read_texts_and_are_given_none_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Reporter(quiet=False)
    assert evaluation._checked_knowledge("few-shot", ("coop", "described", "kapt"), "", talk) == ""
    assert evaluation._checked_knowledge("few-shot", ("coop",), "wordnet", talk) == ""
    said = " ".join(" ".join(capsys.readouterr()).split())
    assert "described, kapt read texts of classes, and none are given" in said
    assert "few-shot: none of coop reads texts of classes, and wordnet has no say" in said
    with pytest.raises(DeixisError, match="can't be read"):
        evaluation._checked_knowledge("few-shot", ("kapt",), "missing.csv", talk)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"methods": ("linear",), "protocol": ("base-to-new",)}, "no new ones"),
        ({"methods": ("normgrad",)}, "learns no classes"),
        ({"shots": (0,)}, "images per class are requested"),
        ({"seeds": 0}, "draws are requested"),
        ({"protocol": ("cross-style",)}, "no style"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_learned(
    changed: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deixis.apps.eval.evaluate.load_model", None)
    settings = EvalSettings(**{**SMALL, **changed})
    with pytest.raises(DeixisError, match=said):
        evaluate(str(pictures.labelled(tmp_path / "mine", 12)), tmp_path / "out", settings, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_chart_keeps_all_that_it_draws_within_its_frame() -> None:
    points = [ChartPoint(0.0, 0.314, 0.0, 0.9), ChartPoint(1.0, 1.0)]
    chart = Chart('a "title" & more', "images a class", [(0.0, "1"), (1.0, "16")], [Series("a<b", points)])
    text = chart.svg()
    numbers = [
        tuple(map(float, pair.split(","))) for each in re.findall(r'points="([^"]*)"', text) for pair in each.split()
    ]
    assert all(0 <= x <= 720 and 0 <= y <= 400 for x, y in numbers)
    assert "a&lt;b" in text
    assert "0 %" in text
    assert "100 %" in text
