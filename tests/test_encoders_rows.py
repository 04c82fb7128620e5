"""Rows and page of the encoders: what has a row is left out, and what clears zero is marked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import encoders_rows, trained_encoders_rows
from deixis.apps.eval.settings import EvalSettings
from deixis.apps.train.settings import TrainSettings
from deixis.types import Sample, Source
from docs.build import table
from docs.encoders import encoders_page


def result(settings: EvalSettings) -> Mapping[str, Any]:
    """As `evaluate` gives it: the first encoder has 0.5, and each further one 0.1 more in the first condition."""
    results = {}
    for protocol in settings.protocol:
        conditions = ("all edits", "crop") if protocol == "copies" else ("",)
        metrics = ("recall1", "micro_ap") if protocol == "copies" else ("top1", "top5")
        rows = [
            {"model": name, "metric": metric, "value": 0.5 + 0.1 * place, "low": 0.4, "high": 0.8, "queries": 20}
            | {"concepts": 9, **({"condition": condition} if condition else {})}
            for place, name in enumerate(settings.encoders)
            for metric in metrics
            for condition in conditions
        ]
        changes = [
            {**row, "value": 0.1, "low": 0.05, "high": 0.2} for row in rows if row["model"] != settings.encoders[0]
        ]
        models = {name: {"seconds_per_image": 0.01} for name in settings.encoders}
        results[protocol] = {"rows": rows, "differences": changes, "models": models}
    only = settings.protocol[0]
    return {"results": results} if len(results) > 1 else {"protocol": only, **results[only]}


def test_rows_are_added_once_with_differences_to_the_first_and_the_page_marks_what_clears_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def evaluate(data: Any, out: Path, settings: EvalSettings, quiet: bool) -> Mapping[str, Any]:
        asked.append((settings.protocol, settings.encoders))
        return result(settings)

    monkeypatch.setattr(encoders_rows, "evaluate", evaluate)
    samples = tuple(Sample(name, tmp_path / name, label=name[0]) for name in ("a1", "a2", "b1", "b2"))
    source = Source("made", tmp_path, "labels", "made", samples)
    monkeypatch.setitem(encoders_rows.SETS, "stamps", lambda: source)  # type: ignore[misc]
    path = tmp_path / "encoders.jsonl"
    given = ["--only", "stamps", "--protocols", "knn", "copies", "dense", "--results", str(path), "--encoders"]
    encoders_rows.main([*given, "starter", "phash"])
    encoders_rows.main([*given, "starter", "phash", f"mine={tmp_path}"])
    assert asked == [
        *((name, ("starter", "phash")) for name in (("knn",), ("copies",))),
        *((name, ("starter", str(tmp_path))) for name in (("knn",), ("copies",))),
    ], "the first is measured again for the comparison, and has no row twice"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    places = [(row["protocol"], row["encoder"], row["metric"], row["condition"]) for row in rows]
    assert len(set(places)) == len(places)
    assert ("copies", "mine", "micro_ap", "all edits") in places
    assert ("copies", "mine", "micro_ap", "crop") not in places, "of further metrics the whole alone"
    assert all(("difference" in row) == (row["encoder"] != "starter") for row in rows)
    page = encoders_page(rows, "made", table)
    assert "| `starter` | 50.0 [40.0, 80.0] | 50.0 [40.0, 80.0] | 0.01 |" in page
    assert "| `mine` | **60.0 [40.0, 80.0]** |" in page
    assert "| crop | 50.0 | 60.0 | 60.0 |" in page
    assert "| `mine` | 1 better, 0 worse of 1 | 1 better, 0 worse of 1 |" in page
    few = encoders_page([{**row, "queries": 4} for row in rows], "made", table)
    assert "| `mine` | 60.0 [40.0, 80.0] |" in few, "what four images say is not marked"
    assert "| `mine` | 0 better, 0 worse of 1 |" in few


def test_places_have_a_table_of_their_own_and_the_best_on_validation_images_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def evaluate(data: Any, out: Path, settings: EvalSettings, quiet: bool) -> Mapping[str, Any]:
        asked.append((*settings.protocol, *settings.encoders))
        found = result(settings)
        for place, facts in enumerate(found["models"].values()):
            facts["validation_loss"] = {"0.1": 1.5 - 0.25 * place, "1.0": 2.0}
        return found

    monkeypatch.setattr(encoders_rows, "evaluate", evaluate)
    samples = tuple(Sample(name, tmp_path / name, label=name[0]) for name in ("a1", "a2", "b1", "b2"))
    monkeypatch.setitem(encoders_rows.SETS, "stamps", lambda: Source("made", tmp_path, "labels", "made", samples))  # type: ignore[misc]
    path, tower = tmp_path / "encoders.jsonl", "scratch:resnet:tiny:32"
    path.write_text(json.dumps({"data": "stamps", "protocol": "linear", "encoder": "mine"}) + "\n")  # of before
    given = ["--only", "stamps", "--at", "all", "--results", str(path), "--encoders", f"mine={tower}"]
    encoders_rows.main(given)
    encoders_rows.main(given)
    (once,) = asked
    assert once[:4] == ("linear", "starter", tower, f"{tower}@stages.0"), "what has rows is measured once"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert [row["encoder"] for row in rows if row["metric"] == "top1"][:2] == ["mine", "mine@stages.0"]
    page = encoders_page(rows, "made", table)
    of_set, of_places = page.split("## Places of encoders")
    assert "mine@" not in of_set
    assert "### `mine` on stamps" in of_places
    assert "| `end` | **60.0 [40.0, 80.0]** | 1.250 |" in of_places
    assert of_places.count("| **") == of_places.count("80.0]** |") + 1


def test_towers_of_several_seeds_are_trained_once_each_and_stand_as_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, str, int]] = []

    def train(name: str, data: Any, out: Path, settings: TrainSettings, quiet: bool) -> None:
        trained.append((name, settings.model, settings.seed))

    def evaluate(data: Any, out: Path, settings: EvalSettings, quiet: bool) -> Mapping[str, Any]:
        assert not any("," in each for each in settings.encoders), "a comma parts names"
        found = result(settings)
        for each in found.get("results", {found.get("protocol"): found}).values():
            for row in each["rows"] + each["differences"]:
                row["value"] += 0.02 * trained[-1][2]
        return found

    monkeypatch.setattr(trained_encoders_rows, "train", train)
    monkeypatch.setattr(encoders_rows, "evaluate", evaluate)
    samples = tuple(Sample(name, tmp_path / name, label=name[0]) for name in ("a1", "a2", "b1", "b2"))
    source = Source("made", tmp_path, "labels", "made", samples)
    monkeypatch.setitem(encoders_rows.SETS, "stamps", lambda: source)  # type: ignore[misc]
    path = tmp_path / "encoders.jsonl"
    for encoders in (["seer"], ["seer", "seer, new"]):
        trained_encoders_rows.main(["--only", "stamps", "--results", str(path), "--encoders", *encoders])
    assert trained == [*(("seer", "", s) for s in range(5)), *(("seer", "scratch:resnet", s) for s in range(5))]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["seed"] for row in rows if row["protocol"] == "copies"} == set(range(5))
    assert {row["seed"] for row in rows if row["protocol"] == "corruption"} == {0}, "it reads each image 36 times"
    page = encoders_page([row for row in rows if row["protocol"] == "knn"], "made", table)
    assert "| `seer`, 5 seeds | **64.0 [60.1, 67.9]** | 0.01 |" in page
