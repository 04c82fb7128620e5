"""Disks that are full, read-only or short of room at random writes: one message, and nothing lost or half-written."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import fault_commands
from bench.fault_commands import curves_digest, files_digest, index_digest, lay_out, weights_digest
from deixis.files import atomic_folder, atomic_path, clear_partial
from tests import toy_claims
from tests.commands import Answer, deixis
from tests.documents import PROJECT
from tests.fake_pip import install_fake_pip
from tests.refusing import FULL, READ_ONLY, no_file_longer, refusing

_INDEX = ("index", "DATA", "--model", "tiny", "--out", "OUT")
_TRAIN = ("train", "clip", "--data", "DATA", "--config", "tiny", "--out", "OUT", "--steps", "6", "--batch-size", "8")
_ADAPT = ("adapt", "DATA", "--model", "tiny", "--method", "ridge", "--splits", "2", "--no-controls", "--out", "OUT")

COMMANDS = {
    "pack": (("pack", "DATA", "--shards", "OUT", "--size", "10"), (), lambda out: files_digest(out, "*")),
    "index": (_INDEX, (), index_digest),
    "index --add": (("index", "MORE", "--out", "OUT", "--add"), _INDEX, index_digest),
    "train": ((*_TRAIN, "--checkpoint-every", "2"), (), weights_digest),
    "adapt": (_ADAPT, (), index_digest),
    "claim": (("claim", "line", "--folder", "OUT", "--no-record", "--seeds", "2"), (), curves_digest),
    "data get": (("data", "get", "clip-bpe"), (), lambda out: files_digest(out, "*")),
}
_OUT = {"data get": "cache/clip-bpe"}
"""Where a command's own folder is, if it can't be told one."""

_RESUME = ("train", "claim")
"""Those that go on from a folder which is not whole."""


class Bench:
    """A command that is run in folders of its own, over the same pictures."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fault_commands, "_PICTURES", 40 if name == "adapt" else 16)
        monkeypatch.setattr(fault_commands, "_NEW", 6)
        self.arguments, begins_with, self._state = COMMANDS[name]
        self.folder, self._patch, self.resumes, self._out = folder, monkeypatch, name in _RESUME, _OUT.get(name, "out")
        lay_out(folder)
        if name == "claim":
            toy_claims.verb_with_toys(monkeypatch, SimpleNamespace(claims=(toy_claims.short().claim,)), PROJECT)
        if name == "data get":
            install_fake_pip(folder, monkeypatch, "CLIP_BPE")
        (folder / "start").mkdir()
        if begins_with:
            assert self.run(folder / "start", begins_with).code == 0

    def run(self, place: Path, arguments: tuple[str, ...] = ()) -> Answer:
        self._patch.setenv("DEIXIS_CACHE", str(place / "cache"))
        words = {each: str(self.folder / each / "captions.csv") for each in ("DATA", "MORE")}
        words["OUT"] = str(place / self._out)
        return deixis(*(words.get(each, each) for each in arguments or self.arguments))

    def place(self, name: str) -> Path:
        return Path(shutil.copytree(self.folder / "start", self.folder / name))

    def state(self, place: Path) -> str:
        """Of what lies under the final name; what is there and can't be read is an error."""
        return self._state(place / self._out) if (place / self._out).exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_write_is_refused_there_is_one_message_and_the_same_command_then_ends_as_ever(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, rng = Bench(name, tmp_path, monkeypatch), random.Random(f"{name} {os.environ.get('DEIXIS_FAULT_SEED', 0)}")
    with refusing(alone := bench.place("alone")) as disk:
        assert bench.run(alone).code == 0
    wanted, largest = bench.state(alone), max(path.stat().st_size for path in alone.rglob("*") if path.is_file())
    faults: list[tuple[str, Callable[[Path], AbstractContextManager[object]]]] = [
        *(("full", lambda place: refusing(place, FULL, rng.randrange(disk.seen))) for _ in range(2)),
        *(("read-only", lambda place: refusing(place, READ_ONLY, rng.randrange(disk.seen))) for _ in range(2)),
        *(("limit", lambda place: no_file_longer(rng.randrange(largest))) for _ in range(2)),
    ]
    for number, (kind, fault) in enumerate(faults):
        place = bench.place(f"{kind} {number}")
        before = bench.state(place)
        with fault(place):
            answer = bench.run(place)
        assert answer.code in (0, 2), f"{kind}: {answer.err}"
        assert answer.code == 0 or answer.err.splitlines()[-1].startswith(f"deixis {name.split()[0]}: "), kind
        there = "" if bench.resumes and answer.code else bench.state(place)
        assert there == wanted or (answer.code and there in ("", before)), f"{kind}: as before or as after"
        if there != wanted:
            again = bench.run(place)
            assert again.code == 0, f"{kind}: {again.err}"
        assert bench.state(place) == wanted
        assert [path.name for path in place.rglob("*") if path.name.endswith((".part", ".old", ".new"))] == []


def test_a_system_s_error_that_a_library_tells_in_words_is_one_of_the_system(tmp_path: Path) -> None:
    class Told(Exception):
        pass

    for place, into in ((tmp_path / "a", atomic_path), (tmp_path / "b", atomic_folder)):
        with pytest.raises(OSError, match="No space left") as caught, into(place):
            raise Told("Error while serializing: I/O error: No space left on device (os error 28)")
        assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_what_a_kill_left_is_told_from_what_is_being_written(tmp_path: Path) -> None:
    (tmp_path / ".a.abcdefgh.part").write_text("half")
    with atomic_path(tmp_path / "a") as part:
        part.write_text("whole")
        clear_partial(tmp_path)
        assert os.listdir(tmp_path) == [part.name]
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_was_left_before_it_had_its_name_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".run.abcdefgh.new").mkdir()
    with atomic_folder(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path) == ["run"]
