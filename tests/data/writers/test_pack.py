"""Packing: nothing of a sample is lost, nothing half-written is left, and webdataset reads it."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import random
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deixis.data.readers import sources
from deixis.data.readers.formats.folders import MAX_TEXT_FILE, read_folder
from deixis.data.readers.formats.shards import read_shards
from deixis.data.readers.tars import listing
from deixis.data.writers.pack import pack
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.types.samples import Mask, Member, Phrase, Question, Region, Sample, Source
from tests.pictures import captioned, labelled, picture, spoil
from tests.support import examples


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A drawing of one grey."""

    grey: int = 7
    name: str = "a sheet"

    def draw(self) -> Any:
        """It, 3 x 2 pixels."""
        return np.full((3, 2, 3), self.grey, dtype=np.uint8)


class Usage(NamedTuple):
    free: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """An image in something else."""

    data: bytes
    name: str = "row 3"

    def read(self) -> bytes:
        """Its bytes."""
        return self.data


def source(samples: Sequence[Sample], kind: str = "captions") -> Source:
    return Source("things", Path("things"), kind, "made", tuple(samples))


def sheets(count: int, **fields: Any) -> Source:
    return source([Sample(f"{i}", Sheet(i % 256), **fields) for i in range(count)])


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# round trip

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r\t\u2028"), max_size=12)
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("./\\ "), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
SHARE = st.floats(-0.5, 1.5)
SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=2).map(tuple)
POLYGONS = st.lists(st.lists(st.floats(-9, 99), max_size=6).map(tuple), max_size=2).map(tuple)
MASKS = st.tuples(st.integers(1, 99), st.integers(1, 99), POLYGONS, st.lists(st.integers(0, 99), max_size=4).map(tuple))


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=2).map(tuple)


@st.composite
def words(draw: st.DrawFn) -> dict[str, Any]:
    """All of a sample but its id, in plain Python: the classes check their types with random numbers, which hypothesis
    does not want inside."""
    count = draw(st.integers(0, 2))
    which = some(st.integers(0, count - 1)) if count else st.just(())
    attributes = st.dictionaries(TEXT, JSON, max_size=2)
    region = st.tuples(
        st.tuples(*[SHARE] * 4), TEXT, some(st.tuples(TEXT, which)), SPANS, st.none() | MASKS, attributes
    )
    return {
        "drawn": draw(st.booleans()),
        "captions": draw(some(TEXT)),
        "label": draw(st.none() | TEXT),
        "groups": draw(some(TEXT)),
        "extra": draw(st.dictionaries(TEXT, JSON, max_size=2)),
        "split": draw(st.sampled_from(["", "train", "val", "test"])),
        "regions": draw(st.lists(region, min_size=count, max_size=count)),
        "questions": draw(some(st.tuples(TEXT, TEXT, TEXT, which))),
    }


def sample_of(name: str, drawn: bool, regions: Any, questions: Any, **fields: Any) -> Sample:
    """What `words` has drawn, as it should be."""
    made = [
        Region(box, kind, tuple(Phrase(*each) for each in phrases), spans, Mask(*mask) if mask else None, attributes)
        for box, kind, phrases, spans, mask, attributes in regions
    ]
    asked = tuple(Question(*question) for question in questions)
    return Sample(name, Sheet() if drawn else None, regions=tuple(made), questions=asked, **fields)


@examples(25)
@given(st.dictionaries(IDS, words(), min_size=1, max_size=3))
def test_what_was_packed_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, dict[str, Any]]
) -> None:
    made = [sample_of(name, **fields) for name, fields in drawn.items()]
    out = tmp_path_factory.mktemp("packed") / "shards"
    packed = pack(source(made), out, samples_per_shard=2)
    back = read_shards(packed.shards)
    shutil.rmtree(out.parent)
    assert (packed.skipped, back.skipped, back.notes) == ((), (), ())
    assert [dataclasses.replace(s, id=s.id.split("/", 1)[1], image=None) for s in back.samples] == [
        dataclasses.replace(sample, image=None) for sample in made
    ]
    assert [sample.image is None for sample in back.samples] == [sample.image is None for sample in made]


def test_a_folder_comes_back_with_its_images_byte_for_byte(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 7)
    for i, path in enumerate(sorted(data.glob("*.png"))[:3]):
        below = data / "deep.er" / path.name
        below.parent.mkdir(exist_ok=True)
        shutil.copy(path, below)
        below.with_suffix(".txt").write_text(f"one {i}\ntwo {i}\n")
    before = sources.read(data)
    packed = pack(before, tmp_path / "shards", samples_per_shard=4)
    back = read_shards(packed.shards)
    assert packed.counts == (4, 4, 2)
    assert [sample.id.split("/", 1)[1] for sample in back.samples] == [sample.id for sample in before.samples]
    for new, old in zip(back.samples, before.samples, strict=True):
        assert isinstance(new.image, Member)
        assert isinstance(old.image, Path)
        assert new.image.read() == old.image.read_bytes()
        assert (new.captions, new.groups) == (old.captions, old.groups)
    assert (back.kind, back.skipped) == (before.kind, ())


def test_shards_that_were_unpacked_are_a_folder_with_the_same_captions(tmp_path: Path) -> None:
    before = sources.read(captioned(tmp_path / "pictures", 5))
    packed = pack(before, tmp_path / "shards")
    with tarfile.open(packed.shards[0]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder = read_folder(tmp_path / "unpacked")
    assert [sample.captions for sample in folder.samples] == [sample.captions for sample in before.samples]


def test_shards_can_be_packed_again_in_their_own_place(tmp_path: Path) -> None:
    first = pack(sheets(5, captions=("a",)), tmp_path / "shards", samples_per_shard=2)
    back = read_shards(first.shards)
    again = pack(back, tmp_path / "shards", samples_per_shard=5, overwrite=True)
    assert [path.name for path in again.shards] == ["shard-000000.tar"]
    assert [load_image(sample.picture)[0, 0, 0].item() for sample in read_shards(again.shards).samples] == [*range(5)]


def test_files_beside_the_image_are_packed_with_it(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"0123456789")
    bad = {"json": Member(blob, "y", 0, 1), "Ä": Member(blob, "z", 0, 1), "npy": Member(blob, "short", 8, 5)}
    extra = {"seg.png": Member(blob, "x", 2, 5), "n": 1, **bad, "gone": Member(tmp_path / "gone", "w", 0, 1)}
    packed = pack(source([Sample("a", Sheet(), extra=extra)]), tmp_path / "shards")
    [sample] = read_shards(packed.shards).samples
    assert sample.extra["n"] == 1
    assert sample.extra["seg.png"].read() == b"23456"
    assert len(sample.extra) == 2
    assert [(item.path, item.detail) for item in packed.skipped] == [("a", name) for name in (*bad, "gone")]


def test_a_stored_image_keeps_its_bytes_and_is_named_by_what_it_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, "WEBP")
    packed = pack(source([Sample("a.jpg", Cell(stream.getvalue()))]), tmp_path / "shards")
    [entry, _] = listing(packed.shards[0]).entries
    assert entry.name == "000000000.webp"
    assert read_shards(packed.shards).samples[0].image.read() == stream.getvalue()


# the same bytes


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    data = labelled(tmp_path / "classes", 9)
    for name in ("one", "two"):
        pack(sources.read(data), tmp_path / name, samples_per_shard=4)
        os.utime(next(data.rglob("*.png")))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(tree(tmp_path / "one")) == 6


@pytest.mark.parametrize(
    ("count", "size", "counts"),
    [(10, 4, (4, 4, 2)), (9, 4, (3, 3, 3)), (8, 4, (4, 4)), (3, 4, (3,)), (101, 100, (51, 50))],
)
def test_shards_are_filled_evenly(count: int, size: int, counts: tuple[int, ...], tmp_path: Path) -> None:
    assert pack(sheets(count), tmp_path / "shards", samples_per_shard=size).counts == counts


def test_the_index_that_is_written_is_what_a_walk_finds(tmp_path: Path) -> None:
    packed = pack(sheets(5, captions=("a", "b"), label="c"), tmp_path / "shards", samples_per_shard=3)
    for path in packed.shards:
        told = listing(path)
        assert told.packed
        shutil.copy(path, tmp_path / "bare.tar")
        (tmp_path / "bare.idx.json").unlink(missing_ok=True)
        assert listing(tmp_path / "bare.tar").entries == told.entries


# what is left out


def test_images_that_cannot_be_read_are_left_out_and_listed(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 8)
    reasons = spoil(data)
    whole = picture(tmp_path / "cut.jpg", (9, 9, 9), random.Random(0)).read_bytes()
    (data / "cut.jpg").write_bytes(whole[:-30])
    seen: list[tuple[int, int]] = []
    packed = pack(sources.read(data), tmp_path / "shards", progress=lambda done, total: seen.append((done, total)))
    assert {item.path: item.reason for item in packed.skipped} == {**reasons, "cut.jpg": "truncated"}
    assert all(item.detail and str(data) not in item.detail for item in packed.skipped)
    assert packed.counts == (8,)
    assert seen == [(i, 13) for i in range(1, 14)]


def test_a_whole_jpeg_with_something_behind_it_is_kept(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 1)
    whole = picture(data / "a.jpg", (9, 9, 9), random.Random(0)).read_bytes()
    (data / "a.jpg").write_bytes(whole + bytes(5000))
    assert pack(sources.read(data), tmp_path / "shards").counts == (2,)


def test_a_member_of_a_shard_that_is_cut_short_is_left_out(tmp_path: Path) -> None:
    first = pack(sheets(3), tmp_path / "one")
    back = read_shards(first.shards)
    last = back.samples[-1].image
    assert isinstance(last, Member)
    first.shards[0].write_bytes(first.shards[0].read_bytes()[: last.offset + 20])
    packed = pack(back, tmp_path / "two")
    assert (packed.counts, [item.path for item in packed.skipped]) == ((2,), ["shard-000000/2"])


def test_where_most_cannot_be_read_nothing_is_written(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 3)
    spoil(data)
    with pytest.raises(DeixisError, match=r"4 of 7 samples .* can't be packed .*1 truncated.* above the limit of 50%"):
        pack(sources.read(data), tmp_path / "shards")
    assert os.listdir(tmp_path) == ["pictures"]
    assert pack(sources.read(data), tmp_path / "shards", max_skipped=0.6).counts == (3,)
    with pytest.raises(DeixisError, match="it holds none"):
        pack(source([]), tmp_path / "other")


def test_a_description_that_could_not_be_read_back_is_left_out(tmp_path: Path) -> None:
    long = Sample("long", Sheet(), extra={"a": "x" * MAX_TEXT_FILE})
    packed = pack(source([long, Sample("b", Sheet())]), tmp_path / "shards")
    assert [(item.path, item.reason) for item in packed.skipped] == [("long", "description is too large")]


# the place


def test_a_folder_with_other_things_in_it_is_never_touched(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DeixisError, match=r"holds files other .* such as notes.txt"):
            pack(sheets(2), out, overwrite=overwrite)
    assert tree(out) == {"notes.txt": b"mine"}


def test_shards_that_others_wrote_are_not_replaced_even_if_they_have_an_index(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    packed = pack(sheets(2), out)
    (out / "shard-000000.idx.json").unlink()
    read_shards(packed.shards)
    assert len(tree(out)) == 2
    with pytest.raises(DeixisError, match="holds files other"):
        pack(sheets(2), out, overwrite=True)


def test_shards_are_replaced_only_where_that_is_asked_for_and_none_of_the_old_stays(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    pack(sheets(5), out, samples_per_shard=1)
    before = tree(out)
    with pytest.raises(DeixisError, match="holds shards already"):
        pack(sheets(2), out)
    assert tree(out) == before
    pack(sheets(2), out, name="other", overwrite=True)
    assert sorted(tree(out)) == ["other-000000.idx.json", "other-000000.tar"]


@pytest.mark.parametrize("inside", ["", "below"])
def test_the_folder_one_is_in_is_not_replaced(inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / inside)
    with pytest.raises(DeixisError, match="the folder you are in"):
        pack(sheets(2), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"samples_per_shard": 0}, "can't hold 0 samples"),
        ({"name": "../x"}, "can't begin with '../x'"),
        ({"name": ""}, "can't begin with ''"),
        ({"name": "a\0"}, "can't begin with"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=said):
        pack(sheets(2), tmp_path / "shards", **arguments)
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("mine")
    with pytest.raises(DeixisError, match="is a file"):
        pack(sheets(2), tmp_path / "shards", overwrite=True)


def test_a_disk_with_too_little_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sources.read(captioned(tmp_path / "pictures", 5))
    monkeypatch.setattr("deixis.data.writers.pack.shutil.disk_usage", lambda path: Usage(9999))
    with pytest.raises(DeixisError, match="and 0 MB are free at"):
        pack(data, tmp_path / "deep" / "shards")
    assert os.listdir(tmp_path) == ["pictures"]


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_disk_that_is_full_leaves_nothing_new_and_all_that_was_there(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "shards", []
    pack(sheets(2), out)
    before, sync = tree(out), os.fsync

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pack(sheets(5), out, samples_per_shard=3, overwrite=True)
    assert tree(out) == before
    assert os.listdir(tmp_path) == ["shards"]


# webdataset


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it to the collector
def test_webdataset_reads_what_was_packed(tmp_path: Path) -> None:
    before = sources.read(labelled(tmp_path / "classes", 9))
    captions = [dataclasses.replace(s, captions=("eins ä", f"zwei {i}")) for i, s in enumerate(before.samples)]
    packed = pack(dataclasses.replace(before, samples=tuple(captions)), tmp_path / "shards", samples_per_shard=5)
    pattern = str(tmp_path / "shards" / "shard-{000000..000001}.tar")
    read = list(webdataset.WebDataset(pattern, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in read] == [f"{i:09}" for i in range(9)]
    classes = sorted({sample.label for sample in captions})
    for theirs, ours in zip(read, captions, strict=True):
        assert np.array_equal(theirs["png"], load_image(ours.picture).permute(1, 2, 0).numpy())
        assert theirs["txt"] == "\n".join(ours.captions)
        assert classes[theirs["cls"]] == ours.label == theirs["json"]["label"]
        assert theirs["json"]["id"] == ours.id
    assert sum(packed.counts) == 9


def test_classes_that_are_numbers_keep_them(tmp_path: Path) -> None:
    made = [Sample(f"{i}", Sheet(), label=str(label)) for i, label in enumerate([10, 2, 2])]
    packed = pack(source(made, "labels"), tmp_path / "shards")
    with tarfile.open(packed.shards[0]) as archive:
        numbers = [archive.extractfile(info).read() for info in archive if info.name.endswith(".cls")]
    assert numbers == [b"10", b"2", b"2"]
