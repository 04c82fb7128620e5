"""`deixis eval`: protocols are found by listing, models stand in one table, and a folder is there whole or not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from bench import protocol_rows
from deixis.apps.common.command_line import flags, parse_and_run
from deixis.apps.eval import command
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.engine.evaluation import protocols
from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.types import Sample, Source
from deixis.zoo.training_images import write_training_images
from docs.build import table
from docs.protocols import protocols_table
from docs.results import results_page
from tests import pictures
from tests.documents import PROJECT

SOURCE = Source(
    "two", Path("."), "captions", "made", (Sample("a", None, captions=("x",)), Sample("b", None, captions=("y",)))
)
DEFAULTS = EvalSettings()
TOY = '''"""Counts samples, and fails where there is a limit."""

import numpy as np

from deixis.engine.evaluation.output import Column, EvalOutput, QueryValues
from deixis.errors import DeixisError
from deixis.types import EvalProtocol, EvalMetric

PROTOCOL = EvalProtocol(
    title="How many letters captions have",
    capabilities=(("encode_text",),),
    fields=("captions",),
    metrics=(EvalMetric("shortness", "shortness | of captions"),),
    plots=("shortness",),
)


def prepare(data, options, talk):
    return data.source


def measure(plan, model, options, talk):
    if options.limit:
        raise DeixisError("There is a limit.", "Take it away.")
    values = np.array([1 / len(sample.captions[0]) for sample in plan.samples])
    queries = tuple(sample.id for sample in plan.samples)
    return EvalOutput({"": {Column("shortness"): QueryValues(values, queries, np.arange(len(values)))}})
'''


@pytest.fixture
def toy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A protocol in a folder beside the package's own."""
    folder = tmp_path_factory.mktemp("protocols")
    (folder / "toy_count.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(protocols, "__path__", [*protocols.__path__, str(folder)])
    yield "toy-count"
    sys.modules.pop(f"{protocols.__name__}.toy_count", None)


def settings(*protocol: str, **others: Any) -> EvalSettings:
    return EvalSettings(**{"protocol": protocol, "model": ("tiny",), **others})


def test_a_file_in_the_folder_of_protocols_is_run_listed_and_documented(toy: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    result = evaluate(SOURCE, out, settings(toy), quiet=True)
    assert (result["protocol"], result["model"], result["rows"][0]["value"]) == (toy, "tiny", 1.0)
    assert result["seconds"]["total"] >= 0
    assert json.loads((out / "result.json").read_text()) == result
    assert sorted(path.name for path in out.iterdir()) == [
        *("plot.png", "result.json", "rows.jsonl", "table.html", "table.txt")
    ]
    assert toy in evaluate(SOURCE, tmp_path / "all", settings(), quiet=True)["protocol"]
    assert "| `toy-count` | How many letters captions have | captions | seconds |" in protocols_table(table)
    with pytest.raises(DeixisError, match="toy-count"):
        evaluate(SOURCE, tmp_path / "none", settings("toy-cont"), quiet=True)
    assert "toy-count" in next(flag.text for flag in flags(command.run) if flag.name == "protocol")


@pytest.mark.slow
def test_a_protocol_in_a_copy_of_the_package_is_run_by_the_command_line(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "src/deixis", tmp_path / "deixis")
    (tmp_path / "deixis/engine/evaluation/protocols/toy_count.py").write_text(TOY, encoding="utf-8")
    data = pictures.captioned(tmp_path / "mine", 4)
    run = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from deixis.cli import main; main()"
    words = ["eval", str(data), "--protocol", "toy-count", "--model", "tiny", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", run, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "shortness | of captions" in done.stdout


def test_a_protocol_that_fails_leaves_nothing_and_an_old_folder_alone(toy: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    with pytest.raises(DeixisError, match="limit"):
        evaluate(SOURCE, out, settings(toy, limit=1), quiet=True)
    assert list(tmp_path.iterdir()) == []
    evaluate(SOURCE, out, settings(toy), quiet=True)
    before = (out / "result.json").read_bytes()
    with pytest.raises(DeixisError, match="limit"):
        evaluate(SOURCE, out, settings(toy, limit=1), overwrite=True, quiet=True)
    assert (out / "result.json").read_bytes() == before


def test_a_folder_is_replaced_only_when_asked(toy: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    evaluate(SOURCE, out, settings(toy), quiet=True)
    with pytest.raises(DeixisError, match="--overwrite"):
        evaluate(SOURCE, out, settings(toy), quiet=True)
    evaluate(SOURCE, out, settings(toy), overwrite=True, quiet=True)


def test_an_unknown_protocol_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="saliency"):
        evaluate(SOURCE, tmp_path / "found", settings("zero"), quiet=True)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two models on labelled images, by all protocols that fit and by each number of neighbours."""
    from deixis import zoo

    root = tmp_path_factory.mktemp("compared")
    zoo.save(zoo.load("tiny", seed=1), root / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEIXIS_CACHE", str(root / "cache"))
        patch.chdir(root)
        data = str(pictures.labelled(root / "mine", 36))
        chosen = EvalSettings(model=("tiny", "other"), neighbours=(3, 1))
        return root / "out", dict(evaluate(data, root / "out", chosen, quiet=True))


def test_without_a_name_all_protocols_that_fit_run_and_the_others_are_left_out_with_a_reason(compared: Any) -> None:
    out, result = compared
    assert result["protocol"] == ["zero-shot", "knn", "linear"]
    assert result["left_out"]["retrieval"] == "no captions"
    assert "--protocol few-shot" in result["left_out"]["few-shot"]
    for name in result["protocol"]:
        assert {path.name for path in (out / name).iterdir()} == {"plot.png", "rows.jsonl", "table.html", "table.txt"}


def test_models_stand_side_by_side_with_paired_differences_and_their_intervals(compared: Any) -> None:
    out, result = compared
    head = (out / "knn/table.txt").read_text(encoding="utf-8").splitlines()[1]
    assert head.split() == ["tiny", "other", "other", "-", "tiny"]
    rows = {(row["model"], row["metric"], row.get("condition")): row for row in result["results"]["knn"]["rows"]}
    for change in result["results"]["knn"]["differences"]:
        key = (change["metric"], change.get("condition"))
        assert change["value"] == pytest.approx(rows["other", *key]["value"] - rows["tiny", *key]["value"])
        assert change["low"] <= change["value"] <= change["high"]
    assert {row["condition"] for row in rows.values()} == {"k=3", "k=1"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())


def test_rows_of_all_protocols_bear_protocol_model_data_and_a_recipe(compared: Any) -> None:
    out, _ = compared
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["protocol"] for row in rows} == {"zero-shot", "knn", "linear"}
    assert {row["model"] for row in rows} == {"tiny", "other"}
    assert {row["data"] for row in rows} == {"mine"}
    assert all(len(row["recipe"]) == 16 and row["queries"] >= row["concepts"] > 1 for row in rows)
    page = (out / "table.html").read_text(encoding="utf-8")
    assert "linear, top-1" in page
    assert "<svg" in page


def test_rows_of_a_comparison_are_kept_under_the_name_of_the_data_and_tabled(compared: Any, tmp_path: Path) -> None:
    out, _ = compared
    kept = tmp_path / "protocols.jsonl"
    protocol_rows.main([str(out), "--data", "set:mine", "--results", str(kept)])
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert {(row["protocol"], row["data"]) for row in rows} == {
        *(("zero-shot", "set:mine"), ("knn", "set:mine"), ("linear", "set:mine"))
    }
    page = results_page(rows, "", table)
    assert "## knn, `set:mine`" in page
    assert re.search(r"\| top1, k=3 \| [\d.]+ \[[\d.]+, [\d.]+\] \| [\d.]+ \[", page)
    timed = {**rows[0], "metric": "seconds", "value": 0.123, "low": 0.1, "high": 0.2}
    timed["notes"] = ["Beside chance: +1.0 points."]
    page = results_page([timed], "", table)
    assert "| 0.12 s [0.10, 0.20] |" in page
    assert "Beside chance: +1.0 points." in page


@pytest.mark.slow
def test_few_shot_curves_of_several_models_are_compared_and_each_keeps_its_own_report(compared: Any) -> None:
    out, _ = compared
    chosen = settings("few-shot", model=("tiny", "other"), methods=("zero_shot",), shots=(1, 2), seeds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEIXIS_CACHE", str(out.parent / "cache"))
        patch.chdir(out.parent)
        result = evaluate("mine", out.parent / "curves", chosen, quiet=True)
    assert {(row["arm"], row["condition"]) for row in result["differences"]} == {("zero_shot", "1"), ("zero_shot", "2")}
    assert set(result["models"]) == {"tiny", "other"}
    assert result["models"]["other"]["accuracy"]["zero_shot"]["2"]["test"]["value"] >= 0
    assert (out.parent / "curves/model-2/recipe.json").exists()
    again = EvalSettings(protocol=("knn",), model=("tiny",))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out.parent)
        evaluate("mine", "curves", again, overwrite=True, quiet=True)
    assert not (out.parent / "curves/model-2").exists()


@pytest.mark.parametrize(
    "words",
    [["--model", "a", "--model", "b c"], ["--model", "a", "b c"], ["--model=a", "--out", "x", "--model", "b c"]],
)
def test_models_are_given_one_after_the_other_or_by_a_flag_each(words: list[str]) -> None:
    given: list[EvalSettings] = []

    def run(data: str, /, settings: EvalSettings = DEFAULTS, out: str = "") -> None:
        """Keeps what it is given.

        Args:
            data: not read.
            settings: kept.
            out: not written.
        """
        given.append(settings)

    assert parse_and_run("eval", run, ["set:mine", *words, "--protocol", "knn"]) == 0
    assert given == [EvalSettings(model=("a", "b c"), protocol=("knn",))]


def test_a_model_that_cannot_be_measured_and_data_that_fit_nothing_are_refused_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    bare = Source("bare", Path("."), "images", "made", (Sample("a", None),))
    with pytest.raises(DeixisError, match=r"No protocol fits bare(.|\n)*retrieval: no"):
        evaluate(bare, tmp_path / "out", settings(), quiet=True)
    with pytest.raises(DeixisError, match="No model is named"):
        evaluate(SOURCE, tmp_path / "out", settings(model=()), quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_made_from_the_data_is_reported_as_flattered(tmp_path: Path) -> None:
    from deixis import zoo

    data = str(pictures.captioned(tmp_path / "mine", 12))
    run = tmp_path / "run"
    zoo.save(zoo.load("tiny"), run / "model")
    told = {"data": {"name": "mine", "samples": 12, "fingerprint": "of ids and captions"}}
    (run / "result.json").write_text(json.dumps(told), encoding="utf-8")
    seen = sorted(path for path in Path(data).rglob("*") if path.suffix in (".png", ".jpg"))[:5]
    write_training_images(run, [content_hash(path) for path in seen])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
        chosen = settings("retrieval", model=("tiny", str(run)))
        result = evaluate(data, tmp_path / "out", chosen, quiet=True)
    whole, counted = result["warnings"]
    assert whole.startswith(f"{run} was trained on this data")
    assert counted.startswith(f"{run}: 5 of 12 queried images were trained on")


def test_a_single_protocol_or_model_may_be_named_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users' calls are not checked
    assert EvalSettings(protocol="knn", model="tiny") == EvalSettings(protocol=("knn",), model=("tiny",))
