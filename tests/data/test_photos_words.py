"""Words on photographs: what was typed in, boxes out of masks, and pictures that are missing or have changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deixis.data import catalogue
from deixis.data.datasets import photos_words
from deixis.data.datasets.photos_words import CutWord, word_boxes
from deixis.data.datasets.sources import cache
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash, write_json
from deixis.inputs.images import load_image
from deixis.ops.text.spelling import plain_word

ROWS = photos_words._rows()


def test_each_word_that_was_typed_in_has_letters_and_a_box_on_a_sign() -> None:
    assert len(ROWS) == len({row["picture"] for row in ROWS})
    assert sum(len(row["words"]) for row in ROWS) >= 40
    for row in ROWS:
        assert all(plain_word(word) and len(word.split()) == 1 for word in (*row["words"], *row.get("others", ())))
        boxes = row.get("boxes", ())
        assert len(boxes) in (0, len(row["words"]))
        assert all(0 <= x0 < x1 and 0 <= y0 < y1 for x0, y0, x1, y1 in boxes)


def test_the_widest_gaps_of_a_mask_part_its_words() -> None:
    mask = np.zeros((8, 30), bool)
    for left, right in ((2, 5), (6, 8), (12, 14), (15, 18), (24, 26)):  # letters: two, two, one
        mask[3:6, left:right] = True
    assert word_boxes(mask, 3) == [(2, 3, 8, 6), (12, 3, 18, 6), (24, 3, 26, 6)]
    assert word_boxes(mask, 1) == [(2, 3, 26, 6)]
    for wrong, count in ((mask, 6), (np.zeros_like(mask), 1)):
        with pytest.raises(ValueError, match="can't be of"):
            word_boxes(wrong, count)


def put(*names: str) -> Path:
    """The set of photographs in the cache, with grey pictures of these names; masks show two letters."""
    folder = cache_dir("sets", "photos")
    for name in names:
        picture = Image.new("RGB", (40, 20), (len(name), 9, 9))
        if name.endswith("_mask.png"):
            picture = Image.new("1", (40, 20))
            for left in (10, 25):
                picture.paste(1, (left, 5, left + 5, 15))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    write_json(folder / cache.MARKER, {"name": "photos"})
    return folder


def test_words_are_cut_out_and_missing_and_exchanged_pictures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeixisError, match="deixis data get photos"):
        catalogue.read("photos-words")
    names = ("text/sign.png", "text/two.png", "text/cut.png", "text/other.png", "text/gone.png")
    folder = put(*names[:4], "text/two_mask.png")
    rows: list[dict[str, Any]] = [
        {"picture": name, "sha256": content_hash(folder / name)[:16], "words": words}
        for name, words in zip(names[:4], (["STOP"], ["A", "B"], ["tea"], ["x"]), strict=True)
    ]
    rows[0]["boxes"], rows[3]["sha256"] = [[4, 2, 24, 12]], "0" * 16
    rows.append({"picture": names[4], "sha256": "", "words": ["y"]})
    monkeypatch.setattr(photos_words, "_rows", lambda: rows)
    source = catalogue.read("photos-words")
    assert [(each.captions[0], each.extra["kind"], load_image(each.picture).shape[1:]) for each in source.samples] == [
        ("STOP", "sign", (10, 20)),
        ("A", "mask", (14, 9)),  # grown by a share of the height
        ("B", "mask", (14, 9)),
        ("tea", "cut", (20, 40)),
    ]
    cut = source.samples[1].picture
    assert isinstance(cut, CutWord)
    assert cut.box == (8, 3, 17, 17)
    assert cut.name.endswith("two.png at 8,3")
    assert [(each.path, each.reason) for each in source.skipped] == [
        (names[3], "another picture"),
        (names[4], "no picture"),
    ]
    assert source.notes == ("2 pictures of the set photos are missing or have changed.",)


@pytest.mark.slow
def test_the_pictures_are_those_that_the_words_were_typed_in_from(fetched: Callable[[str], Path]) -> None:
    fetched("photos")
    source = catalogue.read("photos-words")
    assert not source.skipped
    assert len(source.samples) == sum(len(row["words"]) for row in ROWS)
    assert {each.extra["kind"] for each in source.samples} == {"sign", "mask", "cut"}
    for one, other in itertools.pairwise(source.samples):  # words of a line come from left to right
        if one.groups == other.groups and one.extra["kind"] == "mask":
            assert isinstance(one.picture, CutWord)
            assert isinstance(other.picture, CutWord)
            assert one.picture.box[0] < other.picture.box[0]
