"""Indexing a collection as it is, and keeping the index as the collection becomes: nothing is done twice or lost."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis import zoo
from deixis.apps.index import index as index_module
from deixis.apps.index.index import index, update
from deixis.apps.search.calibration import read_calibration
from deixis.apps.search.search import search
from deixis.data.quality import image_probe
from deixis.files import content_hash
from deixis.indexing.index import Index
from deixis.inputs import preprocess
from deixis.nn.dual import DualEncoder
from tests.commands import SOURCE, deixis, own_cache, start
from tests.engine.training.test_launch import free_port
from tests.pictures import captioned, picture, spoil

# finding


@pytest.mark.slow
def test_an_index_by_an_adapted_model_holds_what_that_model_says(adapted: Path) -> None:
    encoder, opened = zoo.load(adapted), Index.open(adapted / "index")
    assert encoder.image_adapter is not None
    paths = [opened.item(row)["path"] for row in range(len(opened))]
    np.testing.assert_allclose(encoder.encode_image(paths).numpy(), opened.vectors, atol=2e-6)
    with Image.open(paths[3]) as opened_picture:
        found = search(adapted, images=[opened_picture])[0]
    assert found.item["path"] == paths[3]
    assert found.score == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 6)
    spoil(data)
    code, out, _ = deixis("index", data, "--model", "tiny", "--out", tmp_path / "index")
    assert code == 0
    assert f"6 images indexed in {tmp_path / 'index'}; 4 skipped." in out


def test_an_index_says_where_and_in_which_precision_its_vectors_were_made_also_after_a_change(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 6)
    made = index(str(data), tmp_path / "index", "tiny", device="cpu", batch=2, precision="bf16", quiet=True)
    assert made.manifest["compute"] == {"device": "cpu", "batch": 2, "precision": "bf16"}
    full = index(str(data), tmp_path / "full", "tiny", device="cpu", quiet=True)
    assert 0 < np.abs(made.vectors - full.vectors).max() < 0.05
    picture(data / "new.png", (200, 30, 30), random.Random(1))
    update(tmp_path / "index", str(data))
    assert Index.open(tmp_path / "index" / "index").manifest["compute"] == made.manifest["compute"]


def test_an_update_killed_before_it_has_measured_is_known_to_owe_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more, run = captioned(tmp_path / "more", 10, seed=1), tmp_path / "index"
    made = index(str(captioned(tmp_path / "pictures", 30)), run, "tiny", quiet=True)
    fingerprint = str(made.manifest["fingerprint"])
    of_thirty = read_calibration(run, fingerprint)
    assert of_thirty is not None

    def killed(*arguments: object) -> str:
        (run / ".relevance.json.abcdefgh.part").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_module, "measure_again", killed)
        with pytest.raises(KeyboardInterrupt):
            update(run, str(more), remove_gone=True)
    assert len(Index.open(run / "index")) == 40
    assert read_calibration(run, fingerprint) is None
    update(run, str(more), remove_gone=True)
    of_forty = read_calibration(run, fingerprint)
    assert of_forty is not None
    assert of_forty != of_thirty
    assert not list(run.glob(".*"))


def test_images_that_a_shell_has_listed_are_indexed_as_their_folder_is(tmp_path: Path) -> None:
    pictures = sorted(captioned(tmp_path / "pictures", 3).glob("*.png"))
    code, out, _ = deixis("index", *pictures[:2], "--model", "tiny", "--out", tmp_path / "index")
    assert (code, out.splitlines()[0]) == (0, f"2 images indexed in {tmp_path / 'index'}; 0 skipped.")
    code, _, err = deixis("check", *pictures)
    assert code == 2
    assert "3 files were given, and DATA is one. Give their folder, or the pattern itself in quotation marks" in err
    code, out, _ = deixis(
        "index", tmp_path / "pictures" / f"{pictures[0].stem}*", "--model", "tiny", "--out", tmp_path / "one"
    )
    assert (code, out.splitlines()[0]) == (0, f"1 image indexed in {tmp_path / 'one'}; 0 skipped.")


# one pass


def test_each_picture_is_decoded_once_and_no_check_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check finds is about learning; a picture that can't be read is found by encoding it."""
    data, decoded = captioned(tmp_path / "pictures", 6), list[object]()
    shutil.copy(next(data.glob("*.png")), data / "copy.png")
    for module in (preprocess, image_probe):
        whole = module.open_image
        noted = lambda source, whole=whole, **more: decoded.append(source) or whole(source, **more)  # noqa: E731
        monkeypatch.setattr(module, "open_image", noted)
    made = index(str(data), tmp_path / "index", "tiny", quiet=True)
    assert (len(made), len(decoded)) == (7, 6)
    paths = [item["path"] for _, item in made.items()]
    np.testing.assert_allclose(zoo.load("tiny").encode_image(paths).numpy(), made.vectors, atol=2e-6)
    assert [item["id"] for _, item in made.items()] == sorted(item["id"] for _, item in made.items())


@pytest.mark.slow
def test_items_hold_the_hash_of_the_content_and_the_columns_of_a_table(place: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"image,year\n{place}/pictures/00.png,2020\n{place}/pictures/01.png,2021\n")
    made = index(str(tmp_path / "list.csv"), tmp_path / "index", "tiny", dtype="float16", quiet=True)
    assert [item["hash"] for _, item in made.items()] == [content_hash(place / f"pictures/0{i}.png") for i in range(2)]
    assert made.where(["year>=2021"]).tolist() == [False, True]
    assert made.vectors.dtype == np.float16


def test_where_nothing_can_be_read_nothing_is_written(tmp_path: Path) -> None:
    data = tmp_path / "pictures"
    for i in range(3):
        data.mkdir(exist_ok=True)
        (data / f"{i}.png").write_bytes(b"no picture at all")
    code, _, err = deixis("index", data, "--model", "tiny", "--out", tmp_path / "index")
    assert code == 2
    assert "None of the 3 images" in err
    assert "0.png is not an image" in err
    assert not (tmp_path / "index").exists()


# keeping it as the collection is


@pytest.fixture
def kept(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an `index` of its `pictures`, which can be changed; the cache is empty, as on another day."""
    shutil.copytree(place / "pictures", tmp_path / "pictures", ignore=shutil.ignore_patterns("[12]*.png"))
    with own_cache(place / "cache"):
        index(str(tmp_path / "pictures"), tmp_path / "index", "tiny", quiet=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each batch had that the model was given."""
    sizes: list[int] = []
    states = DualEncoder.image_states
    monkeypatch.setattr(
        DualEncoder, "image_states", lambda self, images: sizes.append(len(images)) or states(self, images)
    )
    return sizes


def edited(folder: Path) -> None:
    """One picture new, one changed, one moved, one gone, one broken; seven stay."""
    rng = random.Random(9)
    picture(folder / "new.png", (250, 0, 0), rng)
    picture(folder / "01.png", (0, 250, 0), rng)
    (folder / "sub").mkdir()
    (folder / "02.png").rename(folder / "sub" / "moved.png")
    (folder / "03.png").unlink()
    (folder / "04.png").write_bytes((folder / "04.png").read_bytes()[:60])


def test_an_update_embeds_what_is_new_or_changed_and_removes_what_is_gone(kept: Path, asked: list[int]) -> None:
    edited(kept / "pictures")
    before = Index.open(kept / "index" / "index")
    code, out, _ = deixis("index", "pictures", "--out", "index", "--update")
    assert (code, asked) == (0, [2])
    assert out == "index: 1 added, 1 changed, 1 moved, 1 removed; 7 kept, 1 skipped.\n"
    after = Index.open(kept / "index" / "index")
    items = [item for _, item in after.items()]
    names = {"00", "01", "04", "05", "06", "07", "08", "09", "new", "sub/moved"}
    assert {item["id"] for item in items} == {f"{name}.png" for name in names} | {"large.jpg"}
    whole = [(row, item) for row, item in after.items() if item["id"] != "04.png"]
    encoded = zoo.load("tiny").encode_image([item["path"] for _, item in whole]).numpy()
    np.testing.assert_allclose(encoded, [after.vector(row) for row, _ in whole], atol=2e-6)
    broken = after.vector(after.row_of("04.png"))
    np.testing.assert_array_equal(broken, before.vector(before.row_of("04.png")), "as it was when it could be read")
    assert "nothing changed; 10 kept, 1 skipped" in deixis("index", "pictures", "--out", "index", "--update").out


@pytest.mark.slow
def test_adding_embeds_the_same_and_removes_nothing(kept: Path, asked: list[int]) -> None:
    edited(kept / "pictures")
    changed = update(kept / "index", kept / "pictures")
    assert asked == [2]
    assert (changed.added, changed.changed) == (("new.png", "sub/moved.png"), ("01.png",))
    assert (changed.removed, changed.kept, [each.path for each in changed.skipped]) == ((), 7, ["04.png"])
    ids = {item["id"] for _, item in Index.open(kept / "index" / "index").items()}
    assert {"02.png", "03.png"} <= ids


@pytest.mark.slow
def test_an_update_can_be_stopped_and_the_index_serves_all_the_while(kept: Path, asked: list[int]) -> None:
    edited(kept / "pictures")
    files = {path: path.read_bytes() for path in (kept / "index").rglob("*") if path.is_file()}
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        assert len(search(kept / "index", "words")) == 10
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(kept / "index", kept / "pictures", remove_gone=True, progress=stop)
    assert len(seen) == 1
    assert {path: path.read_bytes() for path in (kept / "index").rglob("*") if path.is_file()} == files
    assert update(kept / "index", kept / "pictures", remove_gone=True).changed == ("01.png",)
    assert sum(asked) == 2, "what was encoded before it was stopped is not encoded again"


@pytest.mark.slow
def test_pictures_are_removed_by_path_or_id_and_a_wrong_name_removes_nothing(kept: Path) -> None:
    code, _, err = deixis("index", "pictures/00.png", "pictures/o1.png", "--out", "index", "--remove")
    assert code == 2
    assert "pictures/o1.png" in err
    assert "Did you mean: pictures/01.png" in err
    code, out, _ = deixis("index", "pictures/00.png", "large.jpg", "--out", "index", "--remove")
    assert (code, out) == (0, "2 removed from index; 9 remain.\n")
    assert (kept / "pictures" / "00.png").exists()
    assert "2 added; 9 kept" in deixis("index", "pictures", "--out", "index", "--add").out


@pytest.mark.slow
def test_several_collections_share_an_index(kept: Path) -> None:
    rng = random.Random(1)
    picture(kept / "more" / "00.png", (1, 200, 3), rng)
    picture(kept / "others" / "10.png", (1, 2, 200), rng)
    assert deixis("index", "more", "others", "--out", "index", "--add").code == 0
    opened = Index.open(kept / "index" / "index")
    assert opened.item(opened.row_of("more/00.png"))["path"] == str(kept / "more" / "00.png")
    assert opened.item(opened.row_of("00.png"))["path"] == str(kept / "pictures" / "00.png")
    assert len(opened) == 13
    assert update(kept / "index", kept / "pictures", remove_gone=True).kept == 11


@pytest.mark.slow
def test_another_model_or_none_is_refused_before_anything_is_encoded(
    kept: Path, asked: list[int], adapted: Path
) -> None:
    edited(kept / "pictures")
    code, _, err = deixis("index", "pictures", "--out", "index", "--add", "--model", adapted)
    assert code == 2
    assert "made by the model 'tiny'" in err
    assert "--overwrite" in err
    shutil.rmtree(kept / "index" / "model")
    code, _, err = deixis("index", "pictures", "--out", "index", "--add")
    assert code == 2
    assert "'tiny' that made the index is not in index/model any more" in err
    assert asked == []
    assert deixis("index", "pictures", "--out", "index", "--add", "--model", "tiny").code == 0
    assert (kept / "index" / "model" / "config.json").is_file(), "kept there again"


@pytest.mark.slow
def test_a_full_disk_leaves_the_index_as_it_was(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(kept / "pictures")
    files = {path: path.read_bytes() for path in (kept / "index").rglob("*") if path.is_file()}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for command in (("--out", "index", "--update"), ("--out", "anew", "--model", "tiny")):
            code, _, err = deixis("index", "pictures", *command)
            assert code == 2
            assert "The disk is full at" in err
    assert {path: path.read_bytes() for path in (kept / "index").rglob("*") if path.is_file()} == files
    assert not (kept / "anew").exists()
    assert deixis("index", "pictures", "--out", "index", "--update").code == 0


@pytest.mark.slow
def test_a_store_that_is_full_is_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own error, when its file may not grow."""
    connect = sqlite3.connect

    def small(*arguments: object, **more: object) -> sqlite3.Connection:
        connection = connect(*arguments, **more)  # type: ignore[arg-type]
        connection.executescript("PRAGMA page_size = 512; PRAGMA max_page_count = 5")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    code, _, err = deixis("index", "pictures", "--out", "anew", "--model", "tiny")
    assert code == 2
    assert "full" in err
    assert "free some space" in err
    assert not (kept / "anew").exists()


# what is refused


def test_what_makes_no_sense_is_refused(kept: Path) -> None:
    for arguments, said in (
        (("pictures", "--out", "index", "--add", "--update"), "--add and --update were requested. Choose one."),
        (("pictures", "--out", "index", "--add", "--overwrite"), "--add and --overwrite"),
        (("pictures", "index", "--out", "anew"), "2 collections were given. Index the first"),
        (("pictures", "--out", "nowhere", "--add"), "There is no folder nowhere. Create it first: deixis index DATA"),
        (("nowhere", "--out", "index", "--update"), "nowhere"),
        (("pictures", "--out", "pictures", "--update"), "pictures is no index"),
    ):
        code, _, err = deixis("index", *arguments)
        assert code == 2, arguments
        assert said in err


def test_an_index_is_not_written_over_something_else(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for flags in ((), ("--overwrite",)):
        code, _, err = deixis("index", place / "pictures", "--model", "tiny", "--out", tmp_path / "mine", *flags)
        assert code == 2
        assert "thesis.tex" in err
    assert os.listdir(tmp_path / "mine") == ["thesis.tex"]


def test_an_index_is_replaced_where_that_is_asked_for(place: Path, copy: Path) -> None:
    one = place / "one"
    picture(one / "single.png", (0, 0, 0), random.Random(0))
    assert "holds another run" in deixis("index", one, "--model", "tiny", "--out", copy).err
    assert deixis("index", one, "--model", "tiny", "--out", copy, "--overwrite").code == 0
    assert len(Index.open(copy / "index")) == 1
    assert sorted(os.listdir(copy.parent)) == ["index"]


# processes


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 1500 files, each another content of one of four pictures: what stands behind a PNG's end is not
    shown."""
    folder = tmp_path_factory.mktemp("many")
    shown = []
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (150, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "one.png")
        shown.append((folder / "one.png").read_bytes())
    (folder / "one.png").unlink()
    for i in range(1500):
        (folder / f"{i:04}.png").write_bytes(shown[i % 4] + str(i).encode())
    return folder


def holds_all(index_folder: Path, many: Path) -> bool:
    """Whether an index holds the pictures of `many` in order, each with its vector."""
    opened = Index.open(index_folder / "index", verify=True)
    ids = [item["id"] for _, item in opened.items()]
    four = zoo.load("tiny").encode_image([many / f"{i:04}.png" for i in range(4)]).numpy()
    return ids == sorted(each.name for each in many.iterdir()) and np.allclose(
        opened.vectors, np.tile(four, (375, 1)), atol=2e-6
    )


def rows_in(cache: Path) -> int:
    if not (cache / "features.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(cache / "features.sqlite", timeout=60)) as database:
        tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'rows'").fetchone()[0]
        return int(database.execute("SELECT count(*) FROM rows").fetchone()[0]) if tables else 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_run_again_it_encodes_only_the_rest(many: Path, tmp_path: Path, how: signal.Signals) -> None:
    command = ("index", many, "--model", "tiny", "--out", tmp_path / "index")
    process = start(*command, cwd=tmp_path, cache=tmp_path / "cache")
    deadline = time.monotonic() + 120
    while rows_in(tmp_path / "cache") == 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode == (-how if how == signal.SIGKILL else 130), err
    assert how == signal.SIGKILL or "run the same command to resume" in err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache"], "nothing half-written"
    before = rows_in(tmp_path / "cache")
    assert 0 < before < 1500
    again = start(*command, cwd=tmp_path, cache=tmp_path / "cache")
    out, err = again.communicate(timeout=300)
    assert "1,500 images indexed" in out, err
    assert f"; {before} of them were encoded before" in err
    assert holds_all(tmp_path / "index", many)


@pytest.mark.slow
def test_two_ranks_share_the_work_and_make_one_index(many: Path, tmp_path: Path) -> None:
    (tmp_path / "deixis_main.py").write_text("from deixis.cli import main\n\nmain()\n", encoding="utf-8")
    agent = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    place = {"DEIXIS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}

    def run(*arguments: object) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", *agent, *map(str, (tmp_path / "deixis_main.py", *arguments))],
            cwd=tmp_path, env={**os.environ, **place}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    shutil.copytree(many, tmp_path / "many")
    (tmp_path / "many" / "0002.png").write_bytes(b"no picture")
    (tmp_path / "many" / "0003.png").write_bytes(b"no picture")
    out, err = run("index", tmp_path / "many", "--model", "tiny", "--out", tmp_path / "index")
    assert out.count("1,498 images indexed") == 1, "one rank speaks"
    assert "; 2 skipped" in out
    assert "encode images: 750 of 750" in err, "each takes a half"
    for name in ("0002.png", "0003.png"):
        shutil.copy(many / name, tmp_path / "many" / name)
    (tmp_path / "many" / "1499.png").unlink()
    out, _ = run("index", tmp_path / "many", "--out", tmp_path / "index", "--update")
    assert out.count("2 added, 1 removed; 1497 kept, 0 skipped") == 1
    opened = Index.open(tmp_path / "index" / "index", verify=True)
    four = zoo.load("tiny").encode_image([many / f"{i:04}.png" for i in range(4)]).numpy()
    assert {item["id"] for _, item in opened.items()} == {each.name for each in (tmp_path / "many").iterdir()}
    for row, item in opened.items():
        np.testing.assert_allclose(opened.vector(row), four[int(item["id"][:4]) % 4], atol=2e-6)
