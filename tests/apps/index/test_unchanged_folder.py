"""An update of a folder in which nothing has changed looks at sizes and times alone, and says what it always said."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.apps.common.console import Reporter
from deixis.apps.common.options import Reading
from deixis.apps.index import index as app
from deixis.apps.index import known_files, unchanged_folder
from deixis.apps.index.index import index, remove, update
from deixis.apps.index.index_diff import Changed
from deixis.apps.index.unchanged_folder import FILE
from deixis.engine.features import picture_reader
from deixis.errors import DeixisError
from tests.commands import SOURCE
from tests.pictures import picture

SHEETS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220)}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three pictures, one of them with a caption, as if all had been made long ago."""
    monkeypatch.setattr(known_files, "_TICK", -(10**12))
    rng, folder = random.Random(0), tmp_path / "pictures"
    for name, colour in SHEETS.items():
        picture(folder / f"{name}.png", colour, rng)
    (folder / "red.txt").write_text("a red sheet")
    return folder


@pytest.fixture
def run(data: Path) -> Path:
    index(data, data.parent / "run", "tiny", quiet=True)
    return data.parent / "run"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The models that were loaded from here on: one by each update that looks at each file."""
    given, load = list[object](), app.load_encoder

    def counted(model: str | os.PathLike[str]) -> object:
        given.append(model)
        return load(model)

    monkeypatch.setattr(app, "load_encoder", counted)
    return given


def _written_under_its_old_times(data: Path, run: Path) -> None:
    path, before = data / "red.png", (data / "red.png").stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "a new picture": lambda data, run: picture(data / "new.png", (0, 0, 0), random.Random(1)),
    "one gone": lambda data, run: (data / "red.png").unlink(),
    "one moved": lambda data, run: (data / "red.png").rename(data / "scarlet.png"),
    "one written under its old times": _written_under_its_old_times,
    "a caption": lambda data, run: (data / "red.txt").write_text("a red shoot"),
    "a new caption": lambda data, run: (data / "blue.txt").write_text("a blue sheet"),
    "a clock that went back": lambda data, run: os.utime(data / "red.png", (0, 0)),
    "an index from which was removed": lambda data, run: remove(run, ["red.png"]),
    "a model that was touched": lambda data, run: os.utime(run / "model" / "config.json", (0, 0)),
    "no list of files": lambda data, run: (run / "index" / known_files.FILE).unlink(),
    "damage": lambda data, run: (run / "index" / FILE).write_text('{"format": 1, "folders": {'),
}


def test_nothing_is_loaded_where_nothing_has_changed_and_the_words_are_the_same(
    data: Path, run: Path, loaded: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    def words() -> tuple[Changed, str]:
        found = update(run, data, remove_gone=True, talk=Reporter())
        return found, "".join(capsys.readouterr())

    short = words()
    assert not loaded
    (run / "index" / FILE).unlink()
    assert words() == short
    assert len(loaded) == 1
    assert words() == short
    assert len(loaded) == 1, "an update remembers, too"


@pytest.mark.parametrize("change", CHANGES)
def test_each_file_is_looked_at_where_anything_has_changed(
    change: str, data: Path, run: Path, loaded: list[object]
) -> None:
    CHANGES[change](data, run)
    update(run, data, remove_gone=True)
    assert len(loaded) == 1
    assert update(run, data, remove_gone=True) == Changed(kept=len(list(data.glob("*.png"))))
    assert len(loaded) == 1


def test_another_way_of_reading_or_a_named_model_is_no_old_question(
    data: Path, run: Path, loaded: list[object]
) -> None:
    assert len(update(run, data, reading=Reading(names_as_captions=True), remove_gone=True).changed) == 2
    assert len(update(run, data, remove_gone=True).changed) == 2, "and back again"
    update(run, data, model="tiny")
    assert len(loaded) == 3


def test_an_addition_that_left_in_what_has_gone_says_nothing_of_an_update(data: Path, run: Path) -> None:
    (data / "red.png").unlink()
    assert update(run, data).removed == ()
    assert update(run, data, remove_gone=True).removed == ("red.png",)


def test_two_folders_in_one_index_are_remembered_each(data: Path, run: Path, loaded: list[object]) -> None:
    other = data.parent / "other"
    picture(other / "black.png", (0, 0, 0), random.Random(1))
    for _ in range(2):
        for folder in (other, data):
            update(run, folder, remove_gone=True)
    before = len(loaded)
    assert [update(run, folder, remove_gone=True).kept for folder in (other, data)] == [1, 3]
    assert len(loaded) == before


@pytest.mark.parametrize("event", ["changed", "came", "went"])
def test_a_folder_that_changes_while_it_is_read_is_read_again(
    event: str, data: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[object]
) -> None:
    read, run = picture_reader.contents, data.parent / "run"

    def while_read(source: object) -> object:
        found = read(source)  # type: ignore[arg-type]
        if event == "went":
            (data / "red.txt").unlink(missing_ok=True)
        else:
            name = "red.txt" if event == "changed" else "blue.txt"
            (data / name).write_text("another caption")
        return found

    monkeypatch.setattr(picture_reader, "contents", while_read)
    index(data, run, "tiny", quiet=True)
    del loaded[:]
    assert len(update(run, data, remove_gone=True).changed) == 1
    assert loaded


def test_what_an_update_left_that_was_killed_at_its_very_end_is_cleared_away(data: Path, run: Path) -> None:
    left = [run / "index" / f".{name}.abcdefgh.part" for name in (FILE, known_files.FILE)]
    left.append(run / ".relevance.json.abcdefgh.part")
    for each in left:
        each.touch()
    (run / "index" / FILE).unlink()
    assert update(run, data, remove_gone=True).kept == 3
    assert not any(each.exists() for each in left)


def test_a_model_that_has_gone_is_missed_though_nothing_has_changed(data: Path, run: Path) -> None:
    (run / "model" / "config.json").unlink()
    with pytest.raises(DeixisError, match="not in"):
        update(run, data, remove_gone=True)


@pytest.mark.slow
def test_the_command_says_that_nothing_has_changed_before_torch_is_imported(data: Path, run: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from deixis.cli import main
sys.exit(main(["index", "pictures", "--out", "run", "--update"]) or ("torch" in sys.modules) * 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=data.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "run: nothing changed; 3 kept, 0 skipped.\n"


def test_the_file_is_one_of_an_index_and_names_no_more_than_the_folder(run: Path) -> None:
    assert (run / "index" / unchanged_folder.FILE).stat().st_size < 500
