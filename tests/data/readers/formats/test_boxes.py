"""Tables of boxes: their forms say the same, and a row that can't be right is left out by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from deixis.data.readers.columns import Columns
from deixis.data.readers.recognise import recognise
from deixis.types import Source

FORMS = {
    "corners in pixels": "image,phrase,x0,y0,x1,y1\na.png,a dog,20,10,60,40\na.png,two cats,0,0,40,50\n",
    "other names": "file;expression;xmin;ymin;xmax;ymax\na.png;a dog;20;10;60;40\na.png;two cats;0;0;40;50\n",
    "corner and size": "image,phrase,x,y,w,h\na.png,a dog,20,10,40,30\na.png,two cats,0,0,40,50\n",
    "one column": 'image,phrase,bbox\na.png,a dog,"[20, 10, 40, 30]"\na.png,two cats,0 0 40 50\n',
    "from 0 to 1": "image,phrase,x0,y0,x1,y1\na.png,a dog,0.25,0.2,0.75,0.8\na.png,two cats,0,0,0.5,1\n",
}


def read(folder: Path, text: str, name: str = "boxes.csv") -> Source:
    Image.new("RGB", (80, 50), "orange").save(folder / "a.png")
    (folder / name).write_text(text, encoding="utf-8")
    return recognise(folder / name, Columns())


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_all_forms_of_boxes_say_the_same(tmp_path: Path, text: str) -> None:
    source = read(tmp_path, text)
    [sample] = source.samples
    assert [(each.box, each.phrases[0].text) for each in sample.regions] == [
        ((0.25, 0.2, 0.75, 0.8), "a dog"),
        ((0.0, 0.0, 0.5, 1.0), "two cats"),
    ]
    assert (sample.id, source.skipped, sample.captions) == ("a.png", (), ())
    assert source.layout == "csv of boxes"


def test_rows_with_one_phrase_are_all_named_by_it_and_other_columns_are_attributes(tmp_path: Path) -> None:
    rows = ["a.png,two cats,cat,0,0,9,9,0.5,test", "a.png,two cats,,20,20,9,9,,test"]
    source = read(tmp_path, "\n".join(["image,phrase,label,x,y,w,h,score,split", *rows]))
    [sample] = source.samples
    assert [each.phrases[0].text for each in sample.regions] == ["two cats", "two cats"]
    assert [each.category for each in sample.regions] == ["cat", ""]
    assert (sample.split, sample.regions[0].attributes["score"]) == ("test", "0.5")


def test_boxes_lie_on_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    Image.new("RGB", (40, 100)).save(tmp_path / "turned.jpg", exif=exif)
    source = read(tmp_path, "image,phrase,x,y,w,h\nturned.jpg,a dog,50,10,25,20\n")
    assert source.samples[0].regions[0].box == (0.5, 0.25, 0.75, 0.75)


def test_rows_in_another_unit_than_most_are_left_out_by_name(tmp_path: Path) -> None:
    pixels = ["a.png,dog,20,10,60,40", "a.png,cat,0,0,40,50", "a.png,cow,0.1,0.1,0.5,0.5"]
    source = read(tmp_path, "\n".join(["image,phrase,x0,y0,x1,y1", *pixels]))
    assert [(each.reason, each.detail) for each in source.skipped] == [
        ("box is in another unit", "line 4: 0.1 0.1 0.5 0.5 are shares")
    ]
    assert len(source.samples[0].regions) == 2
    shares = ["a.png,dog,0.2,0.1,0.6,0.4", "a.png,cat,0,0,0.5,1", "a.png,cow,10,10,40,50"]
    source = read(tmp_path, "\n".join(["image,phrase,x0,y0,x1,y1", *shares]))
    assert [each.detail for each in source.skipped] == ["line 4: 10 10 40 50 are pixels"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.png,dog,60,10,20,40", "box has no area"),
        ("a.png,dog,20,10,20,40", "box has no area"),
        ("a.png,dog,nan,10,20,40", "box is not four numbers"),
        ("a.png,dog,,10,20,40", "box is not four numbers"),
        ("b.png,dog,10,10,20,40", "file not found"),
        (",dog,10,10,20,40", "path is empty"),
        ("notes.png,dog,10,10,20,40", "image has no width and height"),
    ],
)
def test_a_row_that_cannot_be_right_is_counted_and_the_others_stay(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    source = read(tmp_path, f"image,phrase,x0,y0,x1,y1\na.png,cat,0,0,40,50\n{row}\n")
    assert [each.reason for each in source.skipped] == [reason]
    assert [len(sample.regions) for sample in source.samples if sample.id == "a.png"] == [1]


def test_a_table_without_phrases_is_read_as_before(tmp_path: Path) -> None:
    source = read(tmp_path, "image,label,x,y,w,h\na.png,dog,1,2,3,4\n")
    assert (source.layout, source.samples[0].label, source.samples[0].extra["h"]) == ("csv", "dog", "4")
