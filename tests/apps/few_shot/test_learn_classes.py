"""`deixis adapt` by a method that learns classes: what it proves on other images, and what it leaves."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deixis as front
from deixis.apps.few_shot.learn_classes import learns_classes
from deixis.data.readers import sources
from deixis.engine.fewshot import few_shot, learners
from tests.commands import Answer, deixis, own_cache
from tests.pictures import COLOURS, captioned, labelled, picture, spoil

FLAGS = ("--model", "tiny", "--splits", "2", "--shots", "3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("classes")
    with own_cache(folder / "cache"):
        yield folder


class Run:
    """A run over the command line, in folders that hold copies, nested folders, a lone image and what can't be read."""

    def __init__(self, place: Path) -> None:
        self.data, self.folder = labelled(place / "pictures", 48), place / "run"
        first = next(iter(COLOURS))
        shutil.rmtree(self.data / first / "nothing", ignore_errors=True)
        for i, file in enumerate(sorted((self.data / first).glob("*.png"))[:3]):
            shutil.copy(file, file.with_name(f"copy-{i}.png"))
        picture(self.data / first / "deep" / "below.png", COLOURS[first], random.Random(4))
        picture(self.data / "lone" / "only.png", (120, 120, 120), random.Random(5))
        spoil(self.data / first)
        for text in self.data.rglob("*.txt"):
            text.unlink()
        self.answer: Answer = deixis("adapt", self.data, "--method", "linear", *FLAGS, "--out", self.folder)
        self.result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return Run(place)


@pytest.mark.slow
def test_the_first_line_is_the_plain_sentence_with_before_and_after(run: Run) -> None:
    assert run.answer.code == 0, run.answer.err
    assert run.answer.out.splitlines()[0] == run.result["sentence"]
    before, after = (100 * run.result[which]["accuracy"]["value"] for which in ("before", "after"))
    assert (
        f"{before:.0f} are classified correctly by class names alone, and {after:.0f} by linear"
        in run.result["sentence"]
    )
    assert after > before + 30


@pytest.mark.slow
def test_gains_are_paired_and_lie_in_their_intervals(run: Run) -> None:
    before, after, gain = (run.result[which]["accuracy"] for which in ("before", "after", "difference"))
    assert gain["value"] == pytest.approx(after["value"] - before["value"])
    assert all(each["low"] <= each["value"] <= each["high"] for each in (before, after, gain))
    answers = [each["answers"] for each in run.result["per_class"].values()]
    mean = sum(each["after"] * each["answers"] for each in run.result["per_class"].values()) / sum(answers)
    assert mean == pytest.approx(after["value"])


@pytest.mark.slow
def test_what_is_learned_from_is_never_asked_about_and_copies_stay_together(run: Run) -> None:
    source = sources.read(run.data)
    ids = sorted(sample.id for sample in source.samples)
    readable = [name for name in ids if name not in {each["path"] for each in run.result["data"]["skipped"]}]
    for split in json.loads((run.folder / "splits.json").read_text()):
        assert not set(split["train"]) & set(split["test"])
        names = {side: {readable[i] for i in split[side]} for side in ("train", "test")}
        assert set(split["shots"]) <= names["train"]
        for i in range(3):
            copy = next(name for name in readable if name.endswith(f"copy-{i}.png"))
            whole = sorted(name for name in readable if name.startswith(copy.split("/")[0]) and "copy" not in name)[i]
            assert ({copy, whole} <= names["train"]) or not ({copy, whole} & names["train"])


@pytest.mark.slow
def test_images_below_the_classes_folders_are_said_to_be_of_the_class_above(run: Run) -> None:
    assert "Images in sub-folders of class folders (1, such as" in run.answer.err
    assert "qqqqqqqqqqqqqq/deep/below.png" in run.answer.err


@pytest.mark.slow
def test_a_class_with_one_image_is_learned_at_last_but_not_measured(run: Run) -> None:
    assert "lone" not in run.result["per_class"]
    assert "lone" in front.load_classifier(run.folder).classes_
    assert "1 of 7 classes have fewer than 3 images, 1 the least" in run.answer.err


@pytest.mark.slow
def test_the_run_folder_is_a_classifier_and_can_be_searched(run: Run, place: Path) -> None:
    classifier = front.load_classifier(run.folder)
    files = sorted((labelled(place / "others", 12, seed=8)).rglob("*.png"))
    assert classifier.score(files, [file.parent.name for file in files]) > 0.9
    assert len(front.search(run.folder, files[0], 3)) == 3
    assert front.load(run.folder).fingerprint() == classifier.method_.encoder.fingerprint()


@pytest.mark.slow
def test_a_run_replaces_its_like_only_when_asked_to(run: Run) -> None:
    again = ("adapt", run.data, "--method", "zero-shot", *FLAGS, "--out", run.folder)
    refused = deixis(*again)
    assert refused.code != 0
    assert "holds another run" in refused.err
    kept = shutil.copytree(run.folder, run.folder.with_name("kept"))
    replaced = deixis("adapt", run.data, "--method", "zero-shot", *FLAGS, "--out", kept, "--overwrite")
    assert replaced.code == 0, replaced.err
    result = json.loads((kept / "result.json").read_text())
    assert result["difference"]["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "no proven gain" in result["sentence"]


@pytest.mark.slow
def test_auto_tells_what_it_chose_in_each_split(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "PENALTIES", (1e-3,))
    answer = deixis("adapt", run.data, "--method", "auto", *FLAGS, "--out", run.folder.with_name("auto"))
    assert answer.code == 0, answer.err
    method = json.loads((run.folder.with_name("auto") / "result.json").read_text())["method"]
    assert all(each["method"] in learners.candidates() and each["why"] for each in (*method["chosen"], method["final"]))
    assert f"Chosen: {method['final']['why']}" in answer.out


def test_captions_without_labels_are_refused_with_both_cures(place: Path) -> None:
    data = captioned(place / "captions", 12)
    answer = deixis("adapt", data, "--method", "coop", *FLAGS, "--out", place / "none")
    assert answer.code != 0
    assert "captions and no labels, and coop learns classes" in answer.err
    assert "--label-column" in answer.err
    assert "--method residual" in answer.err
    assert not (place / "none").exists()


def test_sub_folders_are_the_classes_though_captions_lie_beside_the_images(place: Path) -> None:
    data = labelled(place / "told", 32)
    for image in data.rglob("*.png"):
        image.with_suffix(".txt").write_text(f"a {image.parent.name} square\n", encoding="utf-8")
    answer = deixis("adapt", data, "--method", "tip", *FLAGS, "--out", place / "told-run")
    assert answer.code == 0, answer.err
    assert f"The {len(COLOURS)} sub-folders are the classes." in answer.err
    classes = json.loads((place / "told-run" / "result.json").read_text())["per_class"]
    assert set(classes) == set(COLOURS)
    assert set(front.FewShotClassifier("tiny", "tip", shots=3).fit(data).classes_) == set(COLOURS)
    measured = deixis("eval", data, "--model", "tiny", "--protocol", "zero-shot", "--out", place / "told-eval")
    assert f"of {len(COLOURS)} classes" in measured.err


def test_impossible_settings_are_told_before_data_is_checked(place: Path) -> None:
    data = labelled(place / "few", 6)
    for flags, found in {
        ("--splits", "1"): "1 split was requested",
        ("--shots", "0"): "--shots 0",
        ("--layers", "all"): "trains no layers",
        ("--templates", "a photo"): "no place for the name",
    }.items():
        answer = deixis("adapt", data, "--method", "tip", "--model", "tiny", *flags, "--out", place / "none")
        assert answer.code != 0
        assert found in answer.err
        assert "check images" not in answer.err


def test_too_few_images_to_prove_anything_are_refused(place: Path) -> None:
    answer = deixis("adapt", labelled(place / "six", 6), "--method", "tip", *FLAGS, "--out", place / "none")
    assert "6 images show 6 different objects" in answer.err
    assert not (place / "none").exists()


def test_methods_that_adapt_are_left_to_the_main_job() -> None:
    assert learns_classes("zero-shot") == "zero_shot"
    assert [learns_classes(name) for name in ("residual", "ridge", "clip", "nonsense")] == [""] * 4
    assert np.all([learns_classes(name) for name in learners.offered()])
