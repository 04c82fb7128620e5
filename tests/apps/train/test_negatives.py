"""A run of KaLM on pairs mines its negatives between its stages; a killed one goes on with the same."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from deixis.apps.train.callbacks import ProgressCallback
from deixis.apps.train.negatives import FILE
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError

COLOURS = {"rot": "red", "blau": "blue", "gruen": "green", "gelb": "yellow", "braun": "brown"}
THINGS = {"Tasse": "cup", "Boot": "boat", "Baum": "tree", "Vogel": "bird", "Haus": "house", "Fisch": "fish"}

SETTINGS = TrainSettings(
    config="tiny",
    set=("group=4", "nearest=2", "farthest=6", "teacher=", "distil=0"),
    precision="float32",
    steps=8,
    batch_size=4,
    held_out=0.2,
    checkpoint_every=1,
    workers=0,
)
"""Half of the steps have no mined negatives."""


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A csv of queries and the passage that answers each, as a user has it."""
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["caption", "passages"])
        for (colour, english), (thing, noun) in itertools.product(COLOURS.items(), THINGS.items()):
            rows.writerow([f"{colour} {thing}", f"a {english} {noun}"])
    return tmp_path / "pairs.csv"


def run(pairs: Path, out: Path, **changed: Any) -> dict[str, Any]:
    return dict(train("kalm", str(pairs), out, dataclasses.replace(SETTINGS, **changed), quiet=True))


def mined(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / FILE).read_text(encoding="utf-8").splitlines()]


def test_pairs_get_the_answers_of_others_as_negatives_and_held_out_queries_find_theirs(
    pairs: Path, tmp_path: Path
) -> None:
    result = run(pairs, tmp_path / "run")
    rows, answers = mined(tmp_path / "run"), {f"a {c} {t}" for c in COLOURS.values() for t in THINGS.values()}
    assert rows
    for row in rows:
        answer, *others = row["passages"]
        assert len(others) == 3
        assert answer not in others
        assert set(others) <= answers
    assert set(result["before"]) == set(result["after"]) == {"r1", "r10", "mrr"}
    held = result["held_out"]
    assert held > 0
    assert len(rows) <= len(answers) - held


def test_a_run_killed_behind_the_mining_ends_with_the_same_negatives_and_weights(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pairs, tmp_path / "whole")
    own = ProgressCallback.__call__

    def kill(self: Any, progress: Any, losses: Any) -> None:
        if progress.stage == "hard" and progress.step == 2:
            raise KeyboardInterrupt
        own(self, progress, losses)

    with monkeypatch.context() as patched:
        patched.setattr(ProgressCallback, "__call__", kill)
        with pytest.raises(KeyboardInterrupt):
            run(pairs, tmp_path / "run")
    run(pairs, tmp_path / "run")
    assert mined(tmp_path / "run") == mined(tmp_path / "whole")
    first, second = (load_file(tmp_path / name / "method.safetensors") for name in ("run", "whole"))
    assert all(bool((first[name] == second[name]).all()) for name in second)


def test_what_comes_with_negatives_enough_is_not_mined_for(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"caption": f"{colour} {thing}", "passages": [f"{english} {noun}", "a", "b", "c"]}
        for (colour, english), (thing, noun) in itertools.product(COLOURS.items(), THINGS.items())
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run(path, tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


def test_too_few_answers_are_refused_before_training(pairs: Path, tmp_path: Path) -> None:
    settings = (*SETTINGS.set, "nearest=50", "farthest=100")
    with pytest.raises(DeixisError, match="negatives are of ranks up to 100"):
        run(pairs, tmp_path / "run", set=settings)
    assert not (tmp_path / "run").exists()
