"""The command line: what goes wrong is one message with its cure, and what is stopped leaves nothing half-written."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import pty
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from deixis import cli
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common import command_line
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check
from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb, command, read_verb, verbs
from deixis.cli import main
from deixis.errors import raise_if_stopped
from deixis.types.literals import read_literal
from tests import house
from tests.commands import QUICK, SOURCE, Answer, deixis, own_cache, start
from tests.pictures import captioned, picture, spoil
from tests.support import few

VERBS = verbs()
RIDGE = (*QUICK, "--method", "ridge")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cli")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    return captioned(place / "pictures", 40)


@pytest.fixture(scope="module")
def run(place: Path, data: Path) -> Path:
    assert deixis("adapt", data, *RIDGE, "--out", place / "run").code == 0
    return place / "run"


def left_in(folder: Path) -> set[str]:
    """What lies there, hidden folders of a stopped run among it, but not the cache."""
    return set(os.listdir(folder)) - {"cache", "pictures"}


def refused(*arguments: object) -> str:
    """The message of a command that must fail for a reason it can tell: one line, no traceback, nothing as a result."""
    code, out, err = deixis(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    message = err.rstrip().splitlines()[-1]
    assert message.startswith(f"deixis {arguments[0]}: ")
    return message


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for verb in ("adapt", "demo", "index", "label", "eval"):
        message = refused(verb, data, "--device", "cuda", "--out", place / "nowhere")
        assert "--device cuda was requested" in message
        assert "Leave --device out" in message
    assert "--device cuda was requested" in refused("train", "clip", "--data", data, "--device", "cuda")
    assert "--device cuda was requested" in refused("segment", data, "--model", place, "--device", "cuda")
    assert not (place / "nowhere").exists()


# help


def test_help_is_given_where_it_is_asked_for_and_where_nothing_is() -> None:
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        code, out, err = deixis(*arguments)
        assert (code, err) == (0, "")
        assert all(f"deixis {verb} " in out for verb in VERBS)
    version = deixis("--version").out
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    as_module = subprocess.run(
        [sys.executable, "-m", "deixis", "--version"], capture_output=True, text=True, check=True
    )
    assert as_module.stdout == version


def test_help_of_every_verb_loads_no_torch() -> None:
    lines = ["from deixis.cli import main"]
    lines += [f"try:\n    main([{verb!r}, '--help'])\nexcept SystemExit: pass" for verb in VERBS]
    assert house.heavy_imports("\n".join(lines), search=(SOURCE,)) == []


@pytest.mark.parametrize(
    ("statement", "spared"),
    [
        ("import deixis", ["typing", "dataclasses"]),
        ("from deixis.cli import _help; print(_help())", ["typing", "re", "ast"]),
        ("from deixis.apps.list.catalogue import listing; listing()", ["dataclasses", "deixis.types.specs"]),
    ],
)
def test_what_must_answer_at_once_loads_nothing_that_takes_as_long_as_its_answer(
    statement: str, spared: list[str]
) -> None:
    code = f"import sys\nsys.path[:0] = [{str(SOURCE)!r}]\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "deixis" in done.stdout.split()
    assert not {*spared} & {*done.stdout.split()}


def flags(verb: str) -> set[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", deixis(verb, "--help").out)
    return set(re.findall(r"--[a-z][a-z-]*", text)) - {"--help"}


def test_the_flags_of_adapt_are_the_fields_of_its_settings() -> None:
    names = {field.name for each in (AdaptSettings, Reading) for field in dataclasses.fields(each)}
    switches = {
        field.name for each in (AdaptSettings, Reading) for field in dataclasses.fields(each) if field.type == "bool"
    }
    wanted = {f"--{name.replace('_', '-')}" for name in names | {"out", "overwrite", "quiet"}}
    wanted |= {f"--no-{name.replace('_', '-')}" for name in switches | {"overwrite", "quiet"}}
    assert flags("adapt") == wanted


@pytest.mark.parametrize("verb", ["index", "check", "label", "pack"])
def test_verbs_that_read_data_read_it_with_the_same_flags(verb: str) -> None:
    assert {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Reading)} <= flags(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_help_opens_with_what_a_verb_does_an_example_and_where_to_go_on(verb: str) -> None:
    file = command(verb)
    lines = deixis(verb, "--help").out.splitlines()
    assert lines[0].endswith(".")
    assert len(lines[0]) <= 100
    assert lines[1].startswith(f"Example: deixis {verb}")
    assert lines[2].startswith("See also: ")
    for other in file.VERB.see:
        assert (SOURCE.parent / other).is_file() if other.endswith(".md") else other.split()[-1] in VERBS
    positional = "\n".join(lines).partition("\nArguments:\n")[2].partition("\n\n")[0]
    assert not re.search(r"^  (STR|INT)\b", positional, re.MULTILINE), "they go by what they are: DATA, RUN"
    assert "(default: )" not in "".join(lines)


@pytest.mark.parametrize("verb", VERBS)
def test_flags_of_a_verb_are_documented_and_the_groups_that_it_declares_name_them(verb: str) -> None:
    file = command(verb)
    declared = [flag for flag in command_line.flags(file.run) if not flag.positional]
    assert {*file.VERB.what, *file.VERB.output, *file.VERB.rare} <= {flag.name for flag in declared}
    assert all(flag.text for flag in command_line.flags(file.run))


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_declares_is_a_literal_and_is_read_without_importing_it(verb: str) -> None:
    path = SOURCE / "deixis" / "apps" / verb / "command.py"
    assert read_literal(path, "VERB", {"Verb": Verb}) == command(verb).VERB == read_verb(verb)


def test_rare_flags_come_last_and_what_is_written_has_a_group_of_its_own() -> None:
    text = deixis("train", "--help").out
    titles = ["Arguments:", "What:", "How:", "Output:", "How DATA is read:", "Rarely needed:"]
    places = [text.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert text.index("--timeout") > places[-1]
    assert places[3] < text.index("\n  --out ") < places[4]


TOY = '''
from __future__ import annotations
from deixis.apps.common.verbs import Verb

VERB = Verb(
    "greet somebody",
    example="deixis greet you",
    arguments="NAME",
    group="greetings",
    python="deixis.apps.greet",
)


def run(name: str, /, loud: bool = False) -> int:
    """Greets somebody.

    Args:
        name: of whom.
        loud: in capitals.
    """
    print(f"hello {name}".upper() if loud else f"hello {name}")
    return 3
'''


def test_a_folder_is_all_that_a_new_verb_takes(tmp_path: Path) -> None:
    """In a copy of the package: it stands in the help and in the documents, has flags, runs, and is had from Python."""
    copy = tmp_path / "deixis"
    (copy / "apps" / "greet").mkdir(parents=True)
    for inside, files in ((copy, SOURCE / "deixis"), (copy / "apps", SOURCE / "deixis" / "apps")):
        for each in files.iterdir():
            if each.name not in ("apps", "__pycache__"):
                (inside / each.name).symlink_to(each)
    (copy / "apps" / "greet" / "__init__.py").write_text("def greet():\n    return 'hello'\n")
    (copy / "apps" / "greet" / "command.py").write_text(TOY)
    code = "import deixis; from deixis import cli; from docs import build; print(deixis.greet(), dir(deixis)); "
    code += "print(build.commands_page(build.verbs(), build.MADE, build.table), cli._help()); "
    code += "cli.main(['greet', 'you', '--loud'])"
    path = os.pathsep.join([str(tmp_path), str(SOURCE.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    out = done.stdout
    assert "| `greet NAME` | greet somebody | `deixis greet you` |" in out
    assert re.search(r"Greetings\n  deixis greet NAME +greet somebody", out)
    assert out.startswith("hello ")
    assert "'greet'" in out
    assert out.endswith("HELLO YOU\n")


def test_a_verb_that_is_misspelt_is_answered_with_the_nearest() -> None:
    code, _, err = deixis("serach", "x")
    assert code == 2
    assert "Did you mean search?" in err
    assert "The commands are adapt, index, search" in deixis("qqq").err


@pytest.mark.parametrize(
    "arguments", [("adapt",), ("adapt", "x", "--splits", "two"), ("search", "x", "y", "--nothing")]
)
def test_flags_that_do_not_exist_or_do_not_fit_are_an_error(arguments: tuple[str, ...]) -> None:
    assert deixis(*arguments).code == 2


# bad input: a folder or table that is none


def test_a_path_that_is_missing(data: Path) -> None:
    assert f"Did you mean {data}?" in refused("adapt", f"{data}s", *QUICK)


def test_a_folder_without_images(tmp_path: Path) -> None:
    assert "holds no files" in refused("adapt", tmp_path, *QUICK)
    (tmp_path / "notes.docx").write_text("x")
    assert "holds no images, but 1 .docx" in refused("adapt", tmp_path, *QUICK)


def test_a_single_image(data: Path) -> None:
    one = next(data.glob("*.png"))
    assert f"is a single image. Give the folder that holds it: {data}" in refused("adapt", one, *QUICK)


def table(place: Path, head: str, line: Callable[[Path], str], name: str = "table.csv", count: int = 40) -> Path:
    """A table of pictures that lie beside it."""
    folder = captioned(place / "pictures", count)
    path = folder / name
    path.write_text("\n".join([head, *map(line, sorted(folder.glob("*.png")))]), encoding="utf-8")
    return path


def test_a_table_with_missing_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "bild,wort", lambda each: f"{each.name},a word")
    assert "no column that names the image files; its columns are 'bild', 'wort'" in refused("adapt", path, *QUICK)
    assert "Name it with --path-column" in refused("adapt", path, *QUICK)
    assert "has no column 'worte'" in refused(
        "adapt", path, *QUICK, "--path-column", "bild", "--caption-column", "worte"
    )


@pytest.mark.slow
def test_rows_that_point_nowhere_are_counted_until_they_are_too_many(tmp_path: Path) -> None:
    path = table(tmp_path, "path,caption", lambda each: f"{each.name},some {each.stem}")
    whole = path.read_text()
    path.write_text(whole + "\ngone.png,x\nhttps://example.org/a.png,y\n,z")
    code, _, err = deixis("adapt", path, *RIDGE, "--out", tmp_path / "run")
    assert code == 0
    assert "1 skipped, file not found (such as gone.png)" in err
    assert "1 skipped, is a URL" in err
    skipped = json.loads((tmp_path / "run" / "result.json").read_text())["data"]["skipped"]
    assert {item["reason"] for item in skipped} == {"file not found", "is a URL", "path is empty"}
    path.write_text(re.sub(r"(?m)^(?!path)", "https://example.org/", whole))
    message = refused("adapt", path, *QUICK)
    assert "40 of 40 entries" in message
    assert "download the images first" in message


def test_a_spreadsheet_by_its_name_or_by_what_is_in_it(tmp_path: Path) -> None:
    for name in ("data.xlsx", "data.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(100))
    assert "Save the sheet as csv" in refused("adapt", tmp_path / "data.xlsx", *QUICK)
    assert "is an archive" in refused("adapt", tmp_path / "data.csv", *QUICK)


# bad input: words and pictures


@pytest.mark.slow
def test_captions_that_are_not_utf8_are_skipped_and_counted(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 40)
    first = sorted(data.glob("*.txt"))[0]
    first.write_bytes("ein Bär".encode("latin-1"))
    code, _, err = deixis("adapt", data, *RIDGE, "--out", tmp_path / "run")
    assert code == 0
    assert "caption is not UTF-8" in err
    assert "iconv" in err
    reasons = [item["reason"] for item in json.loads((tmp_path / "run" / "result.json").read_text())["data"]["skipped"]]
    assert reasons == ["caption is not UTF-8", "no caption"]


@pytest.mark.slow
def test_nul_bytes_and_a_caption_of_a_megabyte_are_mended_and_said(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 40)
    first, second, *_ = sorted(data.glob("*.txt"))
    first.write_bytes(b"a b\0ird")
    second.write_text("endless " * 125_000)
    code, _, err = deixis("adapt", data, *RIDGE, "--out", tmp_path / "run")
    assert code == 0
    assert "Control characters (such as NUL) were removed from 1 captions" in err
    assert "1 captions were longer than 10,000 characters" in err
    items = map(json.loads, (tmp_path / "run" / "index" / "items.jsonl").read_text().splitlines())
    captions = {item["id"]: item["captions"][0] for item in items}
    assert captions[f"{first.stem}.png"] == "a bird"
    assert len(captions[f"{second.stem}.png"]) <= 10_000
    assert len((tmp_path / "run" / "report.html").read_text()) < 2_000_000


@pytest.mark.slow
def test_pictures_that_cannot_be_read_are_skipped_by_every_verb(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 24)
    reasons = spoil(data)
    assert deixis("adapt", data, *RIDGE, "--out", tmp_path / "run").code == 0
    skipped = json.loads((tmp_path / "run" / "result.json").read_text())["data"]["skipped"]
    assert {item["path"]: item["reason"] for item in skipped} == reasons
    assert all(item["detail"] for item in skipped)
    code, out, _ = deixis("check", data)
    assert code == 1
    assert all(f"unreadable: {reason}" in out for reason in reasons.values())
    assert "4 skipped" in deixis("index", data, "--model", "tiny", "--out", tmp_path / "index").out
    assert "24 images in" in deixis("label", data, "--model", "tiny", "--out", tmp_path / "labels.csv").out


@pytest.mark.slow
def test_pictures_of_every_kind_are_learned_from(tmp_path: Path) -> None:
    data, rng = captioned(tmp_path / "pictures", 24), random.Random(3)
    whole = Image.open(picture(tmp_path / "whole.png", (200, 90, 10), rng))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole.convert("CMYK").save(data / "cmyk.jpg")
    whole.convert("L").save(data / "grey.png")
    whole.convert("I;16").save(data / "deep.png")
    whole.convert("RGBA").quantize(16).save(data / "palette.png", transparency=0)
    whole.save(data / "rotated.jpg", exif=exif)
    whole.save(data / "moving.gif", save_all=True, append_images=[whole.rotate(90)])
    for path in (path for path in data.iterdir() if path.suffix != ".txt"):
        if not path.with_suffix(".txt").exists():
            path.with_suffix(".txt").write_text(f"of the kind {path.stem}")
    assert deixis("adapt", data, *RIDGE, "--out", tmp_path / "run").code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["skipped"] == []
    assert result["data"]["images"] == 30


def test_a_picture_of_600_megapixels_is_told_its_limit_and_not_decoded(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 24)
    small = next(data.glob("*.png")).read_bytes()
    header = b"IHDR" + struct.pack(">II", 30_000, 20_000) + small[24:29]
    (data / "wall.png").write_bytes(small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:])
    (data / "wall.txt").write_text("a wall")
    report = check(str(data), quiet=True)
    assert report.status == 1
    [wall] = report.unreadable
    assert wall.reason == "too many pixels"
    assert "600,000,000 pixels" in wall.detail
    assert "the limit is 100,000,000 pixels" in wall.detail


def test_where_no_picture_can_be_read_the_job_fails(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 24)
    for path in data.glob("*.png"):
        path.write_bytes(b"")
    assert "None of the 24 images" in refused("adapt", data, *QUICK, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_a_picture(data: Path, tmp_path: Path) -> None:
    one = next(data.glob("*.png"))
    for verb in ("adapt", "index", "label"):
        message = refused(verb, data, "--model", one, "--out", tmp_path / "out")
        assert "is a file, and not a model that can be loaded. The models are: starter, desk-clip, tiny" in message
    assert os.listdir(tmp_path) == []


# bad input: a place to write


def test_an_out_that_cannot_be_written_is_told_before_the_work(data: Path) -> None:
    code, _, err = deixis("adapt", data, *QUICK, "--out", "/proc/deixis/run")
    assert code == 2
    assert "can't be written in /proc" in err
    assert "check images" not in err


@pytest.mark.slow
def test_an_out_that_holds_another_run_is_told_before_the_work(data: Path, run: Path) -> None:
    before = (run / "result.json").read_bytes()
    code, _, err = deixis("adapt", data, *QUICK, "--out", run)
    assert code == 2
    assert "holds another run. Choose another --out, or replace it with --overwrite" in err
    assert "check images" not in err
    assert (run / "result.json").read_bytes() == before


@pytest.mark.slow
def test_a_run_is_replaced_where_that_is_asked_for(data: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        flags = ("--seed", seed, "--out", tmp_path / "run", "--overwrite")
        assert deixis("adapt", data, *RIDGE, *flags).code == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seed"] == 1
    assert left_in(tmp_path) == {"run"}


def test_a_folder_of_ones_own_is_never_replaced(data: Path, run: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(run, tmp_path / "run")
    (mine / "notes.txt").write_text("mine")
    assert "other files in it, such as notes.txt" in refused("adapt", data, *RIDGE, "--out", mine, "--overwrite")
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_disk_that_runs_full_is_told_and_nothing_is_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("deixis.apps.adapt.adapt.render", full)
    code, out, err = deixis("adapt", data, *RIDGE, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.rstrip().endswith(f"The disk is full at {tmp_path}. Free some space and run again.")
    assert left_in(tmp_path) == set()


# stopped


MOMENTS = {
    "reading": "deixis.apps.adapt.drafts.read",
    "loading the model": "deixis.apps.adapt.adapt.zoo.load",
    "checking": "deixis.data.quality.check.duplicates",
    "encoding": "deixis.engine.features.store.FeatureStore.put",
    "choosing": "deixis.engine.adaptation.divisions.fit",
    "the last fit": "deixis.apps.adapt.adapt.experiments.refit",
    "writing the model": "deixis.zoo.folder.write_json",
    "writing the index": "deixis.indexing.segments._write_items",
    "writing the report": "deixis.apps.adapt.adapt.render",
    "the last rename": "deixis.files._target",
}


def stopped(number: signal.Signals, moment: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Answer:
    """Runs a command in which a signal arrives when a certain function is called."""

    def arrive(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(number)
        raise AssertionError("the signal was swallowed")

    with monkeypatch.context() as patch:
        patch.setattr(moment, arrive)
        return deixis(*arguments)


_FAST = ("reading", "writing the model", "the last rename")


@pytest.mark.parametrize(
    "moment",
    [pytest.param(m, id=name, marks=() if name in _FAST else pytest.mark.slow) for name, m in MOMENTS.items()],
)
def test_a_signal_at_any_moment_leaves_nothing_half_written(
    moment: str, place: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
    number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[list(MOMENTS.values()).index(moment) % 3]
    answer = stopped(number, moment, monkeypatch, "adapt", data, *RIDGE, "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (128 + number, "")
    assert "No partial file was left" in answer.err
    assert left_in(tmp_path) == set()


@pytest.mark.slow
def test_a_signal_while_an_old_run_is_replaced_keeps_the_old_run(
    data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = shutil.copytree(run, tmp_path / "run")
    arguments = ("adapt", data, *RIDGE, "--out", old, "--overwrite")
    for moment in ("deixis.apps.adapt.adapt.render", "deixis.files.Path.replace"):
        assert stopped(signal.SIGTERM, moment, monkeypatch, *arguments).code == 143
        assert left_in(tmp_path) == {"run"}
        assert (old / "result.json").read_bytes() == (run / "result.json").read_bytes()


class Ended(NamedTuple):
    """How a process ended that was sent a signal, and what the same command said when it was given again."""

    code: int
    err: str
    left: set[str]
    again: Answer


SIGNALS = {
    "encode images: 32 of": signal.SIGTERM,
    "shuffled captions: divisions: 0 of": signal.SIGINT,
}


def interrupted(place: Path, line: str) -> tuple[int, str]:
    """Runs the main job and stops it when a line of progress begins so: the exit code, and all it said."""
    process = start("adapt", "pictures", "--model", "tiny", "--out", "run", cwd=place, cache=place / "cache")
    assert process.stderr is not None
    err = ""
    for told in process.stderr:
        err += told
        if told.startswith(line):
            process.send_signal(SIGNALS[line])
            break
    out, rest = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err + rest


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """The main job in processes of their own, each stopped at another moment, and run again."""
    places = {line: tmp_path_factory.mktemp("stopped") for line in SIGNALS}
    for place in places.values():
        captioned(place / "pictures", 70)
    with ThreadPoolExecutor(len(places)) as pool:
        ends = dict(zip(places, pool.map(interrupted, places.values(), places), strict=True))
    found = {}
    for line, place in places.items():
        left = left_in(place)
        with own_cache(place / "cache"):
            again = deixis("adapt", place / "pictures", *RIDGE, "--out", place / "run")
        found[line] = Ended(*ends[line], left, again)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("line", SIGNALS)
def test_a_process_that_is_stopped_says_so_and_leaves_nothing(line: str, ended: dict[str, Ended]) -> None:
    end = ended[line]
    assert end.code == 128 + SIGNALS[line]
    assert "Stopped. No partial file was left" in end.err
    assert "Traceback" not in end.err
    assert end.left == set()
    assert end.again.code == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", SIGNALS)
def test_the_same_command_goes_on_from_what_was_encoded_and_says_so(line: str, ended: dict[str, Ended]) -> None:
    found = re.search(r"(\d+) of 70 images were encoded before; resuming", ended[line].again.err)
    assert found is not None
    assert int(found[1]) >= 32


@pytest.mark.parametrize("lost", few([False, True], True))
def test_stopped_while_it_still_starts_it_says_so(lost: bool, tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 2)
    words, at_import = ("adapt", "pictures", "--model", "tiny", "--out", "run"), (signal.SIGTERM, "torch")
    process = start(*words, cwd=tmp_path, at_import=at_import, lost=lost)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err.strip().startswith("Stopped. No partial file was left")
    assert left_in(tmp_path) == set()


# wrong input is reported at once

WRONG = {
    "search nowhere words": "There is no folder nowhere.",
    "search run words --mix 5": "The mix is 5.0.",
    "search run words --k 0": "0 results were requested.",
    "search run --image gone.jpg": "'gone.jpg' does not exist.",
    "explain gone.jpg words": "'gone.jpg' does not exist.",
    "adapt pictured": "Did you mean",
    "index nowhere": "nowhere does not exist.",
    "serve file": "file is a file, and a run is a folder.",
    "export nowhere": "There is no folder nowhere.",
    "ground nowhere words": "nowhere does not exist.",
}


def test_a_wrong_path_or_number_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    for name in ("run", "pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    code = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from deixis.cli import main
for line in {list(WRONG)!r}:
    try:
        main(line.split())
    except SystemExit as left:
        print(left.code, "torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[1::2] == ["2 False"] * len(WRONG)
    for line, message in zip(lines[::2], WRONG.values(), strict=True):
        assert message in line


def test_on_a_terminal_a_line_stands_until_torch_is_imported_and_then_goes(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "import sys\nprint('imported', __spec__.loader.name, file=sys.stderr)"
    )
    code = f"""
import sys
sys.path[:0] = [{str(SOURCE)!r}, {str(tmp_path)!r}]
from deixis.apps.common.startup_notice import announce_torch
announce_torch()
import torch
print("done", file=sys.stderr)
"""
    main_end, end = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=end, stdin=subprocess.DEVNULL) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(main_end, 4096):
                shown += piece
    os.close(main_end)
    assert process.returncode == 0
    assert shown.split() == [b"Loading", b"PyTorch", b"...imported", b"torch", b"\x1b[Kdone"]


# output that nobody reads


@pytest.mark.parametrize("arguments", few([["--help"], ["list"], ["show", "residual"], ["data", "list"]], ["list"]))
def test_a_reader_that_leaves_early_is_no_error_worth_a_word(arguments: list[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(*arguments, cwd=tmp_path, stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def redirected(*arguments: object, by: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process whose output a shell has redirected, such as by `2>&-`."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from deixis.cli import main; main()"
    words = [sys.executable, "-c", code, *map(str, arguments)]
    script = f'"$@" {by}'
    return subprocess.run(["sh", "-c", script, "sh", *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", few([["--help"], ["list"], ["show", "residual"]], ["--help"]))
def test_output_that_cannot_be_written_is_one_line_and_an_exit_code(arguments: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = start(*arguments, cwd=tmp_path, stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (74, "deixis: the output can't be written: No space left on device.\n")


def test_output_that_is_closed_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = redirected("list", by=">&-", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr == "deixis: standard output is closed, so the result was not printed.\n"


@pytest.mark.parametrize("errors", few(["2>/dev/full", "2>&-"], "2>&-"))
def test_where_no_error_can_be_printed_the_exit_code_still_says_it(errors: str, tmp_path: Path) -> None:
    done = redirected("check", "nowhere", by=errors, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.slow
def test_work_whose_result_nobody_reads_is_done_all_the_same(data: Path, place: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("index", data, "--model", "tiny", "--out", "index", cwd=tmp_path, stdout=write)
    os.close(write)
    assert process.wait(timeout=60) == 141
    assert (tmp_path / "index" / "index" / "manifest.json").is_file()
    assert process.stderr is not None
    process.stderr.close()


def test_a_terminal_without_a_letter_gets_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = captioned(tmp_path / "größe", 4)
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as screen, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", screen)
        with pytest.raises(SystemExit):
            main(["check", str(data)])
        assert screen.buffer.getvalue().startswith(b"gr\\xf6\\xdfe: unusable")  # type: ignore[attr-defined]


def test_a_signal_that_comes_while_python_lets_go_of_something_stops_the_command_all_the_same() -> None:
    script = (
        "import signal, sys, time, weakref\n"
        "from deixis import cli\n"
        "class Thing: pass\n"
        "def run(verb, arguments):\n"
        "    thing = Thing()\n"
        "    reference = weakref.ref(thing, lambda gone: signal.raise_signal(signal.SIGTERM))\n"
        "    del thing\n"
        "    time.sleep(30)\n"
        "cli._run = run\n"
        "sys.exit(cli._guarded('check', []))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")
    assert done.stderr.strip().startswith("Stopped. No partial file was left")


def test_a_signal_that_comes_while_a_module_is_imported_stops_the_command_once_it_is(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nprint('imported')\n")
    script = (
        "import sys, time\n"
        "from deixis import cli\n"
        "def run(verb, arguments):\n"
        "    import slow\n"
        "    time.sleep(30)\n"
        "cli._run = run\n"
        "sys.exit(cli._guarded('check', []))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "imported\n")
    assert done.stderr.strip().startswith("Stopped. No partial file was left")


def test_a_signal_that_code_in_c_swallows_stops_the_next_turn_of_a_long_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(verb: str, arguments: Sequence[str]) -> int:
        with Reporter(quiet=True).bar("pictures") as update:
            update(1, 3)
            with contextlib.suppress(KeyboardInterrupt):  # as what is called through C may do
                signal.raise_signal(signal.SIGTERM)
            update(2, 3)
        raise AssertionError

    monkeypatch.setattr(cli, "_run", run)
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    handlers = [signal.getsignal(each) for each in signals]
    assert cli._guarded("check", []) == 128 + signal.SIGTERM
    raise_if_stopped()  # once the command has ended, nothing is left of it
    assert [signal.getsignal(each) for each in signals] == handlers
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_any_time_leaves_nothing_half_written(number: signal.Signals, tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 70)
    for tenths in range(1, 45, 4):
        cache, begun = tmp_path / "cache" / str(tenths), tmp_path / "cache" / f"{tenths}-begun"
        begun.parent.mkdir(exist_ok=True)
        process = start("adapt", "pictures", "--model", "tiny", "--out", "run", cwd=tmp_path, cache=cache, begun=begun)
        while not begun.exists() and process.poll() is None:  # a signal before is answered by Python, with exit code 1
            time.sleep(0.01)
        time.sleep(tenths / 10)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (128 + number, -number, 0), err
        assert "Traceback" not in err or tenths < 5  # before it could say what a signal means
        assert left_in(tmp_path) == ({"run"} if process.returncode == 0 else set())
        shutil.rmtree(tmp_path / "run", ignore_errors=True)


def refused_by_torch() -> None:
    torch.empty(10**14)


def refused_by_python() -> None:
    raise MemoryError


@pytest.mark.parametrize("ask", [refused_by_torch, refused_by_python])
def test_memory_that_is_refused_is_one_message(ask: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deixis.apps.check.command.run", lambda *arguments, **options: ask())
    monkeypatch.setattr(command_line, "parse_and_run", lambda verb, function, arguments: function())
    code, out, err = deixis("check", "nowhere")
    assert (code, out) == (2, "")
    assert "There is not enough memory. No partial file was left" in err
    assert err.endswith("give smaller batches or less data, and run again.\n")


def test_an_error_of_the_program_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "parse_and_run", lambda verb, function, arguments: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        main(["check", "nowhere"])
