"""Folders that people have: runs of an earlier version are opened, searched and resumed by this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import deixis
from deixis.methods import read
from tests.commands import deixis as command
from tests.commands import own_cache
from tests.pictures import captioned, labelled

BEFORE = Path(__file__).parent / "runs_from_before"
RATE = 1e-2  # of the preset
TRAIN = ["--config=tiny", "--steps=8", "--batch-size=8", "--checkpoint-every=4", "--precision=float32", "--workers=1"]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(BEFORE, tmp_path / "runs")
    with own_cache(tmp_path / "cache"):
        yield tmp_path / "runs"


def test_an_adapted_model_and_its_index_are_opened_and_agree(runs: Path) -> None:
    encoder = deixis.load(runs / "adapted")
    hits = deixis.search(runs / "adapted", "qqqqqqqqqqqqqq", k=3)
    assert [Path(hit.item["path"]).name for hit in hits] == ["serudo.png", "dapade.png", "kipidu.png"]
    assert [hit.score for hit in hits] == pytest.approx([0.529, 0.480, 0.476], abs=1e-3)
    assert encoder.image_adapter is not None


def test_an_index_is_searched_and_still_tells_chances(runs: Path) -> None:
    result = deixis.search(runs / "index", "qqqqqqqqqqqqqq", k=3)
    assert [hit.score for hit in result] == pytest.approx([0.532, 0.485, 0.484], abs=1e-3)
    assert result[0].relevance == pytest.approx(0.0279, abs=1e-4)


def test_pictures_are_added_to_an_index(runs: Path, tmp_path: Path) -> None:
    pictures = captioned(tmp_path / "pictures", 44)
    done = command("index", pictures, "--out", runs / "index", "--add", "--quiet")
    assert done.code == 0, done.err
    assert deixis.search(runs / "index", "qqqqqqqqqqqqqq").total == 84


def test_a_classifier_names_the_pictures_that_it_named(runs: Path, tmp_path: Path) -> None:
    classes = labelled(tmp_path / "classes", 36)
    pictures = sorted(str(path) for path in classes.rglob("*.png"))[:6]
    assert list(deixis.load_classifier(runs / "classes").predict(pictures)) == ["iLiLiLiLiLiLiL"] * 6


def test_a_killed_run_goes_on_with_the_same_command_and_ends_as_one_that_was_not(runs: Path, tmp_path: Path) -> None:
    pictures = captioned(tmp_path / "pictures", 40)
    done = command("train", "filip", "--data", pictures, "--out", runs / "half", "--quiet", *TRAIN)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (runs / "half" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8]  # the first two are of the first process
    one, other = (load_file(runs / name / "method.safetensors") for name in ("half", "whole"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        noise = name.endswith(read("filip").card.zero_gradient)  # of the processor moves it, a rate a step at the most
        assert torch.allclose(value, other[name], atol=8 * RATE if noise else 1e-5), name
