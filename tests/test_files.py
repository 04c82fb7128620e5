"""Where files lie, and that nothing is ever half written under its final name."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deixis.files import atomic_folder, atomic_path, cache_dir, clear_partial, content_hash, write_json


@pytest.fixture
def umask() -> Iterator[None]:
    """A user who lets nobody else read."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def half(path: Path, failure: type[BaseException]) -> None:
    path.write_text("half")
    raise failure


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# the cache


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir("sets", "emoji") == tmp_path / "mine" / "sets" / "emoji"
    monkeypatch.setenv("DEIXIS_CACHE", "")
    assert cache_dir() == tmp_path / "xdg" / "deixis"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / "home" / ".cache" / "deixis"
    assert os.listdir(tmp_path) == []


def test_the_hash_is_of_the_bytes_alone(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(data)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") == hashlib.sha256(data).hexdigest()


# one file


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "b.txt") as part:
        part.write_text("whole")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "whole"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_file_that_fails_leaves_the_old_one(failure: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(failure), atomic_path(tmp_path / "a") as part:
        half(part, failure)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_what_a_kill_left_of_a_file_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    left = {}
    for name in ("a", "a.b"):
        with atomic_path(tmp_path / name) as part:
            left[name] = part
    for part in left.values():
        part.write_text("half")
    clear_partial(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.b", left["a.b"].name}


@pytest.mark.usefixtures("umask")
def test_what_is_written_is_as_private_as_the_user_wants(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with atomic_folder(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "a.json") == 0o600
    assert mode(tmp_path / "folder") == 0o700


def test_json_is_indented_exact_and_holds_any_letter(tmp_path: Path) -> None:
    value = {"größe": [0.1, 1e-300, -0.0], "名": None}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "größe" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_numbers_that_json_has_not_are_refused_and_nothing_is_written(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", value)
    assert os.listdir(tmp_path) == []


# a folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / text).write_text(text)
    return path


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "deep" / "run") as part:
        (part / "a").write_text("a")
        assert os.listdir(tmp_path / "deep") == [part.name]
    assert os.listdir(tmp_path / "deep") == ["run"]
    assert os.listdir(tmp_path / "deep" / "run") == ["a"]


def test_an_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", "old")
    with atomic_folder(run) as part:
        (part / "new").write_text("new")
        assert os.listdir(run) == ["old"]
    assert os.listdir(run) == ["new"]
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_the_old_one(failure: type[BaseException], tmp_path: Path) -> None:
    run = folder(tmp_path / "run", "old")
    with pytest.raises(failure), atomic_folder(run) as part:
        half(part / "half", failure)
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(run) == ["old"]


def test_stopped_between_the_two_renames_the_old_folder_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rename = folder(tmp_path / "run", "old"), Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt), atomic_folder(run) as part:
        (part / "new").write_text("new")
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(run) == ["old"]


def test_a_folder_is_written_inside_one_that_is_being_written(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run") as outer:
        for _ in range(2):
            with atomic_folder(outer / "model") as inner:
                (inner / "a").write_text("a")
    assert os.listdir(tmp_path / "run") == ["model"]
    assert os.listdir(tmp_path / "run" / "model") == ["a"]


def test_what_a_kill_left_of_a_folder_is_cleared_away_and_what_another_process_writes_is_not(tmp_path: Path) -> None:
    dead = folder(tmp_path / ".run.abcdefgh.part", "half")
    other = folder(tmp_path / ".runs.abcdefgh.part", "of another name")
    with atomic_folder(tmp_path / "run") as first:
        assert not dead.exists()
        with atomic_folder(tmp_path / "run") as second:
            assert sorted(tmp_path.iterdir()) == sorted((first, second, other)), "each holds its own"
            (second / "a").write_text("second")
        (first / "a").write_text("first")
    assert sorted(os.listdir(tmp_path)) == [other.name, "run"]
    assert (tmp_path / "run" / "a").read_text() == "first"


@pytest.mark.parametrize("there", [False, True])
def test_an_older_folder_that_a_kill_left_aside_comes_back_unless_it_was_replaced(there: bool, tmp_path: Path) -> None:
    folder(tmp_path / ".run.abcdefgh.old", "old")
    if there:
        folder(tmp_path / "run", "new")
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "run"):
        raise ValueError("stop")
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["new" if there else "old"]


def test_a_link_is_followed_to_where_the_folder_really_lies(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    folder(tmp_path / "disk" / "run", "old")
    (tmp_path / "run").symlink_to("disk/run")
    with atomic_folder(tmp_path / "run") as part:
        (part / "new").write_text("new")
    assert (tmp_path / "run").is_symlink()
    assert os.listdir(tmp_path / "disk" / "run") == ["new"]
    assert os.listdir(tmp_path / "disk") == ["run"]


def test_dots_on_the_way_are_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "run", "old")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder("../run/.") as part:
        (part / "new").write_text("new")
    assert os.listdir(tmp_path / "run") == ["new"]
    assert sorted(os.listdir(tmp_path)) == ["here", "run"]


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")
    with pytest.raises(OSError, match="Not a directory"), atomic_folder(tmp_path / "thesis"):
        pass
    assert (tmp_path / "thesis").read_text() == "x"
    assert os.listdir(tmp_path) == ["thesis"]
