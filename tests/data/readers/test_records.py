"""A sample as JSON and back: what JSON has no form for, and what has not the form of a sample."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.data.readers.captions import MAX_CAPTION, Tally
from deixis.data.readers.records import VERSION, from_record, plain_sample, to_record
from deixis.types.samples import Member, Region, Sample


def back(record: dict[str, Any], tally: Tally | None = None) -> Sample:
    """What is read of a record that has been through a file."""
    return from_record(json.loads(json.dumps(record)), tally or Tally())


def test_what_is_empty_takes_no_room() -> None:
    assert to_record(Sample("a", None), None) == {"deixis": 1, "id": "a", "image": None}
    assert back(to_record(Sample("a", None, label=""), "jpg")) == Sample("a", None, label="")


def test_values_that_json_does_not_know_become_what_it_knows() -> None:
    values = {"a": np.float32(0.5), "b": (1, 2), "c": Path("x"), "d": math.nan, "e": {3: b"x"}, "f": np.int64(4)}
    sample = back(to_record(Sample("a", None, extra={**values, "file": Member(Path("x"), "y", 0, 1)}), None))
    assert sample.extra == {"a": 0.5, "b": [1, 2], "c": "x", "d": None, "e": {"3": "b'x'"}, "f": 4}


def test_a_box_of_whole_numbers_is_one_of_floats_again() -> None:
    [region] = back({"deixis": 1, "regions": [{"box": [0, 0, 1, 1]}]}).regions
    assert region == Region((0.0, 0.0, 1.0, 1.0))
    assert all(type(side) is float for side in region.box)


@pytest.mark.parametrize(("first", "kept"), [("a\0 dog", "a dog"), ("a" * (MAX_CAPTION + 1), "a" * MAX_CAPTION)])
def test_a_caption_that_had_to_be_mended_loses_its_places_of_words(first: str, kept: str) -> None:
    tally = Tally()
    record = {
        "deixis": 1,
        "id": "x",
        "captions": [first, "b\n "],
        "regions": [{"box": [0, 0, 1, 1], "spans": [[0, 1]]}],
    }
    sample = back(record, tally)
    assert sample.captions == (kept, "b\n ")
    assert sample.regions[0].spans == ()
    [note] = tally.notes()
    assert note.endswith("first of x.")
    assert back({**record, "captions": ["b\n ", first]}).regions[0].spans == ((0, 1),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deixis": 2},
        {"deixis": "1"},
        {"captions": "one"},
        {"captions": [1]},
        {"captions": ["\ud800"]},
        {"label": 3},
        {"id": None},
        {"groups": {}},
        {"extra": []},
        {"split": 1},
        {"regions": [1]},
        {"regions": [{}]},
        {"regions": [{"box": [0, 0, 1]}]},
        {"regions": [{"box": [0, 0, 1, math.nan]}]},
        {"regions": [{"box": [0, 0, 1, 10**400]}]},
        {"regions": [{"box": [0, 0, 1, True]}]},
        {"regions": [{"box": [0, 0, 1, 1], "spans": [[1]]}]},
        {"regions": [{"box": [0, 0, 1, 1], "spans": [[-1, 2]]}]},
        {"regions": [{"box": [0, 0, 1, 1], "mask": 5}]},
        {"regions": [{"box": [0, 0, 1, 1], "mask": {"width": 2, "height": 2, "counts": [4.5]}}]},
        {"regions": [{"box": [0, 0, 1, 1], "mask": {"width": 10**6, "height": 10**6, "counts": [10**12]}}]},
        {"regions": [{"box": [0, 0, 1, 1], "phrases": [{"text": "a", "relates": [1]}]}]},
        {"questions": [{"question": "a", "answer": 3}]},
        {"questions": [{"question": "a", "answer": "b", "regions": [0]}]},
    ],
)
def test_a_record_of_a_wrong_form_is_refused(wrong: dict[str, Any]) -> None:
    right = {"deixis": 1, "id": "x", "captions": ["a"]}
    assert back(right).captions == ("a",)
    with pytest.raises(ValueError, match=r"is no |is understood|a region"):
        back({**right, **wrong})


def test_plain_samples_hold_once_what_they_have_in_common() -> None:
    """Of a million samples each byte is a megabyte: labels, groups and what is empty are shared, nothing has a dict."""

    def made(number: int) -> Sample:
        words = {"label": "a bird", "groups": ["name:bird"], "split": "train"}
        record = json.loads(json.dumps({"deixis": VERSION, "id": f"{number}", "image": "jpg", **words}))
        sample = plain_sample(record, "shard", "", Member(Path("a.tar"), f"{number}.jpg", number, 9), "")
        assert sample is not None
        return sample

    first, second = made(1), made(2)
    assert (id(first.label), id(first.split)) == (id(second.label), id(second.split))
    assert first.groups[0] is second.groups[0]
    assert first.extra is second.extra
    assert not any(hasattr(each, "__dict__") for each in (first, first.image))
    assert pickle.loads(pickle.dumps(first)) == first == dataclasses.replace(second, id=first.id, image=first.image)
