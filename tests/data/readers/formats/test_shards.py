"""Shards that anybody may have written: what belongs together, what is read of it, what is left out and told."""

from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
import webdataset
from PIL import Image

from deixis.data.readers.captions import MAX_CAPTION
from deixis.data.readers.formats.folders import MAX_TEXT_FILE
from deixis.data.readers.formats.shards import read_shards, split_name
from deixis.data.readers.tars import index_path, listing
from deixis.data.writers.pack import pack
from deixis.errors import DeixisError
from deixis.inputs.images import load_image, picture_hash
from deixis.types.samples import Member, Region, Sample, Source

COUNT = itertools.count(1)


def image(kind: str = "PNG") -> bytes:
    """An image that no other test has."""
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), (next(COUNT) % 256, 9, 9)).save(stream, kind)
    return stream.getvalue()


def shard(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A tar of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            raw = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def read(folder: Path, *members: tuple[str, bytes | str]) -> Source:
    return read_shards([shard(folder / "s.tar", *members)])


def one(folder: Path, *members: tuple[str, bytes | str]) -> Sample:
    """The only sample of a shard."""
    [sample] = read(folder, *members).samples
    return sample


def reasons(source: Source) -> list[tuple[str, str]]:
    return [(item.path, item.reason) for item in source.skipped]


# what belongs together


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("0001.jpg", ("0001", "jpg")),
        ("a/b.c/0001.seg.PNG", ("a/b.c/0001", "seg.png")),
        ("./a/1.jpg", ("a/1", "jpg")),
        ("ä ö/ü.jpg", ("ä ö/ü", "jpg")),
        ("1.", ("1", "")),
        ("noending", None),
        ("a/.hidden.jpg", None),
        ("._0001.jpg", None),
        ("__meta__", None),
        ("__meta__/1.jpg", None),
        ("", None),
    ],
)
def test_a_name_is_cut_at_the_first_dot_of_its_last_part(name: str, parts: tuple[str, str] | None) -> None:
    assert split_name(name) == parts


def test_the_files_of_a_key_make_a_sample(tmp_path: Path) -> None:
    picture = image()
    source = read(
        tmp_path,
        ("a/1.png", picture),
        ("a/1.txt", "a dog\na grey dog\n"),
        ("a/1.cls", "7\n"),
        ("a/1.json", json.dumps({"url": "x", "width": 5})),
        ("a/1.npy", b"123"),
        ("2.jpg", image("JPEG")),
    )
    first, second = source.samples
    assert (first.id, second.id) == ("s/a/1", "s/2")
    assert (first.captions, first.label) == (("a dog", "a grey dog"), "7")
    assert {**first.extra, "npy": first.extra["npy"].read()} == {"url": "x", "width": 5, "npy": b"123"}
    assert isinstance(first.image, Member)
    assert first.image.read() == picture
    assert torch.equal(load_image(first.picture), load_image(picture))
    assert (source.kind, source.name, source.layout) == ("captions", "s", "webdataset shard")
    assert (second.captions, second.label, source.skipped, source.notes) == ((), None, (), ())


def test_the_order_is_that_of_the_archive_and_of_the_shards_as_given(tmp_path: Path) -> None:
    paths = [
        shard(tmp_path / f"{name}.tar", *((f"{key}.png", image()) for key in keys))
        for name, keys in (("b", "zax"), ("a", "cb"))
    ]
    assert [sample.id for sample in read_shards(paths).samples] == ["b/z", "b/a", "b/x", "a/c", "a/b"]


def test_files_of_a_key_that_lie_apart_still_make_one_sample(tmp_path: Path) -> None:
    source = read(tmp_path, ("1.png", image()), ("2.png", image()), ("1.txt", "one"), ("2.txt", "two"))
    assert [(sample.id, sample.captions) for sample in source.samples] == [("s/1", ("one",)), ("s/2", ("two",))]


def test_shards_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    paths = [shard(tmp_path / part / "s-0.tar", ("1.png", image())) for part in ("train", "val")]
    source = read_shards([*paths, paths[0]])
    assert [sample.id for sample in source.samples] == ["train/s-0/1", "val/s-0/1"]
    assert (source.root, source.layout) == (tmp_path, "2 webdataset shards")


def test_a_shard_in_the_folder_one_is_in_has_its_name_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(tmp_path / "s.tar", ("1.png", image()))
    shard(tmp_path / "t.tar", ("1.png", image()))
    monkeypatch.chdir(tmp_path)
    assert [sample.id for sample in read_shards([Path("s.tar")]).samples] == ["s/1"]
    source = read_shards([Path("s.tar"), Path("t.tar")])
    assert [sample.id for sample in source.samples] == ["s/1", "t/1"]
    assert source.name == tmp_path.name


# which is the image


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        (["seg.png", "jpg"], "jpg"),
        (["jpg", "png"], "jpg"),
        (["left.jpg", "right.jpg"], "left.jpg"),
        (["JPG"], "JPG"),
        (["txt.jpg", "json"], "txt.jpg"),
    ],
)
def test_of_several_images_the_plainest_and_first_is_taken(fields: list[str], chosen: str, tmp_path: Path) -> None:
    files = {field: b"{}" if field == "json" else image() for field in fields}
    source = read(tmp_path, *((f"1.{field}", data) for field, data in files.items()))
    [sample] = source.samples
    assert isinstance(sample.image, Member)
    assert sample.image.read() == files[chosen]
    further = [field for field in fields if field not in (chosen, "json")]
    assert {field: member.read() for field, member in sample.extra.items()} == {each: files[each] for each in further}
    assert bool(source.notes) == bool(further)


def test_images_whose_names_hold_dots_are_told_to_fall_together(tmp_path: Path) -> None:
    source = read(tmp_path, *((f"IMG.2020.{i}.jpg", image("JPEG")) for i in range(5)))
    assert len(source.samples) == 1
    [note] = source.notes
    assert "4 further images" in note
    assert "cut at their first dot" in note


def test_a_key_without_an_image_is_left_out_where_others_have_one(tmp_path: Path) -> None:
    source = read(tmp_path, ("1.png", image()), ("2.txt", "words"), ("3.npy", b"x"))
    assert [sample.id for sample in source.samples] == ["s/1"]
    assert sorted(reasons(source)) == [("s/2", "no image"), ("s/3", "no image")]


def test_shards_of_words_alone_are_text(tmp_path: Path) -> None:
    source = read(tmp_path, ("1.txt", "one"), ("2.json", '{"text": "two"}'), ("3.npy", b"x"))
    assert [(sample.image, sample.captions) for sample in source.samples] == [(None, ("one",)), (None, ("two",))]
    assert source.kind == "text"
    assert reasons(source) == [("s/3", "no image")]


def test_a_file_that_comes_twice_is_read_once_and_told(tmp_path: Path) -> None:
    source = read(tmp_path, ("1.png", image()), ("1.txt", "first"), ("1.txt", "second"), ("1.TXT", "third"))
    assert source.samples[0].captions == ("first",)
    assert reasons(source) == [("s/1.txt", "second file of a name"), ("s/1.TXT", "second file of a name")]


# words


@pytest.mark.parametrize(
    ("record", "captions", "label", "extra"),
    [
        ({"caption": "a dog", "label": "dog"}, ("a dog",), "dog", {}),
        ({"caption": ["a dog", "it"], "key": "1"}, ("a dog", "it"), None, {"key": "1"}),
        ({"text": "a dog", "label": 3}, ("a dog",), "3", {}),
        ({"captions": ["a", "a"], "label": None}, ("a",), None, {}),
        ({"label": ["no", "class"], "caption": None}, (), None, {}),
        ({"label": "x" * 2000}, (), None, {}),
        ({"class_name": " a \0 b "}, (), "a b", {}),
    ],
)
def test_a_json_gives_captions_label_and_the_rest(
    record: dict[str, Any], captions: tuple[str, ...], label: str | None, extra: dict[str, Any], tmp_path: Path
) -> None:
    sample = one(tmp_path, ("1.png", image()), ("1.json", json.dumps(record)))
    assert (sample.captions, sample.label, sample.extra) == (captions, label, extra)


def test_a_text_comes_before_the_json_which_keeps_its_own(tmp_path: Path) -> None:
    sample = one(tmp_path, ("1.png", image()), ("1.json", '{"caption": "other", "label": "a"}'), ("1.txt", "words"))
    assert sample.captions == ("words",)
    assert sample.extra == {"caption": "other"}
    sample = one(tmp_path, ("1.png", image()), ("1.json", '{"caption": "other", "label": "a"}'), ("1.cls", "b"))
    assert (sample.captions, sample.label, sample.extra) == (("other",), "b", {"label": "a"})


def test_kinds_are_captions_before_labels_before_images(tmp_path: Path) -> None:
    assert read(tmp_path, ("1.png", image()), ("1.cls", "0")).kind == "labels"
    assert read(tmp_path, ("1.png", image()), ("2.png", image()), ("2.txt", "a"), ("1.cls", "0")).kind == "captions"
    assert read(tmp_path, ("1.png", image())).kind == "images"


def test_captions_are_cleaned_and_cut_as_those_of_a_folder(tmp_path: Path) -> None:
    text = "a\0 dog\r\n\n  two   words \na dog\n" + "long " * 200_000
    source = read(tmp_path, ("1.png", image()), ("1.txt", text))
    [sample] = source.samples
    assert sample.captions[:2] == ("a dog", "two words")
    assert len(sample.captions[2]) <= MAX_CAPTION
    assert "Control characters" in source.notes[0]
    assert "longer than 10,000" in source.notes[1]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("1.txt", "ein Bär".encode("latin-1"), "caption is not UTF-8"),
        ("1.cls", b"\xff", "caption is not UTF-8"),
        ("1.json", b'{"a": "\xff"}', "caption is not UTF-8"),
        ("1.txt", b"x" * (MAX_TEXT_FILE + 1), "caption file is too large"),
        ("1.json", b" " * (MAX_TEXT_FILE + 1), "json is too large"),
        ("1.json", b"{", "json can't be read"),
        ("1.json", b"[" * 100_000, "json can't be read"),
        ("1.json", b'{"a": 1' + b"0" * 5000 + b"}", "json can't be read"),
    ],
)
def test_words_that_cannot_be_read_are_told_and_the_image_is_kept(
    name: str, data: bytes, reason: str, tmp_path: Path
) -> None:
    source = read(tmp_path, ("1.png", image()), (name, data))
    assert len(source.samples) == 1
    assert reasons(source) == [("s/1", reason)]


def test_a_json_that_is_no_object_is_kept_as_a_file(tmp_path: Path) -> None:
    sample = one(tmp_path, ("1.png", image()), ("1.json", "[1, 2]"))
    assert sample.extra["json"].read() == b"[1, 2]"


@pytest.mark.parametrize(
    "wrong", [{"deixis": 2}, {"image": "jpg"}, {"image": ["png"]}, {"captions": "one"}, {"regions": [{}]}]
)
def test_a_record_of_a_wrong_form_is_told_and_the_text_is_taken(wrong: dict[str, Any], tmp_path: Path) -> None:
    record = {"deixis": 1, "id": "x", "image": "png", "captions": ["from json"]}
    for changed, name, captions in ((record, "s/x", "from json"), ({**record, **wrong}, "s/1", "from the text")):
        source = read(tmp_path, ("1.png", image()), ("1.txt", "from the text"), ("1.json", json.dumps(changed)))
        assert [(sample.id, sample.captions) for sample in source.samples] == [(name, (captions,))]
    assert reasons(source) == [("s/1", "json of a wrong form")]
    assert source.skipped[0].detail


def test_a_record_without_an_image_is_words_alone_also_among_images(tmp_path: Path) -> None:
    record = json.dumps({"deixis": 1, "id": "x", "image": None, "captions": ["words"]})
    source = read(tmp_path, ("1.png", image()), ("2.json", record))
    assert [(sample.id, sample.image is None) for sample in source.samples] == [("s/1", False), ("s/x", True)]
    assert source.skipped == ()


def test_two_records_of_one_name_are_told(tmp_path: Path) -> None:
    record = json.dumps({"deixis": 1, "id": "x", "image": None})
    source = read(tmp_path, ("1.json", record), ("2.json", record))
    assert [sample.id for sample in source.samples] == ["s/x"]
    assert reasons(source) == [("s/x", "second sample of a name")]


# what can't be read at all


def test_members_that_lead_elsewhere_are_told_by_shard_and_name(tmp_path: Path) -> None:
    source = read(tmp_path, ("1.png", image()), ("../2.png", image()), ("/3.png", image()))
    assert reasons(source) == [(f"s/{name}", "name leads out of the archive") for name in ("../2.png", "/3.png")]


def test_a_shard_that_is_cut_short_gives_what_is_whole_and_is_told(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", *((f"{i}.png", image()) for i in range(4)))
    path.write_bytes(path.read_bytes()[: 3 * 1024 + 520])
    source = read_shards([path])
    assert [sample.id for sample in source.samples] == ["s/0", "s/1", "s/2"]
    assert reasons(source) == [("s", "shard is cut short or damaged")]


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone.tar", "can't be read: No such file"), ("folder.tar", "can't be read: Is a directory")],
)
def test_a_shard_that_is_missing_or_none_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(DeixisError, match=said):
        read_shards([tmp_path / name])


def test_shards_without_samples_are_refused_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"holds no samples. A shard holds files of one name"):
        read(tmp_path)
    with pytest.raises(DeixisError, match=r"s/1 no image"):
        read(tmp_path, ("1.npy", b"x"))
    with pytest.raises(DeixisError, match="No shard was given"):
        read_shards([])


def test_an_image_of_a_shard_has_the_hash_of_its_file(tmp_path: Path) -> None:
    picture = image()
    (tmp_path / "1.png").write_bytes(picture)
    sample = one(tmp_path, ("1.png", picture))
    assert picture_hash(sample.picture) == picture_hash(tmp_path / "1.png")


# webdataset's own


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    pictures = [image("JPEG") for _ in range(5)]
    with webdataset.ShardWriter(str(tmp_path / "w-%06d.tar"), maxcount=2, verbose=0) as writer:
        for i, picture in enumerate(pictures):
            writer.write({"__key__": f"deep/{i:04}", "jpg": picture, "txt": f"Bild {i}: ä", "cls": i, "json": {"n": i}})
    source = read_shards(sorted(tmp_path.glob("*.tar")))
    assert [sample.id for sample in source.samples] == [f"w-{i // 2:06}/deep/{i:04}" for i in range(5)]
    assert [sample.image.read() for sample in source.samples] == pictures
    assert [(s.captions, s.label, s.extra) for s in source.samples] == [
        ((f"Bild {i}: ä",), str(i), {"n": i}) for i in range(5)
    ]
    assert source.skipped == ()


@pytest.mark.parametrize(
    ("name", "split"),
    [("train-0000", "train"), ("cc3m-validation-0042", "val"), ("testA", "test"), ("shard-000000", "")],
)
def test_the_name_of_a_shard_tells_the_split(tmp_path: Path, name: str, split: str) -> None:
    [sample] = read_shards([shard(tmp_path / f"{name}.tar", ("1.png", image()))]).samples
    assert sample.split == split
    record = json.dumps({"deixis": 1, "id": "a", "image": "png", "split": "val"})
    [told] = read_shards([shard(tmp_path / f"{name}.tar", ("1.png", image()), ("1.json", record))]).samples
    assert told.split == "val"


# records in the index


def picture_file(path: Path) -> Path:
    path.write_bytes(image("JPEG"))
    return path


def test_samples_are_the_same_whether_the_index_or_the_tar_says_what_they_are(tmp_path: Path) -> None:
    region = Region((0.0, 0.0, 0.5, 0.5), "bird")
    samples = (
        Sample("a", picture_file(tmp_path / "a.jpg"), ("a bird", "one bird"), "bird", ("g",), {"seen": 3}, "val"),
        Sample("b", picture_file(tmp_path / "b.jpg"), regions=(region,)),
        Sample("c", picture_file(tmp_path / "c.jpg"), ("half a pair \ud83d",)),
        Sample("d", None, ("words alone",)),
    )
    pack(Source("p", tmp_path, "captions", "files", samples), tmp_path / "shards")
    (path,) = (tmp_path / "shards").glob("*.tar")
    indexed = index_path(path).read_bytes()
    by_index = read_shards([path])
    os.utime(path, ns=(2**62, 2**62))  # as a tar that was changed after its index was written
    assert not listing(path).samples
    assert read_shards([path]) == by_index
    os.utime(path, ns=(0, 0))
    assert index_path(path).read_bytes() == indexed, "what was looked for in the tar is in the index again"
    index_path(path).unlink()
    assert read_shards([path]) == by_index


def test_an_index_of_an_older_version_is_read_and_gets_the_records(tmp_path: Path) -> None:
    samples = tuple(Sample(name, picture_file(tmp_path / f"{name}.jpg")) for name in "ab")
    pack(Source("p", tmp_path, "images", "files", samples), tmp_path / "shards")
    (path,) = (tmp_path / "shards").glob("*.tar")
    whole = json.loads(index_path(path).read_bytes())
    index_path(path).write_text(
        json.dumps({name: value for name, value in whole.items() if name not in ("layouts", "samples")})
    )
    assert [sample.id for sample in read_shards([path]).samples] == ["shard-000000/a", "shard-000000/b"]
    assert json.loads(index_path(path).read_bytes()) == whole


@pytest.mark.parametrize(
    ("layouts", "samples"),
    [
        (5, 5),
        ([], [["0", 0, None]]),
        ([["jpg", "json"]], [["0"]]),
        ([["jpg", "json"]], [["0", -1, None]]),
        ([["jpg", "json"]], [["0", 1.0, None]]),
        ([["json"]], [["0", 0, {}]]),
        ([["jpg", "json"]], [[0, 0, None]]),
        ([["jpg", "json"]], [["0", 0, [1]]]),
        (["js"], [["0", 0, None]]),
        ([["jpg", "json"]], [["0", 0, {"deixis": 1, "id": 7, "image": "jpg"}]]),
        ([["jpg", "json"]], [["0", 0, {"deixis": 1, "captions": [5], "image": "jpg"}]]),
        ([["jpg", "json"]], [["0", 0, {"deixis": 1, "image": "png"}]]),
        ([["jpg", "json"]], [["0", 0, {"deixis": 2, "image": ["jpg"]}]]),
    ],
)
def test_an_index_whose_samples_cannot_be_is_not_believed(layouts: object, samples: object, tmp_path: Path) -> None:
    source = Source("p", tmp_path, "images", "files", (Sample("a", picture_file(tmp_path / "a.jpg")),))
    pack(source, tmp_path / "shards")
    (path,) = (tmp_path / "shards").glob("*.tar")
    index = json.loads(index_path(path).read_bytes())
    index_path(path).write_text(json.dumps({**index, "layouts": layouts, "samples": samples}))
    for sample in read_shards([path]).samples:
        assert isinstance(sample.id, str)
        assert isinstance(sample.image, Member)
