"""An index folder: what is built is opened as it was, and whatever is wrong with it is told by name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes, folder, segments
from deixis.indexing.changes import build
from deixis.indexing.index import Index
from tests.indexes import made, named, random
from tests.support import few


def test_what_was_built_is_opened_with_its_items_and_a_memory_map(tmp_path: Path) -> None:
    built = made(tmp_path / "run" / "index", random(5, 3))
    index = Index.open(tmp_path / "run" / "index", verify=True)
    assert isinstance(index.vectors, np.memmap)
    assert len(index) == len(built) == index.rows == 5
    np.testing.assert_array_equal(index.vectors, built.vectors)
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(index.vector(3), index.vectors[3])
    assert index.item(3) == {"id": "image-3", "path": "3.png", "captions": ["number 3"]}
    assert {key: index.manifest[key] for key in ("format", "model", "count", "width", "dtype")} == {
        "format": 2,
        "model": "starter",
        "count": 5,
        "width": 3,
        "dtype": "float32",
    }


def test_in_float16_it_takes_half_the_space_and_is_searched_all_the_same(tmp_path: Path) -> None:
    vectors = random(200, 64)
    whole, half = (made(tmp_path / dtype, vectors, dtype=dtype) for dtype in ("float32", "float16"))
    sizes = [(each.folder / "vectors.npy").stat().st_size - 128 for each in (whole, half)]
    assert sizes == [200 * 64 * 4, 200 * 64 * 2]
    assert half.vectors.dtype == np.float16
    assert half.vector(0).dtype == np.float32
    assert half.search(vectors[:50], k=1).rows[:, 0].tolist() == list(range(50))
    with pytest.raises(DeixisError, match=r"'int4'.*float32 or float16, or scan them as int8"):
        made(tmp_path / "int4", vectors, dtype="int4")


def test_a_row_is_found_by_its_id_and_nothing_else(tmp_path: Path) -> None:
    ids = ("b", "a", 'quo"te', "猫\\", "last")
    items = [*named(*ids[:-1], label="last", captions=["b", '"id": "a"']), {"label": "last", "id": "last"}]
    index = build(tmp_path / "index", random(5, 2), items, model="m", fingerprint="f")
    assert [index.row_of(id) for id in ids] == [0, 1, 2, 3, 4]
    for absent in ("label", "las", "a.png"):
        with pytest.raises(DeixisError, match=f"no item with the id '{absent}'"):
            index.row_of(absent)
    for row in (-1, 5):
        with pytest.raises(DeixisError, match=f"has no row {row}"):
            index.item(row)


def test_items_are_not_parsed_before_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "index" / "items.jsonl"
    made(tmp_path / "index", random(2, 3))
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(lines[0] + b"\n" + b"x" * len(lines[1]) + b"\n")
    index = Index.open(tmp_path / "index")
    assert index.search(random(1, 3)).rows.shape == (1, 2)
    assert index.item(0)["id"] == "image-0"
    with pytest.raises(DeixisError, match=r"items\.jsonl is damaged \(line 2"):
        index.item(1)


def test_vectors_are_written_in_pieces_and_bad_ones_named_by_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array(made(tmp_path / "whole", random(11, 4)).vectors)
    monkeypatch.setattr(changes, "ROWS", 4)
    np.testing.assert_array_equal(made(tmp_path / "pieces", random(11, 4)).vectors, whole)
    broken = random(11, 4)
    broken[9] = 0
    with pytest.raises(DeixisError, match="Vector 9 is all zeros"):
        made(tmp_path / "broken", broken)
    broken[6, 1] = np.nan
    with pytest.raises(DeixisError, match="Vector 6 holds NaN or infinity"):
        made(tmp_path / "broken", broken)


def test_odd_names_and_captions_come_back_as_they_were(tmp_path: Path) -> None:
    item = {"path": os.fsdecode(b"caf\xe9.png"), "captions": ["two\nlines \u2028 \x85 é 猫", ""], "label": None}
    index = build(tmp_path / "index", random(1, 2), [item], model="m", fingerprint="f")
    assert index.item(0) == item
    assert build(tmp_path / "other", random(1, 2), [{"path": Path("a/b")}], model="m", fingerprint="f").item(0) == {
        "path": "a/b"
    }


def test_a_failed_build_leaves_nothing_and_an_older_index_as_it_was(tmp_path: Path) -> None:
    old = np.array(made(tmp_path / "index", random(3, 2)).vectors)
    files = sorted(os.listdir(tmp_path / "index"))
    for name in ("index", "new"):
        with pytest.raises(TypeError):
            build(tmp_path / name, random(1, 2), [{"path": object()}], model="m", fingerprint="f")
        with pytest.raises(DeixisError):
            made(tmp_path / name, np.zeros((1, 2)))
    assert os.listdir(tmp_path) == ["index"]
    assert sorted(os.listdir(tmp_path / "index")) == files
    np.testing.assert_array_equal(Index.open(tmp_path / "index", verify=True).vectors, old)


def test_an_index_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    made(tmp_path / "index", random(3, 2))
    assert len(made(tmp_path / "index", random(7, 2))) == 7
    assert len(os.listdir(tmp_path / "index")) == 4
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.json").write_text("{}")
    (tmp_path / "photos" / "one.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(DeixisError, match="is no index, so it is not replaced"):
            made(tmp_path / name, random(3, 2))
    assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"mine"


def test_what_a_killed_build_left_is_no_index_and_is_cleaned_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    for name in ("lock", "vectors.npy", "items.jsonl", ".manifest.json.abcd_123.part"):
        (tmp_path / "index" / name).write_bytes(b"half")
    with pytest.raises(DeixisError, match="is no index"):
        Index.open(tmp_path / "index")
    assert len(made(tmp_path / "index", random(3, 2))) == 3
    assert len(os.listdir(tmp_path / "index")) == 4


def test_what_can_not_be_told_apart_is_not_indexed(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="nothing to index"):
        build(tmp_path / "index", random(0, 2), [], model="m", fingerprint="f")
    with pytest.raises(DeixisError, match="2 vectors were given for 1 items"):
        build(tmp_path / "index", random(2, 2), [{}], model="m", fingerprint="f")
    with pytest.raises(DeixisError, match="id 'a' was given twice"):
        build(tmp_path / "index", random(3, 2), named("a", "b", "a"), model="m", fingerprint="f")


def test_queries_of_another_model_are_refused(tmp_path: Path) -> None:
    index = made(tmp_path / "index", random(2, 3), fingerprint="a" * 64)
    index.expect("a" * 64)
    with pytest.raises(DeixisError, match=r"made by the model 'starter' \(aaaaaaaaaaaa\).*make the index again"):
        index.expect("b" * 64)


# damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with every kind of file: two segments, and removed rows in a file of their own."""
    place = tmp_path_factory.mktemp("whole") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL", 0)
        patch.setattr(changes, "LISTED", 0)
        made(place, random(9, 3))
        changes.change(place, vectors=random(3, 3, 1), items=named("new-0", "new-1", "new-2"), removed=["image-2"])
    return place


@pytest.fixture
def grown(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "index"))


FILES = ("vectors.npy", "vectors-2.npy", "items.jsonl", "items-2.jsonl", "removed-2.npy", "manifest.json")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_the_files_of_the_grown_index_are_those(grown: Path) -> None:
    assert sorted(os.listdir(grown)) == sorted([*FILES, "lock"])


@pytest.mark.parametrize("harm", few([cut, os.unlink, grow, empty, a_folder], cut, os.unlink))
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_the_cure_on_opening(grown: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(grown / name)
    gone = name == "manifest.json" and harm is os.unlink
    expected = r"is no index.*Make one" if gone else rf"{name} is damaged .*Make the index again"
    if name == "manifest.json" and harm is grow:
        return  # an empty line more says nothing else
    with pytest.raises(DeixisError, match=expected):
        Index.open(grown)


@pytest.mark.slow
@pytest.mark.parametrize("place", [-5, -20, 60, 130, 150])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_named_when_all_is_compared(grown: Path, name: str, place: int) -> None:
    data = bytearray((grown / name).read_bytes())
    place = min(place, len(data) - 1) if place > 0 else place
    data[place] ^= 1
    (grown / name).write_bytes(bytes(data))
    with pytest.raises(DeixisError, match=rf"{name} is damaged"):
        Index.open(grown, verify=True)


@pytest.mark.parametrize(("one", "other"), [("vectors.npy", "vectors-2.npy"), ("items.jsonl", "items-2.jsonl")])
def test_files_that_were_swapped_are_named(grown: Path, one: str, other: str) -> None:
    first, second = (grown / one).read_bytes(), (grown / other).read_bytes()
    (grown / one).write_bytes(second)
    (grown / other).write_bytes(first)
    with pytest.raises(DeixisError, match=rf"{one} is damaged"):
        Index.open(grown)


def test_segments_of_equal_size_that_were_swapped_are_named_when_all_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_kept", lambda counts, *rest: len(counts))
    made(tmp_path / "index", random(3, 2))
    changes.add(tmp_path / "index", random(3, 2, 1), named("a", "b", "c"))
    paths = [tmp_path / "index" / name for name in ("vectors.npy", "vectors-2.npy")]
    for path, data in zip(paths, [path.read_bytes() for path in reversed(paths)], strict=True):
        path.write_bytes(data)
    with pytest.raises(DeixisError, match=r"vectors(-2)?\.npy is damaged \(its contents have changed since"):
        Index.open(tmp_path / "index", verify=True)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("vectors.npy", np.ones((9, 4), np.float32)),
        ("vectors.npy", np.ones((9, 3))),
        ("vectors.npy", np.array([{}], dtype=object)),
        ("removed-2.npy", np.array([99])),
        ("removed-2.npy", np.array([2.0])),
        ("removed-2.npy", np.array([2, 3])),
    ],
)
def test_a_file_of_something_else_is_named_even_if_the_manifest_agrees(
    grown: Path, name: str, array: np.ndarray
) -> None:
    np.save(grown / name, array)
    told = {"bytes": (grown / name).stat().st_size, "sha256": ""}
    manifest = json.loads((grown / "manifest.json").read_text())
    folder.write_manifest(grown, manifest | {"files": manifest["files"] | {name: told}})
    with pytest.raises(DeixisError, match=rf"{name} is damaged"):
        Index.open(grown)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": None}, "width"),
        ({"count": -1}, "count"),
        ({"dtype": "int8"}, "dtype"),
        ({"segments": [{"count": 1}]}, "segments"),
        ({"segments": [{"count": 12, "vectors": "../vectors.npy", "items": "items.jsonl"}]}, "files"),
        ({"files": {}}, "files"),
        ({"removed": [12]}, "removed"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_damaged(grown: Path, change: dict[str, Any], said: str) -> None:
    folder.write_manifest(grown, json.loads((grown / "manifest.json").read_text()) | change)
    with pytest.raises(DeixisError, match=rf"manifest\.json is damaged \(bad or missing: .*{said}"):
        Index.open(grown)


def test_a_model_folder_that_edits_the_manifest_by_hand_is_noticed(grown: Path) -> None:
    path = grown / "manifest.json"
    path.write_text(path.read_text().replace('"starter"', '"another"'))
    with pytest.raises(DeixisError, match=r"manifest\.json is damaged \(its contents are not what was written"):
        Index.open(grown)


def test_damage_is_not_copied_into_a_new_segment(grown: Path) -> None:
    """The new segment's hash would hide it."""
    data = bytearray((grown / "vectors-2.npy").read_bytes())
    data[-1] ^= 1
    (grown / "vectors-2.npy").write_bytes(bytes(data))
    before = sorted(os.listdir(grown))
    with pytest.raises(DeixisError, match=r"vectors-2\.npy is damaged"):
        changes.add(grown, random(3, 3), named("x", "y", "z"))
    assert sorted(os.listdir(grown)) == before


# other formats


def of_format_1(place: Path, count: int = 4) -> Path:
    """An index as the first version of deixis wrote it."""
    place.mkdir()
    np.save(place / "vectors.npy", segments.unit(random(count, 3), "Vector"))
    (place / "items.jsonl").write_text(
        "".join(json.dumps({"path": "p", "id": f"old-{i}"}) + "\n" for i in range(count))
    )
    hashes = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("vectors.npy", "items.jsonl")}
    manifest = {"format": 1, "model": "m", "fingerprint": "f", "count": count, "width": 3, "sha256": hashes}
    (place / "manifest.json").write_text(json.dumps(manifest | {"created": "2026-01-01T00:00:00+00:00"}))
    return place


def test_an_index_of_format_1_is_read_and_becomes_format_2_with_the_first_change(tmp_path: Path) -> None:
    old = Index.open(of_format_1(tmp_path / "index"), verify=True)
    assert (len(old), old.manifest["format"], old.item(2)) == (4, 1, {"path": "p", "id": "old-2"})
    new = changes.change(tmp_path / "index", vectors=random(1, 3, 7), items=named("new"), removed=["old-1"])
    assert [item["id"] for _, item in new.items()] == ["old-0", "old-2", "old-3", "new"]
    assert Index.open(tmp_path / "index", verify=True).manifest["format"] == 2
    np.testing.assert_array_equal(new.vector(new.row_of("old-3")), old.vector(3))


@pytest.mark.parametrize("harm", [cut, empty, os.unlink])
@pytest.mark.parametrize("name", ["vectors.npy", "items.jsonl"])
def test_damage_to_format_1_is_named_too(tmp_path: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(of_format_1(tmp_path / "index") / name)
    with pytest.raises(DeixisError, match=rf"{name} is damaged .*Make the index again"):
        Index.open(tmp_path / "index")


def test_another_version_and_another_folder_are_told_apart_from_damage(tmp_path: Path) -> None:
    made(tmp_path / "index", random(4, 3))
    path = tmp_path / "index" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    with pytest.raises(DeixisError, match=r"has format 3, .* reads format 2.*Upgrade"):
        Index.open(tmp_path / "index")
    with pytest.raises(DeixisError, match=r"is no index.*Make one"):
        Index.open(tmp_path)
