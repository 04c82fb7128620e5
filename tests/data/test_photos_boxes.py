"""The boxes drawn on photographs: what they promise, and pictures that are missing or have changed."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.apps.data.data import run
from deixis.data import catalogue
from deixis.data.datasets import gcompris, photos, photos_boxes
from deixis.data.datasets.sources import cache
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash, write_json
from tests.registries import pixels

ROWS = photos_boxes._rows()


def put(set_name: str, *names: str) -> Path:
    """A set in the cache with pictures of these names."""
    folder = cache_dir("sets", set_name)
    for name in names:
        pixels(folder / name)
    write_json(folder / cache.MARKER, {"name": set_name})
    return folder


def test_there_are_as_many_pictures_phrases_and_absent_things_as_the_measure_needs() -> None:
    assert len(ROWS) == len({(row["set"], row["picture"]) for row in ROWS}) >= 40
    assert sum(len(row["phrases"]) for row in ROWS) >= 100
    assert sum(len(row["absent"]) for row in ROWS) >= 30
    count = collections.Counter(row["split"] for row in ROWS)
    assert 0.25 < count["val"] / (count["val"] + count["test"]) < 0.4
    blind = [row for row in ROWS if row["split"] == "blind"]
    assert len(blind) >= 15
    assert sum(len(row["phrases"]) for row in blind) >= 40
    assert sum(len(row["absent"]) for row in blind) >= 15


def test_every_phrase_names_boxes_that_lie_inside_the_picture() -> None:
    for row in ROWS:
        places = set(range(len(row["boxes"])))
        assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for _, x0, y0, x1, y1 in row["boxes"])
        assert all(some and set(some) <= places for _, *groups in row["phrases"] for some in groups)
        texts = [text for text, *_ in row["phrases"]]
        assert len(set(texts)) == len(texts)


def test_what_is_absent_is_no_thing_that_a_box_is_of() -> None:
    for row in ROWS:
        heads = {word for text, *_ in row["phrases"] for word in text.split()} | {box[0] for box in row["boxes"]}
        assert not [text for text in row["absent"] if text.split()[-1] in heads]


def test_no_kind_of_thing_is_both_chosen_by_and_measured_on() -> None:
    kinds = {side: {box[0] for row in ROWS if row["split"] == side for box in row["boxes"]} for side in ("val", "test")}
    assert not kinds["val"] & kinds["test"]


def test_missing_and_exchanged_pictures_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put("photos", "a.png", "b.png")
    sha256 = content_hash(cache_dir("sets", "photos") / "a.png")[:16]
    both = {"boxes": [["dog", 0.0, 0.0, 0.5, 1.0], ["dog", 0.5, 0.0, 1.0, 1.0]], "absent": ["a cat"], "sha256": sha256}
    phrases = [["two dogs", [0, 1]], ["the dog left of the other dog", [0], [1]]]
    names = (("photos", "a.png", "val"), ("photos", "b.png", "test"), ("gcompris", "c.webp", "test"))
    rows = [{**both, "phrases": phrases, "set": s, "picture": p, "split": side} for s, p, side in names]
    rows[1]["sha256"] = "0" * 16
    monkeypatch.setattr(photos_boxes, "_rows", lambda: rows)

    source = catalogue.read("photos-boxes")
    (sample,) = source.samples
    assert (sample.id, sample.split, sample.extra["absent"]) == ("photos/a.png", "val", ("a cat",))
    assert [[(p.text, p.relates) for p in region.phrases] for region in sample.regions] == [
        [("two dogs", ()), ("the dog left of the other dog", (1,))],
        [("two dogs", ())],
    ]
    assert [(each.path, each.reason) for each in source.skipped] == [
        ("photos/b.png", "another picture"),
        ("gcompris/c.webp", "no picture"),
    ]
    assert source.notes == (
        "2 phrases, and 1 for what is not there.",
        "1 pictures of the set photos are missing or have changed.",
        "1 pictures of the set gcompris are missing or have changed.",
    )
    assert [each.id for each in catalogue.read("photos-boxes/val").samples] == ["photos/a.png"]
    rows[0]["split"] = "blind"
    assert [each.id for each in catalogue.read("photos-boxes/blind").samples] == ["photos/a.png"]
    with pytest.raises(DeixisError, match="is empty"):  # comes only where it is named
        catalogue.read("photos-boxes")
    with pytest.raises(DeixisError, match="is empty"):
        catalogue.read("photos-boxes/test")


def test_getting_the_boxes_brings_the_pictures_of_both_sets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, name in ((photos, "photos"), (gcompris, "gcompris")):
        monkeypatch.setattr(module, "fetch", lambda say, name=name: put(name))
    run("get", "photos-boxes")
    assert all(map(cache.finished, ("photos", "gcompris", "photos-boxes")))
    run("list")
    row = next(line for line in capsys.readouterr().out.splitlines() if "photos-boxes" in line and "apt" in line)
    assert "here" in row


@pytest.mark.slow
def test_the_pictures_are_those_that_the_boxes_were_drawn_on(fetched: Callable[[str], Path]) -> None:
    fetched("photos-boxes")
    sources = [catalogue.read(f"photos-boxes/{part}") for part in photos_boxes.DATASET.parts]
    assert (sum(len(each.samples) for each in sources), [*map(len, (s.skipped for s in sources))]) == (
        len(ROWS),
        [0] * 3,
    )
