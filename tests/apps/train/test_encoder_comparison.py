"""What `deixis train` says of a tower that it trained on images alone: which encoder to use for what."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.train import compared_encoders, image_division
from deixis.apps.train.compared_encoders import compare_run
from deixis.apps.train.encoder_comparison import SCOPES, compare_encoders
from deixis.apps.train.encoder_report import encoder_sentence, encoder_table
from deixis.apps.train.image_division import ImageDivision, QueryParts, divide_images
from deixis.apps.train.image_files.groups import write_groups
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.readers import sources
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.training.build import build
from deixis.inputs.preprocess import Preprocess
from deixis.methods.seer import Config
from deixis.types import Sample, Source
from tests.commands import own_cache
from tests.pictures import labelled

QUIET = Reporter(quiet=True)
COUNT, PART = 100, 20


class Planted(EvalModel):
    """Features that know each image by itself, and of some images also their copies."""

    def __init__(self, name: str, knows: Callable[[int], bool], labels: bool = True) -> None:
        super().__init__(name, torch.nn.Identity())
        self._knows, self._labels = knows, labels

    def image_features(self, data: EvalSet, talk: object) -> Tensor:
        """One row an image: its own axis, and a little of that of its class."""
        rows = torch.zeros(len(data.samples), COUNT + 2)
        for row, sample in zip(rows, data.samples, strict=True):
            number = int(sample.id)
            altered = data.hashes[data.samples.index(sample)] != f"hash {number}"
            row[number if not altered or self._knows(number) else (number + 1) % COUNT] = 1.0
            row[COUNT + (number % 2 if self._labels else 0)] = 0.5
        return rows


def planted() -> ImageDivision:
    samples = tuple(Sample(str(i), Path(f"{i}.png"), label="ab"[i % 2]) for i in range(COUNT))
    data = EvalSet.of(Source("planted", Path(), "labels", "", samples), [f"hash {i}" for i in range(COUNT)])
    parts = [tuple(range(PART * n, PART * (n + 1))) for n in range(5)]
    return ImageDivision(data, parts[4], QueryParts(*parts[:2]), QueryParts(*parts[2:4]), 2 * PART)


def compared(after: Planted, whitened: Planted | None = None) -> dict[str, object]:
    models = {"starter": Planted("starter", lambda i: i % 4 == 0), "eyes": after}
    if whitened is not None:
        models["starter+whiten:256"] = whitened
    return {**compare_encoders(planted(), models, "starter", QUIET), "before": "starter", "after": "eyes"}


def test_a_tower_that_knows_only_what_it_trained_on_is_advised_for_duplicates_there_alone() -> None:
    found = compared(Planted("eyes", lambda i: i < 2 * PART or i % 4 == 0))
    assert {scope: found["copies"][scope]["use"] for scope in SCOPES} == {"trained_on": "eyes", "held_back": "starter"}
    assert re.fullmatch(
        r"Of 100 altered copies 100 find their original \(starter 25, between \+\d+ and \+\d+\) among images it "
        r"trained on, 25 \(25\) among others; labels are predicted no better\. "
        r"Use it for duplicates here, keep the starter elsewhere\.",
        encoder_sentence(found),
    )
    head, rows = encoder_table(found)
    assert [len(row) for row in rows] == [len(head)] * 2
    assert (rows[1][0], rows[0][2]) == ("after: eyes", "25 *")
    assert rows[1][1].endswith("*")


def test_a_rival_that_needs_no_training_takes_the_place_of_a_tower_that_it_beats() -> None:
    found = compared(Planted("eyes", lambda i: i % 2 == 0), Planted("white", lambda i: True, labels=False))
    assert encoder_sentence(found).endswith("Use starter+whiten:256 for duplicates, keep the starter elsewhere.")


def test_nothing_is_advised_without_proof_and_a_tower_that_lost_labels_is_called_worse() -> None:
    found = compared(Planted("eyes", lambda i: i % 4 == 1, labels=False))
    assert encoder_sentence(found).endswith("labels are predicted worse. Keep the starter: no other is proven better.")


def test_near_duplicates_never_stand_on_both_sides_of_what_a_tower_trains_on(tmp_path: Path) -> None:
    labelled(tmp_path, 30)
    for path in sorted(tmp_path.rglob("*.png"))[:12]:
        (path.parent / f"again-{path.name}").write_bytes(path.read_bytes())
    source = sources.read(tmp_path)
    train_on, division, _ = divide_images(source, 0.15, 0, QUIET)
    assert division is not None
    groups = dict(zip(division.data.ids, division.data.groups, strict=True))
    withheld = {groups[each.id] for each in source.samples} - {groups[each.id] for each in train_on.samples}
    assert len(source.samples) - len(train_on.samples) == division.withheld > 0
    queries = [{division.data.groups[i] for i in side} for side in (*division.trained_on, *division.held_back)]
    assert all(not one & other for n, one in enumerate(queries) for other in queries[:n])
    assert queries[2] | queries[3] <= withheld
    assert not (queries[0] | queries[1]) & withheld


def test_images_that_are_all_the_same_are_trained_on_without_a_comparison(tmp_path: Path) -> None:
    first = next(labelled(tmp_path, 1).rglob("*.png"))
    for i in range(5):
        (first.parent / f"{i}.png").write_bytes(first.read_bytes())
    source = sources.read(tmp_path)
    train_on, division, notes = divide_images(source, 0.1, 0, QUIET)
    assert (train_on, division) == (source, None)
    assert "Nothing is held back, and encoders are not compared: 6 samples form 1 groups" in notes[0]


def test_a_tower_from_random_weights_is_compared_with_the_starter_where_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = build("seer", "tiny")
    method.config = dataclasses.replace(Config.tiny(), encoder="scratch:resnet")
    monkeypatch.setattr(compared_encoders, "compare_encoders", lambda division, models, start, talk: {
        "names": [*models], "start": start})  # fmt: skip
    for there, start in ((EvalModel("starter", torch.nn.Identity()), "starter"), (None, "scratch:resnet")):
        monkeypatch.setattr(compared_encoders, "_starter", lambda there=there: there)
        found = compare_run(planted(), method, method, tmp_path / "eyes", QUIET)
        assert (found["start"], found["before"], found["after"]) == (start, "scratch:resnet", "eyes")
        assert {f"{start}+whiten:256", "phash"} <= {*found["names"]}


class Sorter(torch.nn.Module):
    """Scores of three prototypes by the mean red, green and blue."""

    preprocess = Preprocess(8, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def prototype_scores(self, images: Tensor) -> Tensor:
        """[B, 3]"""
        return images.mean(dim=(2, 3))


def test_images_are_listed_by_prototype_the_largest_group_first_and_in_it_the_nearest(tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 0, 90), (0, 0, 250), (0, 0, 170)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{number}.png")
    source = sources.read(tmp_path)
    assert write_groups(Sorter(), EvalSet.of(source, "abcd"), tmp_path) == 2
    with open(tmp_path / "groups.csv", encoding="utf-8") as file:
        rows = [(Path(row["path"]).stem, row["prototype"], row["similarity"]) for row in csv.DictReader(file)]
    assert rows == [("2", "2", "0.980"), ("3", "2", "0.667"), ("1", "2", "0.353"), ("0", "0", "0.784")]


@pytest.mark.slow
def test_a_run_on_photos_ends_with_the_table_in_its_result_its_readme_and_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_division, "_QUERIES", 4)
    labelled(tmp_path / "photos", 24)
    settings = TrainSettings(config="tiny", precision="float32", steps=1, batch_size=4, workers=0, tensorboard="no")
    with own_cache(tmp_path / "cache"):
        result = train("seer", str(tmp_path / "photos"), tmp_path / "eyes", settings)
    written = json.loads((tmp_path / "eyes" / "result.json").read_text("utf-8"))
    assert written["sentence"].startswith("Of 100 altered copies ")
    assert written["held_out"] == 5
    assert written["encoders"]["names"] == ["tiny", "eyes", "tiny+whiten:256", "phash"]
    assert written["sentence"] in capsys.readouterr().out
    with open(tmp_path / "eyes" / "groups.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), len({row["prototype"] for row in rows})) == (24, written["groups"])
    assert sources.read(tmp_path / "eyes" / "groups.csv").kind == "labels"
    with Image.open(tmp_path / "eyes" / "groups.jpg") as sheet:
        assert sheet.height == 100 * written["groups"] + 4
    for shown in ((tmp_path / "eyes" / "README.md").read_text("utf-8"), result._repr_html_()):
        assert written["sentence"] in shown
        assert "copies, others" in shown
