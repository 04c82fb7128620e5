"""An update reads no file that stayed as it was, and every one whose size or times say otherwise."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deixis.apps.common import dataset
from deixis.apps.common.options import Reading
from deixis.apps.index.index import index, index_folder, update
from deixis.apps.index.known_files import FILE, read_known_files, unchanged, write_known_files
from deixis.apps.index.settings import IndexSettings
from deixis.data.readers import embedded
from deixis.engine.export import text_graph
from deixis.engine.features import picture_reader
from deixis.errors import DeixisError
from deixis.indexing.changes import build
from deixis.indexing.folder import of_an_index
from deixis.indexing.index import Index
from deixis.types import Sample
from tests.pictures import picture

SHEETS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220)}
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="Gulls"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
LONG_AGO = time.time() - 3600


def aged(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def listed(folder: Path, content: str) -> tuple[list[Sample], int]:
    """A file of that content, as if it had been there for long; and a time at which it is read, a minute from now."""
    path = folder / "a.txt"
    path.write_text(content)
    return [Sample("a", aged(path))], time.time_ns() + 60 * 10**9


def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    samples, later = listed(folder, "one")
    monkeypatch.setattr("deixis.apps.index.known_files.time.time_ns", lambda: later)
    write_known_files(folder, samples, ["hash"], later, {})
    assert unchanged(samples, read_known_files(folder), {"hash"}) == {0: "hash"}
    return samples


@pytest.mark.parametrize("change", ["size", "time", "replaced under its old time", "gone", "not in the index"])
def test_a_file_is_read_again_where_size_or_times_are_others(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample,) = known(tmp_path, monkeypatch)
    path, hashes = tmp_path / "a.txt", {"hash"}
    if change == "size":
        path.write_text("longer")
        aged(path)
    elif change == "time":
        os.utime(path, (LONG_AGO, LONG_AGO - 7200))  # a clock that went back
    elif change == "replaced under its old time":
        (tmp_path / "b").write_text("two")
        aged(tmp_path / "b").replace(path)
    elif change == "gone":
        path.unlink()
    else:
        hashes = set()
    assert unchanged([sample], read_known_files(tmp_path), hashes) == {}


def test_a_file_that_changed_just_before_it_was_read_is_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    write_known_files(tmp_path, [Sample("a", path)], ["hash"], time.time_ns(), {})
    assert read_known_files(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2, "files": {}}', '{"format": 1, "files": {"a": 3}}'])
def test_a_damaged_list_is_an_empty_one(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    assert read_known_files(tmp_path) == {}


def test_an_update_reads_what_changed_and_with_verify_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, data, run = random.Random(0), tmp_path / "pictures", tmp_path / "run"
    for name, colour in SHEETS.items():
        picture(data / f"{name}.png", colour, rng)
    monkeypatch.setattr("deixis.apps.index.known_files._TICK", -(10**12))  # as if all had been made long ago
    index(data, run, "tiny", quiet=True)
    assert len(read_known_files(run / "index")) == len(SHEETS)
    given: list[int] = []
    encode = dataset.encode_once

    def counted(encoder: Any, pictures: Any, *arguments: Any, **options: Any) -> Any:
        given.append(len(pictures))
        return encode(encoder, pictures, *arguments, **options)

    monkeypatch.setattr(dataset, "encode_once", counted)
    assert update(run, data).kept == len(SHEETS)
    picture(data / "red.png", (0, 0, 0), rng)
    (data / "blue.png").write_bytes(b"no picture")
    changed = update(run, data, remove_gone=True)
    assert (changed.changed, [each.path for each in changed.skipped]) == (("red.png",), ["blue.png"])
    assert update(run, data).kept == len(SHEETS) - 1
    index_folder([str(data)], str(run), IndexSettings(update=True, verify=True), Reading(), overwrite=False, quiet=True)
    assert given == [2, 1, len(SHEETS)], "what can't be read is tried each time"
    with pytest.raises(DeixisError, match="in an update"):
        index_folder([str(data)], "new", IndexSettings(verify=True), Reading(), overwrite=False, quiet=True)


def test_a_header_is_read_once_and_a_broken_one_is_told_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run, read = tmp_path / "pictures", tmp_path / "run", list[str]()
    data.mkdir()
    for name, xmp in {"said": _XMP, "silent": b"", "broken": b"<x:xmpmeta"}.items():
        Image.new("RGB", (40, 30), (len(name), 90, 60)).save(data / f"{name}.jpg", xmp=xmp)
    monkeypatch.setattr("deixis.apps.index.known_files._TICK", -(10**12))  # as if all had been made long ago
    index(data, run, "tiny", quiet=True)
    header = embedded.metadata

    def counted(path: Path) -> Any:
        read.append(path.name)
        return header(path)

    monkeypatch.setattr(embedded, "metadata", counted)
    changed = update(run, data, remove_gone=True)
    assert (changed.kept, read, [each.path for each in changed.skipped]) == (3, ["broken.jpg"], ["broken.jpg"])
    assert next(item for _, item in Index.open(run / "index").items() if item["id"] == "said.jpg")["title"] == "Gulls"
    before = (run / "index" / FILE).stat().st_mtime_ns
    Image.new("RGB", (40, 30), (1, 2, 3)).save(data / "said.jpg", xmp=_XMP.replace(b"Gulls", b"Terns"))
    assert update(run, data).changed == ("said.jpg",)
    assert next(item for _, item in Index.open(run / "index").items() if item["id"] == "said.jpg")["title"] == "Terns"
    assert (run / "index" / FILE).stat().st_mtime_ns > before


def test_what_lies_beside_the_vectors_belongs_to_the_index_and_is_replaced_with_it(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "red.png", (220, 30, 30), random.Random(0))
    index(tmp_path / "pictures", tmp_path / "run", "tiny", quiet=True)
    folder = tmp_path / "run" / "index"
    assert (folder / FILE).is_file()
    (folder / text_graph.FILE).write_text("{}")
    (folder / text_graph.RESIDUAL).write_bytes(b"")
    assert all(of_an_index(each.name) for each in folder.iterdir())
    assert len(build(folder, np.eye(2, 4), [{"id": "a"}, {"id": "b"}], model="other", fingerprint="f")) == 2


def test_a_folder_that_changes_while_it_is_read_gives_a_whole_index_and_the_next_update_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, data, run = random.Random(0), tmp_path / "pictures", tmp_path / "run"
    for name in ("a", "b", "c", "d"):
        picture(data / f"{name}.png", SHEETS["red"], rng)
    read, changed = picture_reader.contents, list[str]()

    def while_read(source: Any) -> Any:
        found = read(source)
        if not changed:
            changed.append(source.name)
            others = sorted(each for each in data.iterdir() if each.name != source.name)
            picture(source, SHEETS["green"], rng)  # after it was read
            others[0].unlink()
            others[1].write_bytes(others[1].read_bytes()[:60])
            picture(data / "new.png", SHEETS["blue"], rng)
        return found

    monkeypatch.setattr(picture_reader, "contents", while_read)
    monkeypatch.setattr("deixis.inputs.read_ahead.cores", lambda: 1)
    index(data, run, "tiny", quiet=True)
    assert len(Index.open(run / "index", verify=True)) == 2, "one has gone, and one is cut short"
    found = update(run, data, remove_gone=True)
    assert (found.changed, found.added) == ((changed[0],), ("new.png",))
    assert [each.reason for each in found.skipped] == ["truncated"]
    index(data, tmp_path / "anew", "tiny", quiet=True)
    ids = [
        {item["id"]: item["hash"] for _, item in Index.open(each / "index").items()}
        for each in (run, tmp_path / "anew")
    ]
    assert ids[0] == ids[1]
