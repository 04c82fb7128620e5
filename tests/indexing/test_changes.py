"""Adding and removing: what a change leaves is what was asked for, or what was there before, and never in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deixis.errors import DeixisError
from deixis.indexing import changes, folder, segments
from deixis.indexing import index as module
from deixis.indexing.changes import add, build, change, remove, replace
from deixis.indexing.index import Index
from tests.indexes import made, named, random


def ids(index: Index) -> list[str]:
    return [item["id"] for _, item in index.items()]


def stands(place: Path) -> tuple[list[str], bytes]:
    """All that an index says, all of it compared with its hashes; and that nothing else lies in the folder."""
    index = Index.open(place, verify=True)
    rows = [row for row, _ in index.items()]
    assert len(rows) == len(index)
    files = {"manifest.json", "lock", *folder.files_named(index.manifest)}
    assert set(os.listdir(place)) == files
    return ids(index), np.array([index.vector(row) for row in rows]).tobytes()


def test_what_is_added_comes_behind_and_what_is_removed_is_gone(tmp_path: Path) -> None:
    vectors = random(9, 8)
    build(tmp_path / "index", vectors[:4], named("a", "b", "c", "d"), model="m", fingerprint="f")
    assert ids(add(tmp_path / "index", vectors[4:6], named("e", "f"))) == ["a", "b", "c", "d", "e", "f"]
    index = remove(tmp_path / "index", ["b"])
    assert (ids(index), len(index)) == (["a", "c", "d", "e", "f"], 5)
    for id, place in zip("acdef", (0, 2, 3, 4, 5), strict=True):
        assert index.search(vectors[place], k=1).rows.tolist() == [[index.row_of(id)]]
    with pytest.raises(DeixisError, match="no item with the id 'b'"):
        index.row_of("b")
    index = replace(tmp_path / "index", vectors[6:8], named("c", "new", label="2"))
    assert sorted(ids(index)) == ["a", "c", "d", "e", "f", "new"]
    assert index.item(index.row_of("c"))["label"] == "2"
    assert index.search(vectors[6], k=1).rows.tolist() == [[index.row_of("c")]]
    assert index.expect("f") is None


def test_all_at_once_is_one_step(tmp_path: Path) -> None:
    made(tmp_path / "index", random(8, 4))
    index = change(
        tmp_path / "index", vectors=random(2, 4, 1), items=named("image-3", "x"), removed=["image-3", "image-5"]
    )
    assert ids(index) == ["image-0", "image-1", "image-2", "image-4", "image-6", "image-7", "image-3", "x"]


def test_rows_keep_their_numbers_while_an_index_is_open(tmp_path: Path) -> None:
    opened = made(tmp_path / "index", random(40, 4))
    before = opened.search(random(3, 4, 5), k=7)
    remove(tmp_path / "index", [f"image-{row}" for row in range(30)])  # all that is left is written again
    assert opened.changed()
    after = opened.search(random(3, 4, 5), k=7)
    assert (before.rows == after.rows).all()
    assert opened.item(3)["id"] == "image-3"
    again = Index.open(tmp_path / "index")
    assert not again.changed()
    assert again.rows == len(again) == 10


def test_a_row_that_was_removed_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "index", random(40, 4))
    index = remove(tmp_path / "index", ["image-7"])
    assert (index.rows, len(index)) == (40, 39)
    for ask in (index.item, index.vector):
        with pytest.raises(DeixisError, match=r"Row 7 .* was removed"):
            ask(7)


def test_an_index_may_be_emptied_and_filled_again(tmp_path: Path) -> None:
    made(tmp_path / "index", random(3, 4))
    index = remove(tmp_path / "index", ["image-0", "image-1", "image-2"])
    assert len(index) == 0
    assert index.search(random(2, 4), k=5).rows.shape == (2, 0)
    assert index.near(0.5) == []
    assert index.where(["id=x"]).shape == (0,)
    assert ids(add(tmp_path / "index", random(1, 4), named("x"))) == ["x"]
    assert stands(tmp_path / "index")[0] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"items": named("image-1")}, r"has an item with the id 'image-1' already\. Replace it"),
        ({"items": named("x", "x")}, "id 'x' was given twice"),
        ({"items": [{"path": "x"}]}, "Item 0 has no id"),
        ({"items": named("x"), "width": 5}, "vectors have 5 numbers, those of the index .* 4"),
        ({"items": named("x", "y"), "count": 1}, "1 vectors were given for 2 items"),
        ({"removed": ["image-1", "absent"]}, "no item with the id 'absent'.*Nothing was changed"),
        ({"removed": ["image-1", "image-1"]}, "id 'image-1' was given twice"),
        ({"items": named("x"), "vectors": np.zeros((1, 4))}, "Vector 0 is all zeros"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    made(tmp_path / "index", random(8, 4))
    before = stands(tmp_path / "index")
    items = arguments.get("items", [])
    vectors = arguments.get("vectors", random(arguments.get("count", len(items)), arguments.get("width", 4)))
    with pytest.raises(DeixisError, match=said):
        change(tmp_path / "index", vectors=vectors, items=items, removed=arguments.get("removed", []))
    assert stands(tmp_path / "index") == before


def test_a_change_of_no_index_makes_none(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos", "absent"):
        with pytest.raises(DeixisError, match=r"is no index.*deixis index DATA"):
            remove(tmp_path / name, ["x"])


# few segments


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_course_of_changes_leaves_what_a_dictionary_would_hold(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, names = tmp_path_factory.mktemp("course") / "index", [f"n{i}" for i in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL", data.draw(st.integers(0, 5)))
        patch.setattr(changes, "LISTED", data.draw(st.integers(0, 3)))
        held = {"first": random(1, 4)[0]}
        build(place, random(1, 4), named("first"), model="m", fingerprint="f")
        for step in range(data.draw(st.integers(1, 6))):
            gone = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, max_size=4)) if held else []
            free = [name for name in names if name not in held or name in gone]
            new = data.draw(st.lists(st.sampled_from(free), unique=True, max_size=4)) if free else []
            vectors = random(len(new), 4, seed=step + 1)
            change(place, vectors=vectors, items=named(*new), removed=gone)
            held = {name: vector for name, vector in held.items() if name not in gone} | dict(
                zip(new, vectors, strict=True)
            )
            index = Index.open(place, verify=True)
            assert ids(index) == list(held)
            for row, item in index.items():
                np.testing.assert_array_equal(index.vector(row), segments.unit(held[item["id"]][None], "x")[0])
        stands(place)


def test_the_number_of_segments_grows_with_the_logarithm_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SMALL", 0)
    counts: list[int] = []
    written = 0
    for _ in range(1000):
        kept = changes._kept(counts, 1, 0.0)
        counts[kept:] = [sum(counts[kept:]) + 1]
        written += counts[-1]
        assert len(counts) <= 10
    assert written < 10 * 1000  # each row is written about as often as there are segments


def test_a_small_tail_is_always_one_segment(tmp_path: Path) -> None:
    assert changes._kept([1_000_000, 3000], 100, 0.0) == 1
    assert changes._kept([1_000_000, 5000], 100, 0.0) == 2
    assert changes._kept([1_000_000], 400_000, 0.0) == 1
    assert changes._kept([1_000_000], 600_000, 0.0) == 0
    assert changes._kept([1_000_000, 3000], 0, 0.0) == 2  # nothing was added
    assert changes._kept([1_000_000, 3000], 0, 0.3) == 0


def test_many_removed_rows_are_noted_in_a_file_and_many_more_written_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LISTED", 3)
    made(tmp_path / "index", random(100, 4))
    assert isinstance(remove(tmp_path / "index", ["image-1", "image-2"]).manifest["removed"], list)
    index = remove(tmp_path / "index", [f"image-{row}" for row in range(3, 20)])
    assert isinstance(index.manifest["removed"], str)
    assert (index.rows, len(index)) == (100, 81)
    index = remove(tmp_path / "index", [f"image-{row}" for row in range(20, 40)])
    assert (index.rows, len(index)) == (61, 61)
    stands(tmp_path / "index")


# interrupted


def fail_at(patch: pytest.MonkeyPatch, place: Any, name: str, number: int, error: BaseException) -> None:
    """Lets the call of that number of a function fail before it does anything."""
    right, calls = getattr(place, name), iter(range(1000))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == number:
            raise error
        return right(*arguments, **options)

    patch.setattr(place, name, failing)


FAILURES: list[tuple[Any, str, int]] = [
    *[(segments._Hashed, "write", number) for number in range(3)],
    *[(os, "fsync", number) for number in range(5)],
    (folder, "write_json", 0),
    *[(Path, "replace", number) for number in range(1)],
    (Path, "unlink", 0),
    (module.Index, "open", 1),
]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    made(tmp_path / "index", random(3, 4))
    fail_at(monkeypatch, segments, "_hashed", 0, OSError(number, os.strerror(number)))
    kind, said = (OSError, "Input/output error") if number == errno.EIO else (DeixisError, "can't be written: ")
    with pytest.raises(kind, match=said):
        add(tmp_path / "index", random(1, 4), named("x"))
    assert len(stands(tmp_path / "index")[0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [40, 60, 90])
def test_a_real_disk_that_runs_full_leaves_the_index_as_it_was(tmp_path: Path, kilobytes: int) -> None:
    from tests.apps.common.test_runs import small_disk

    with small_disk(tmp_path / "disk", kilobytes) as disk:
        made(disk / "index", random(100, 32))
        before = stands(disk / "index")
        with pytest.raises(DeixisError, match=r"The disk is full at .*/index\. The index is whole\. Free some space"):
            add(disk / "index", random(900, 32, 1), named(*map(str, range(900))))
        assert stands(disk / "index") == before


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: f"{each[1]}-{each[2]}")
def test_a_disk_that_runs_full_at_any_point_leaves_the_index_as_before_or_as_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: tuple[Any, str, int]
) -> None:
    made(tmp_path / "index", random(8, 4))
    before = stands(tmp_path / "index")
    with monkeypatch.context() as patch:
        fail_at(patch, *failure, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(DeixisError, match=r"The disk is full at .*\. The index is whole\. Free some space"):
            change(tmp_path / "index", vectors=random(5, 4, 1), items=named(*"abcde"), removed=["image-2"])
    after = [*(name for name in before[0] if name != "image-2"), *"abcde"]
    assert ids(Index.open(tmp_path / "index", verify=True)) in (before[0], after)
    change(tmp_path / "index")
    assert stands(tmp_path / "index")[0] in (before[0], after)


KILLED = textwrap.dedent(
    """
    import os, shutil, signal, sys
    from pathlib import Path
    import numpy as np
    from deixis.indexing import changes, folder, segments
    from deixis.indexing.changes import build
    from deixis.indexing.index import Index

    place, job = Path(sys.argv[1]), sys.argv[2]
    changes.SMALL, changes.LISTED = 0, 1
    rng = np.random.default_rng(0)
    items = lambda *names: [{"id": name} for name in names]
    seen, last = 0, -1

    def perhaps():
        global seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event, arguments):
        if event.startswith(("open", "os.", "shutil.", "fcntl.")):
            perhaps()

    def write(self, data, right=segments._Hashed.write):
        perhaps()
        right(self, data[: len(data) // 2])
        self._file.flush()
        perhaps()
        right(self, data[len(data) // 2 :])

    segments._Hashed.write = write
    os.fsync = lambda handle: perhaps()  # a killed process loses nothing that it wrote; and this is faster
    sys.addaudithook(heard)
    jobs = {
        "add": lambda: changes.add(place, rng.normal(size=(2, 4)), items("x", "y")),
        "remove": lambda: changes.remove(place, ["a", "b", "c"]),
        "replace": lambda: changes.replace(place, rng.normal(size=(2, 4)), items("d", "x")),
        "compact": lambda: changes.change(place, vectors=np.eye(4)[:1], items=items("x"), removed=[*"abcdefg"]),
        "build": lambda: build(place, rng.normal(size=(3, 4)), items("1", "2", "3"), model="other", fingerprint="o"),
    }

    def held():
        index = Index.open(place, verify=True)
        return [(item["id"], index.vector(row).tobytes()) for row, item in index.items()]

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        seed = np.random.default_rng(1)
        build(place, seed.normal(size=(16, 4)), items(*"abcdefghijklmnop"), model="m", fingerprint="f")
        changes.change(place, vectors=seed.normal(size=(4, 4)), items=items(*"qrst"), removed=["o", "p"])

    fresh()
    before = held()
    jobs[job]()
    after = held()
    assert before != after
    both, rests = {"before": 0, "after": 0}, 0
    for number in range(1000):
        fresh()
        child = os.fork()
        if not child:
            seen, last = 0, number + 1
            rng = np.random.default_rng(0)
            jobs[job]()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0 and held() == after
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        found = held()
        assert found in (before, after), number
        both["before" if found == before else "after"] += 1
        rests += set(os.listdir(place)) != {"manifest.json", "lock", *folder.files_named(Index.open(place).manifest)}
        changes.change(place)
        assert held() == found
        assert set(os.listdir(place)) == {"manifest.json", "lock", *folder.files_named(Index.open(place).manifest)}
    print(number, both["before"], both["after"], rests)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["add", "remove", "replace", "compact", "build"])
def test_killed_at_any_file_operation_it_opens_as_before_or_as_after_and_the_next_writer_cleans_up(
    tmp_path: Path, job: str
) -> None:
    """A child is killed (SIGKILL) at each opening, writing, renaming and removing of a file, one after the other."""
    source = str(Path(module.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "index"), job],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    moments, before, after, rests = map(int, done.stdout.split())
    assert moments > 15
    assert before > 5
    assert after > 2
    assert rests > 5, "some were killed with files lying about"


# several at once


def test_a_second_writer_is_told_at_once_and_readers_are_not_blocked(tmp_path: Path) -> None:
    made(tmp_path / "index", random(3, 4))
    with folder.locked(tmp_path / "index"):
        for write in (
            lambda: remove(tmp_path / "index", ["image-0"]),
            lambda: made(tmp_path / "index", random(2, 4)),
        ):
            with pytest.raises(
                DeixisError, match=r"Another process is changing the index .*Wait until it has finished"
            ):
                write()
        assert len(Index.open(tmp_path / "index").search(random(1, 4), k=9).rows[0]) == 3
    assert len(remove(tmp_path / "index", ["image-0"])) == 2


@pytest.mark.parametrize("moment", ["opened", "_live"])
def test_a_change_while_an_index_is_being_opened_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made(tmp_path / "index", random(8, 4))
    right: Callable[..., Any] = getattr(module, moment)

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(module, moment, right)
        change(tmp_path / "index", vectors=random(8, 4, 1), items=named(*"abcdefgh"), removed=["image-0"])
        return right(*arguments)

    monkeypatch.setattr(module, moment, overtaken)
    index = Index.open(tmp_path / "index")
    assert len(index) == 15
    assert not index.changed()


@pytest.mark.slow
def test_readers_see_whole_indexes_only_while_another_process_writes(tmp_path: Path) -> None:
    made(tmp_path / "index", np.eye(8)[:4])
    code = f"""
import numpy as np
from deixis.indexing import changes
for round in range(60):
    place = round % 4
    item = {{"id": f"new-{{place}}", "place": 4 + place}}
    changes.replace({str(tmp_path / "index")!r}, np.eye(8)[[4 + place]], [item])
    if place == 3:
        changes.remove({str(tmp_path / "index")!r}, [f"new-{{i}}" for i in range(4)])
"""
    source = str(Path(module.__file__).parents[2])
    writer = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source})
    seen = set()
    while writer.poll() is None:
        index = Index.open(tmp_path / "index")
        for row, item in index.items():
            place = item.get("place", row)
            assert index.vector(row).argmax() == place
        seen.add(len(index))
    assert writer.returncode == 0
    assert len(seen) > 1
