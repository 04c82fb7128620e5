"""`deixis caption --sentences` says what boxes say, and `deixis train --sentences` reads it as further captions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis import zoo
from deixis.apps.caption import sentences
from deixis.apps.caption.command import run
from deixis.apps.caption.sentences import rephrased, sentences_of
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.dataset import read
from deixis.apps.common.options import Reading
from deixis.apps.predict.settings import PredictOutput
from deixis.apps.train.captions import with_sentences
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import prepare
from deixis.errors import DeixisError
from deixis.nn.language.generation import GeneratedText
from deixis.types import Phrase, Region

NOUNS = "dog cat bus cup hat key map nut owl pen rug tie van zip".split()


def thing(name: str, x: float, y: float, side: float = 0.2, **attributes: Any) -> Region:
    return Region((x, y, x + side, y + side), name, attributes=attributes)


def write(data: Path, out: Path, **more: Any) -> None:
    run(str(data), CaptionSettings(), PredictOutput(str(out), quiet=True), Reading(), sentences=True, **more)


@pytest.fixture
def boxed(tmp_path: Path) -> Path:
    """Pictures with boxes: the last has none."""
    for number in range(14):
        Image.new("RGB", (40, 40), (15 * number, 90, 200)).save(tmp_path / f"{number}.png")
    boxes = [
        {"id": n + 1, "image_id": n // 2, "category_id": 1 + n % 2 * (1 + n // 2), "bbox": [2 + n, 4, 10, 10 + n]}
        for n in range(26)
    ]
    found = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 40} for n in range(14)],
        "annotations": boxes,
        "categories": [{"id": n + 1, "name": noun} for n, noun in enumerate(NOUNS)],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    return tmp_path


def test_number_place_colour_and_relation_of_named_things_are_said() -> None:
    regions = [thing("dog", 0.05, 0.4, 0.3), thing("Dog", 0.7, 0.05), thing("cat", 0.7, 0.75, colour="black")]
    said = sentences_of(regions, "a")
    assert said[0] == "There are two dogs and a cat."
    assert "The black cat is at the bottom right." in said
    assert {"One of the dogs is on the left.", "One of the dogs is at the top right."} <= set(said)
    phrased = Region((0.4, 0.4, 0.6, 0.6), phrases=(Phrase("the red kettle"),))
    unsure = sentences_of(regions, "a", numbers=False)
    assert [" ".join(text.replace("two ", "").split()) for text in said] == unsure, "a detector misses some of several"
    assert sentences_of([phrased], "a") == ["There is a red kettle.", "The red kettle is in the middle."]
    assert sentences_of([Region((0.0, 0.0, 1.0, 1.0))], "a") == [], "what has no name is not spoken of"
    assert sentences_of(regions, "a") == said, "a picture is described in one way"


def test_the_csv_gives_each_picture_its_sentences_and_training_reads_them(boxed: Path) -> None:
    out = boxed / "sentences.csv"
    write(boxed / "boxes.json", out)
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert {Path(row["path"]).name for row in rows} == {f"{n}.png" for n in range(13)}
    source = with_sentences(read(str(boxed / "boxes.json")), str(out))
    assert len(source.samples[0].captions) == sum(Path(row["path"]).name == "0.png" for row in rows)
    assert any("1 picture of 14 have no sentence" in note for note in source.notes)
    settings = TrainSettings(config="tiny", steps=2, batch_size=4, held_out=0.4, sentences=str(out))
    job = prepare("dreamlip", source, settings)
    assert job.held is not None, "a sentence that many pictures have makes them no one concept"
    assert 1 < len(job.held.samples) < 9
    with pytest.raises(DeixisError, match="already"):
        write(boxed / "boxes.json", out)
    (boxed / "other").mkdir()
    Image.new("RGB", (9, 9)).save(boxed / "other" / "x.png")
    with pytest.raises(DeixisError, match="no sentence for any"):
        with_sentences(read(str(boxed / "other")), str(out))


def test_what_is_detected_is_described_and_pictures_without_boxes_need_that(boxed: Path) -> None:
    (boxed / "boxes.json").unlink()
    out = boxed / "found.csv"
    with pytest.raises(DeixisError, match="--proposals"):
        write(boxed, out)
    assert not out.exists()
    with pytest.raises(DeixisError, match="no csv"):
        write(boxed, boxed / "found")
    with pytest.raises(DeixisError, match="Add --sentences"):
        run(str(boxed), proposals="tiny")


@pytest.mark.parametrize(("name", "said"), [("bus", "The red bus"), ("person", "The person"), ("Woman", "The woman")])
def test_of_people_no_colour_is_said(name: str, said: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), (250, 250, 250))
    picture.paste((205, 30, 40), (5, 5, 15, 15))
    picture.save(tmp_path / "a.png")
    found = {
        "images": [{"id": 0, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [5, 5, 10, 10]}],
        "categories": [{"id": 1, "name": name}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    write(tmp_path / "boxes.json", tmp_path / "out.csv")
    assert f"{said} is at the top left." in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_a_colour_is_said_where_it_fills_a_box_and_not_what_lies_around(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), (250, 250, 250))
    picture.paste((205, 30, 40), (5, 5, 15, 15))
    picture.paste((205, 30, 40), (25, 30, 35, 31))
    picture.save(tmp_path / "a.png")
    boxes = [
        {"id": n, "image_id": 0, "category_id": n, "bbox": [5 + 20 * (n - 1), (5, 25)[n - 1], 10, 10]} for n in (1, 2)
    ]
    found = {
        "images": [{"id": 0, "file_name": "a.png", "width": 40, "height": 40}],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "bus"}, {"id": 2, "name": "pen"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    write(tmp_path / "boxes.json", tmp_path / "out.csv")
    said = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert "The red bus is at the top left." in said
    assert "The pen is at the bottom right." in said, "the ground fills the box of a thin thing"


def test_other_words_are_taken_only_where_they_name_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = zoo.load_part("lm", "tiny")
    says = ["On the left there is a dog.", "A big dog is on the left.", "..."]
    monkeypatch.setattr(sentences, "generate", lambda *_: [GeneratedText(says.pop(0), (), 0.0)])
    old = ["The dog is on the left."] * 3
    assert rephrased(writer, old) == ["On the left there is a dog.", old[1], old[2]]
