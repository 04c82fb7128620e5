"""What has to change in an index: by where pictures lie and what they hold, nothing more and nothing less."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.apps.index.index_diff import Changed, IndexDiff, Item, index_diff, items_of, matching_ids
from deixis.errors import DeixisError
from deixis.types import Member, Sample, Skipped, Source


def source(root: Path, names: Sequence[str], *skipped: str, **extra: Any) -> Source:
    samples = tuple(Sample(name, root / name, extra=extra) for name in names)
    left_out = tuple(Skipped(name, "truncated") for name in skipped)
    return Source(root.name, root, "images", "folder", samples, skipped=left_out)


def listed(root: Path, contents: dict[str, str]) -> list[Item]:
    """Items of files with these contents, which lie there."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return items_of(source(root, list(contents)), list(contents.values()))


def planned(old: list[Item], root: Path, new: dict[str, str], *skipped: str, remove_gone: bool = True) -> IndexDiff:
    items = listed(root, new)
    return index_diff(old, items, source(root, list(new), *skipped), remove_gone=remove_gone)


def applied(old: list[Item], change: IndexDiff) -> dict[str, str]:
    """Id -> content of the index afterwards; that ids stay unique is what the index itself asks for."""
    out = list(change.removed)
    assert len(set(out)) == len(out)
    assert set(out) <= {each["id"] for each in old}
    after = [each for each in old if each["id"] not in out] + list(change.items)
    assert len({each["id"] for each in after}) == len(after)
    return {each["id"]: each["hash"] for each in after}


def test_what_stayed_is_left_alone_and_the_rest_is_sorted_by_what_happened_to_it(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    old = listed(root, {"same": "1", "edited": "2", "old name": "3", "gone": "4"})
    for name in ("old name", "gone"):
        (root / name).unlink()
    change = planned(old, root, {"same": "1", "edited": "2b", "sub/new name": "3", "new": "5"})
    assert change.changed == Changed(("new",), ("edited",), ("sub/new name",), ("gone",), kept=1)
    assert applied(old, change) == {"same": "1", "edited": "2b", "sub/new name": "3", "new": "5"}
    assert change.changed.sentence == "1 added, 1 changed, 1 moved, 1 removed; 1 kept, 0 skipped."


def test_adding_removes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    old = listed(root, {"same": "1", "edited": "2", "old name": "3", "gone": "4"})
    for name in ("old name", "gone"):
        (root / name).unlink()
    change = planned(old, root, {"same": "1", "edited": "2b", "new name": "3"}, remove_gone=False)
    assert change.changed == Changed(("new name",), ("edited",), kept=1)
    assert applied(old, change).keys() == {"same", "edited", "old name", "gone", "new name"}


def test_a_picture_that_cannot_be_read_just_now_stays_as_it_was(tmp_path: Path) -> None:
    """A disk may fail for a moment; what has really gone is no longer there at all."""
    root = tmp_path / "photos"
    old = listed(root, {"good": "1", "locked": "2", "gone": "3"})
    (root / "gone").unlink()
    change = planned(old, root, {"good": "1"}, "locked", "gone")
    assert change.changed.removed == ("gone",)
    assert applied(old, change) == {"good": "1", "locked": "2"}


def test_copies_are_moved_one_by_one(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    old = listed(root, {"a": "same", "b": "same", "c": "same"})
    for name in "ab":
        (root / name).unlink()
    change = planned(old, root, {"c": "same", "x": "same", "y": "same", "z": "same"})
    assert (change.changed.moved, change.changed.added, change.changed.removed) == (("x", "y"), ("z",), ())
    applied(old, change)


def test_two_pictures_that_swapped_names_have_both_changed(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    old = listed(root, {"a": "1", "b": "2"})
    change = planned(old, root, {"a": "2", "b": "1"})
    assert change.changed.changed == ("a", "b")
    assert applied(old, change) == {"a": "2", "b": "1"}


def test_words_and_columns_that_changed_are_written_again(tmp_path: Path) -> None:
    old = listed(tmp_path, {"a": "1", "b": "2"})
    now = source(tmp_path, ["a", "b"])
    words = [Sample("a", tmp_path / "a", captions=("a dog",)), now.samples[1]]
    now = Source("photos", tmp_path, "captions", "folder", tuple(words))
    change = index_diff(old, items_of(now, ["1", "2"]), now, remove_gone=False)
    assert (change.changed.changed, change.changed.kept) == (("a",), 1)
    assert change.items[0]["captions"] == ["a dog"]


# Several collections in one index


def test_a_second_collection_gets_ids_of_its_own_and_touches_nothing_of_the_first(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "more" / "one"
    old = listed(one, {"a": "1", "b": "2"})
    change = planned(old, two, {"a": "3", "c": "4"})
    assert applied(old, change) == {"a": "1", "b": "2", "one/a": "3", "c": "4"}
    assert (change.is_new, change.others) == (True, 2)
    both = [*old, *change.items]
    third = planned(both, tmp_path / "even more" / "one", {"a": "5"})
    assert third.changed.added == ("one-2/a",)
    (two / "a").unlink()
    less = planned(both, two, {"c": "4"})
    assert less.changed == Changed(removed=("one/a",), kept=1)
    assert (less.is_new, less.others) == (False, 2)


def test_a_folder_inside_the_collection_is_the_same_pictures(tmp_path: Path) -> None:
    old = listed(tmp_path, {"a": "1", "sub/b": "2", "sub/c": "3"})
    (tmp_path / "sub" / "c").unlink()
    change = planned(old, tmp_path / "sub", {"b": "2"})
    assert change.changed == Changed(removed=("sub/c",), kept=1)


def test_a_collection_that_was_moved_as_a_whole_keeps_its_vectors_and_ids(tmp_path: Path) -> None:
    old = listed(tmp_path / "photos", {"a": "1", "b": "2"})
    (tmp_path / "photos").rename(tmp_path / "pictures")
    change = planned(old, tmp_path / "pictures", {"a": "1", "b": "2"})
    assert change.changed == Changed(moved=("a", "b"))
    assert applied(old, change) == {"a": "1", "b": "2"}


def test_what_lies_in_an_archive_is_not_taken_for_gone(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("pictures")
    packed = Source("a", tmp_path / "a.tar", "images", "shards", (Sample("x", Member(tmp_path / "a.tar", "x", 0, 1)),))
    old = items_of(packed, ["1"])
    change = planned(old, tmp_path / "photos", {"x": "1"})
    assert (change.changed.added, change.removed) == (("photos/x",), ())


def test_items_of_an_index_from_before_there_were_hashes_are_taken_up(tmp_path: Path) -> None:
    old = [{"id": "a", "path": str(tmp_path / "a"), "captions": [], "label": None}]
    change = planned(old, tmp_path, {"a": "1"})
    assert change.changed.changed == ("a",)
    applied(old, change)


# What is kept of a sample


def test_columns_come_along_as_far_as_they_are_numbers_and_words(tmp_path: Path) -> None:
    day = datetime.date(2024, 5, 1)
    extra = {"year": np.int64(2020), "day": day, "tags": ("red", "bird"), "photo": True, "id": 7, "nan": float("nan")}
    extra |= {"none": None, "file": Member(tmp_path / "a.tar", "x", 0, 1), "weight": np.float32(0.5)}
    [item] = items_of(source(tmp_path, ["a"], **extra), ["1"])
    assert item.pop("root") == str(tmp_path)
    assert item == {
        "year": 2020, "day": "2024-05-01", "tags": ["red", "bird"], "photo": True, "id_": 7, "weight": 0.5,
        "id": "a", "path": str(tmp_path / "a"), "captions": [], "label": None, "hash": "1",
    }  # fmt: skip


# Names


def test_things_are_named_by_id_by_path_and_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = listed(tmp_path / "photos", {"a.png": "1", "sub/b.png": "2", "sub/c.png": "3", "subway.png": "4"})
    monkeypatch.chdir(tmp_path)
    assert matching_ids(items, ["a.png"]) == ["a.png"]
    assert matching_ids(items, ["photos/sub", tmp_path / "photos" / "a.png", "sub/b.png"]) == [
        "sub/b.png",
        "sub/c.png",
        "a.png",
    ]
    with pytest.raises(DeixisError, match=r"path subwy\.png.*Did you mean: subway\.png"):
        matching_ids(items, ["a.png", "subwy.png"])
    with pytest.raises(DeixisError, match="Give ids or paths as `deixis search` prints them"):
        matching_ids(items, ["quite something else"])
