"""Drafts of captions: beside the pictures that have none, never read as captions, and measured or said not to be."""

from __future__ import annotations

import csv
import random
import shutil
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deixis import zoo
from deixis.apps.adapt.drafts import read_accepted
from deixis.apps.caption import draft_sources, drafts
from deixis.apps.caption.draft_sources import CaptionDraft, Described, Nearest, of_model, read_bank
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.options import Reading
from deixis.apps.label.label import ordered_pictures
from deixis.apps.predict import capable
from deixis.apps.predict.capable import open_method
from deixis.apps.predict.settings import PredictOutput
from deixis.errors import DeixisError
from tests.capable import Captioner
from tests.commands import deixis
from tests.pictures import COLOURS, picture

NOUNS = dict(zip(COLOURS, ("apple", "leaf", "sea", "sun", "night", "plum"), strict=True))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of six colours, each named by its noun and a word of its own."""
    folder, rng = tmp_path_factory.mktemp("pictures"), random.Random(0)
    for number in range(60):
        word = list(COLOURS)[number % len(COLOURS)]
        own = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3))
        picture(folder / f"{number:02}-{own}-{NOUNS[word]}.png", COLOURS[word], rng)
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "load_encoder", lambda name: zoo.load("tiny"))


def table(path: Path, folder: Path, captioned: int) -> Path:
    """A csv of the pictures, of which so many have a caption."""
    rows = []
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        _, own, noun = file.stem.split("-")
        rows.append((file, f"a {own} {noun}" if number < captioned else ""))
    with open(path, "w", newline="") as out:
        csv.writer(out).writerows([("path", "caption"), *rows])
    return path


def few(pictures: Path, folder: Path, count: int) -> Path:
    """A folder of the first pictures alone."""
    (folder / "few").mkdir()
    for file in sorted(pictures.glob("*.png"))[:count]:
        shutil.copy(file, folder / "few")
    return folder / "few"


def drafted(data: Path, out: Path, **settings: Any) -> tuple[list[dict[str, str]], str]:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reporter, "result", lambda self, text: said.append(text))
        drafts.write_drafts(str(data), CaptionSettings(**settings), PredictOutput(str(out), quiet=True), Reading())
    with open(out, newline="") as file:
        return list(csv.DictReader(file)), " ".join(said)


def test_drafts_stand_beside_pictures_without_captions_and_how_often_they_are_right_is_measured(
    pictures: Path, tmp_path: Path
) -> None:
    rows, said = drafted(table(tmp_path / "some.csv", pictures, 45), tmp_path / "captions.csv")
    assert list(rows[0]) == ["path", "caption", "label", "draft", "sure"]
    assert all(bool(row["caption"]) != bool(row["draft"]) for row in rows)
    assert all(0 <= float(row["sure"]) <= 1 for row in rows if row["draft"])
    right = [row["draft"].endswith(Path(row["path"]).stem.split("-")[2]) for row in rows if row["draft"]]
    assert len(right) == 15
    assert sum(right) > 5
    assert "15 drafts, by copying the nearest caption. On 15 captioned pictures held back, " in said
    captions = {sample.captions for sample in read(str(tmp_path / "captions.csv")).samples if sample.captions}
    assert len(captions) == 45  # a draft is not read as a caption


@pytest.mark.slow
def test_with_few_captions_nothing_is_said_to_be_right(pictures: Path, tmp_path: Path) -> None:
    rows, said = drafted(table(tmp_path / "few.csv", pictures, 6), tmp_path / "captions.csv")
    assert {row["sure"] for row in rows} == {""}
    assert "was not measured: 6 pictures with captions, and 40 are needed" in said


@pytest.mark.slow
def test_a_bank_of_terms_serves_where_nothing_is_captioned(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("term,number\n=SUM(A1),1\n", encoding="utf-8")
    rows, said = drafted(pictures, tmp_path / "captions.csv", bank=str(tmp_path / "terms.csv"), method="bank")
    assert {row["draft"] for row in rows if row["draft"]} == {"'=SUM(A1)"}
    assert "no picture with a caption" in said or "with captions" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "nearby"}, "no way 'nearby'"),
        ({"bank": "nowhere.csv"}, "no file nowhere.csv"),
        pytest.param({"method": "bank"}, "no bank", marks=pytest.mark.slow),
        pytest.param({"method": "run"}, "no model", marks=pytest.mark.slow),
        pytest.param({"method": "close"}, "too few captions to learn from", marks=pytest.mark.slow),
    ],
)
def test_what_can_not_draft_is_refused(settings: dict[str, Any], message: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=message):
        drafted(table(tmp_path / "some.csv", pictures, 6), tmp_path / "captions.csv", **settings)
    assert not (tmp_path / "captions.csv").exists()


@pytest.mark.slow
def test_the_csv_of_label_may_come_with_drafts(pictures: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "few.csv", pictures, 6)
    assert deixis("label", data, "--drafts", "--out", tmp_path / "labels.csv").code == 0
    rows, _ = drafted(data, tmp_path / "captions.csv")
    with open(tmp_path / "labels.csv", newline="") as file:
        assert list(csv.DictReader(file)) == rows
    both = deixis("label", data, "--drafts", "--triplets", "--out", tmp_path / "more.csv")
    assert "different rows" in both.err


@pytest.mark.slow
def test_where_all_have_captions_nothing_is_to_draft(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="have captions"):
        drafted(table(tmp_path / "all.csv", pictures, 60), tmp_path / "captions.csv")


def test_of_equals_the_simplest_drafts_and_a_better_one_takes_its_place() -> None:
    groups = list(range(30))

    class Fixed(Described):
        def __init__(self, name: str, right: int) -> None:
            super().__init__(Captioner(), (), name, name)
            self.right = right

        def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
            return [CaptionDraft("a cat" if place < self.right else "a dog") for place in places]

    vectors, captions = torch.eye(31), {place: "a cat" for place in range(30)}
    division = drafts._Division(groups, groups, [30])
    nearest = Nearest(vectors, {30: "a dog"})
    values = {
        name: drafts._measure(source, captions, division)
        for name, source in {"nearest": nearest, "equal": Fixed("equal", 1), "better": Fixed("better", 25)}.items()
    }
    assert drafts._best([each.source for each in values.values()], values, groups).name == "better"
    assert drafts._best([nearest, values["equal"].source], values, groups).name == "nearest"


def a_run(monkeypatch: pytest.MonkeyPatch, method: Any) -> None:
    monkeypatch.setattr(draft_sources, "load_model", lambda name: types.SimpleNamespace(model=method))


@pytest.mark.parametrize(
    ("name", "message"), [("close", "too few captions to learn from"), ("nearest", "No picture has a caption")]
)
def test_a_run_is_no_other_source_because_its_folder_is_called_so(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    a_run(monkeypatch, Captioner())
    source = of_model(f"runs/{name}", ())
    assert (source.name, source.words) == ("run", f"the run {name}")
    folder = few(pictures, tmp_path, 1)
    with pytest.raises(DeixisError, match=message):
        drafted(folder, tmp_path / "captions.csv", model=f"runs/{name}", method=name)
    rows, _ = drafted(folder, tmp_path / "captions.csv", model=f"runs/{name}", method="run")
    assert rows[0]["draft"].startswith("mostly ")


def test_what_can_not_caption_is_told_which_methods_can(monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(monkeypatch, zoo.load("tiny"))
    monkeypatch.setattr(capable, "list_methods", lambda: ["clip", "prefix"])  # reading all takes a while
    with pytest.raises(DeixisError) as alone:
        open_method("runs/tiny", "caption")
    with pytest.raises(DeixisError, match="neither describes pictures nor names classes") as drafting:
        of_model("runs/tiny", ())
    assert drafting.value.cure == alone.value.cure
    assert drafting.value.cure.startswith("It is offered by prefix. Get one: ")


def test_one_picture_and_a_bank_of_one_term_give_one_draft_of_unknown_worth(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.csv").write_text("lute\n", encoding="utf-8")
    folder = few(pictures, tmp_path, 1)
    rows, said = drafted(folder, tmp_path / "captions.csv", bank=str(tmp_path / "terms.csv"))
    assert [(row["draft"], row["sure"]) for row in rows] == [("lute", "")]
    assert "was not measured: no picture with a caption" in said


def test_the_model_of_label_orders_the_pictures_with_drafts_and_without(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    named: list[str] = []

    def load(name: str) -> Any:
        named.append(name)
        return zoo.load("tiny")

    monkeypatch.setattr(drafts, "load_encoder", load)
    data = table(tmp_path / "two.csv", few(pictures, tmp_path, 2), 1)
    found = deixis("label", data, "--drafts", "--model", "other-eyes", "--out", tmp_path / "labels.csv")
    assert found.code == 0, found.err
    assert named == ["other-eyes"]
    assert "1 draft, by copying the nearest caption" in found.out


def test_captions_and_labels_that_are_there_are_no_formulas_either(pictures: Path, tmp_path: Path) -> None:
    first, second = sorted(pictures.glob("*.png"))[:2]
    with open(tmp_path / "some.csv", "w", newline="") as out:
        csv.writer(out).writerows([("path", "caption", "label"), (first, "=SUM(A1)", "@home"), (second, "", "")])
    found = ordered_pictures(str(tmp_path / "some.csv"), zoo.load("tiny"), None, Reporter(quiet=True))
    drafts._write(tmp_path / "captions.csv", found._replace(order=[0, 1]), {1: CaptionDraft("-5 degrees")}, {})
    with open(tmp_path / "captions.csv", newline="") as file:
        rows = [(row["caption"], row["label"], row["draft"]) for row in csv.DictReader(file)]
    assert rows == [("'=SUM(A1)", "'@home", ""), ("", "", "'-5 degrees")]
    assert read(str(tmp_path / "captions.csv")).samples[0].words == ("=SUM(A1)",)


def test_the_chance_rises_with_the_score_and_is_never_certain() -> None:
    scores: list[float | None] = [float(each) for each in range(20)]
    measured = drafts._Measured(Nearest(torch.eye(2), {0: ""}), np.array([0.0] * 10 + [1.0] * 10), scores)
    low, high = (float(each) for each in drafts._sure(measured, [CaptionDraft("", 0.0), CaptionDraft("", 19.0)]))
    assert 0 < low < 0.2
    assert 0.8 < high < 1
    assert drafts._sure(None, [CaptionDraft("", 0.0)]) == [""]


def test_a_person_accepts_edits_or_leaves_drafts_and_sure_ones_are_taken_on_request(
    pictures: Path, tmp_path: Path
) -> None:
    first, second, third, fourth = sorted(pictures.glob("*.png"))[:4]
    rows = [
        (first, "a red apple", "a red apple", "0.9"),
        (second, "a leaf", "a tree", "0.9"),
        (third, "", "the sea", "0.9"),
        (fourth, "", "'=the sun", "0.5"),
    ]
    with open(tmp_path / "captions.csv", "w", newline="") as out:
        csv.writer(out).writerows([("path", "caption", "draft", "sure"), *rows])
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reporter, "say", lambda self, text: said.append(text))
        plain, sure, all_ = (
            read_accepted(str(tmp_path / "captions.csv"), None, accept, Reporter(quiet=True))
            for accept in (0.0, 0.8, 0.1)
        )
    captions = [[" ".join(each.captions) for each in source.samples] for source in (plain, sure, all_)]
    assert captions[0] == ["a red apple", "a leaf", "", ""]
    assert captions[1] == ["a red apple", "a leaf", "the sea", ""]
    assert captions[2] == ["a red apple", "a leaf", "the sea", "=the sun"]
    assert said[0] == "4 drafts: 1 accepted, 1 edited, 2 untouched."
    assert "1 of these are taken" in said[1]
    with pytest.raises(DeixisError, match="from 0 to 1"):
        read_accepted(str(tmp_path / "captions.csv"), None, 2.0, Reporter(quiet=True))


def test_terms_come_from_their_column_or_from_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,Term\n1,lute\n2,lute\n3,\n4,shawm\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("lute,1\nshawm,2\n", encoding="utf-8")
    assert read_bank(str(tmp_path / "a.csv")) == read_bank(str(tmp_path / "b.csv")) == ["lute", "shawm"]
    (tmp_path / "c.csv").write_text("term\n\n", encoding="utf-8")
    with pytest.raises(DeixisError, match="no terms"):
        read_bank(str(tmp_path / "c.csv"))
