"""Delivery: always the same samples in the same order, whoever reads, and on from where it stopped."""

from __future__ import annotations

import doctest
import gc
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deixis.data.loading import loader as module
from deixis.data.loading.loader import Loader, skip_log
from deixis.data.loading.sampler import Draw, SampleOrder
from deixis.errors import DeixisError
from deixis.inputs.images import ImageError
from deixis.types import Batch, Member, Sample, Skipped, Source

ROOT = Path(__file__).parents[3]
Ids = list[tuple[str, ...]]


def source(count: int, *, name: str = "sample", shards: int = 0) -> Source:
    def sample(i: int) -> Sample:
        inside = Member(Path(f"{i * shards // count}.tar"), str(i), i, 1) if shards else None
        return Sample(f"{name} {i}", inside)

    return Source("toy", Path("."), "text", "list", tuple(map(sample, range(count))))


def encode(sample: Sample, draw: Draw | None) -> Batch:
    """The caption is what was drawn for the sample."""
    return Batch((sample.id,), captions=((str(draw and draw("x", 1)),),))


def broken(*wrong: int) -> Callable[[Sample, Draw | None], Batch]:
    names = {f"sample {i}" for i in wrong}

    def read(sample: Sample, draw: Draw | None) -> Batch:
        if sample.id in names:
            raise ImageError(f"{sample.id} is damaged.", "Leave it out.", "corrupt")
        return encode(sample, draw)

    return read


def taken(loader: Loader, count: int) -> Ids:
    return [batch.ids for batch in itertools.islice(loader.forever(), count)]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("deixis reader")}


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Any:
    yield
    if threads():
        gc.collect()
    assert not threads()


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(module).attempted > 5
    assert doctest.testmod(module).failed == 0


# Order of delivery


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_nothing_in_what_comes(workers: int) -> None:
    with Loader(source(23), encode, SampleOrder(4, seed=1), workers=workers) as many:
        one = Loader(source(23), encode, SampleOrder(4, seed=1))
        for left, right in itertools.islice(zip(many.forever(), one.forever(), strict=False), 17):
            assert (left.ids, left.captions) == (right.ids, right.captions)


def test_one_pass_ends_and_the_next_is_another_epoch() -> None:
    loader = Loader(source(10), encode, SampleOrder(4, last="keep"), workers=2)
    first, second = ([batch.ids for batch in loader] for _ in range(2))
    assert list(map(len, first)) == [4, 4, 2]
    assert sorted(sum(first, ())) == sorted(sum(second, ())) == sorted(sample.id for sample in source(10).samples)
    assert first != second
    assert loader.epoch == 2
    assert len(loader) == 3
    loader.close()


def test_a_pass_that_was_left_goes_on() -> None:
    loader = Loader(source(12), encode, SampleOrder(4), workers=1)
    for batch in loader:
        first = batch.ids
        break
    rest = [batch.ids for batch in loader]
    assert [first, *rest] == taken(Loader(source(12), encode, SampleOrder(4)), 3)
    loader.close()


def test_what_is_drawn_changes_with_the_epoch_and_not_at_all_for_evaluation() -> None:
    drawing, still = (Loader(source(1), encode, SampleOrder(1, shuffle=shuffle)) for shuffle in (True, False))
    first, second = (batch.captions for batch in itertools.islice(drawing.forever(), 2))
    assert first != second
    assert next(still.forever()).captions == (("None",),)


# Going on


CUTS = st.integers(0, 9)
ORDERS = st.builds(
    SampleOrder,
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 5),
    window=st.none() | st.integers(1, 9),
    last=st.sampled_from(["drop", "keep", "pad"]),
    split_by=st.sampled_from(["sample", "shard"]),
)


@pytest.mark.slow
@settings(max_examples=15)
@given(ORDERS, st.integers(1, 2), st.lists(CUTS, min_size=1, max_size=3), st.lists(st.integers(0, 2), min_size=4))
def test_a_run_that_is_cut_and_resumed_delivers_what_an_uninterrupted_one_does(
    order: SampleOrder, world: int, cuts: list[int], workers: list[int]
) -> None:
    """With any number of workers in each part; what was read ahead and not delivered does not count."""
    data = source(11, shards=5)
    readers = min(2, 5 // world)
    for rank in range(world):
        expected = taken(Loader(data, broken(3, 8), order, ranks=(rank, world), max_skipped=1.0), 14)
        state, got = None, []
        for cut, count in itertools.zip_longest(cuts, workers[: len(cuts) + 1], fillvalue=0):
            loader = Loader(
                data, broken(3, 8), order, workers=min(count, readers), ranks=(rank, world), max_skipped=1.0
            )
            if state is not None:
                loader.load_state(state)
            got += taken(loader, max(0, min(cut, 14 - len(got))))
            state = json.loads(json.dumps(loader.state()))
            loader.close()
        last = Loader(data, broken(3, 8), order, ranks=(rank, world), max_skipped=1.0)
        last.load_state(state or last.state())
        assert got + taken(last, 14 - len(got)) == expected


def test_resuming_reads_nothing_again() -> None:
    read: list[str] = []

    def counting(sample: Sample, draw: Draw | None) -> Batch:
        read.append(sample.id)
        return encode(sample, draw)

    loader = Loader(source(1000), counting, SampleOrder(10))
    state = {**loader.state(), "position": 90}
    loader.load_state(state)
    assert len(next(loader.forever())) == len(read) == 10


def test_the_state_between_two_epochs_is_that_of_the_next() -> None:
    loader = Loader(source(8), encode, SampleOrder(4))
    assert len(list(loader)) == 2
    assert (loader.state()["epoch"], loader.state()["position"]) == (1, 0)
    again = Loader(source(8), encode, SampleOrder(4))
    again.load_state(loader.state())
    assert len(list(again)) == 2


def test_the_state_of_one_rank_serves_all() -> None:
    first, second = (Loader(source(20), encode, SampleOrder(2), ranks=(rank, 2)) for rank in range(2))
    taken(first, 3)
    taken(second, 3)
    assert first.state() == second.state()


def test_the_state_of_another_run_is_refused_with_all_that_differs() -> None:
    state = Loader(source(30), encode, SampleOrder(4, seed=1), ranks=(0, 2)).state()
    with pytest.raises(DeixisError) as caught:
        Loader(source(31, name="x"), encode, SampleOrder(5, seed=2, window=9, last="pad")).load_state(state)
    for said in (
        "samples is 31 and was 30",
        "their fingerprint is ",
        "ranks is 1 and was 2",
        "batch_size is 5 and was 4",
        "seed is 2 and was 1",
        "window is 9 and was None",
        "last is 'pad' and was 'drop'",
    ):
        assert said in str(caught.value)
    assert "split_by" not in str(caught.value)


@pytest.mark.parametrize("change", [{"position": 7}, {"position": -1}, {"epoch": -1}, {"epoch": None}, {"of": 3}])
def test_a_state_that_is_none_is_refused(change: dict[str, Any]) -> None:
    loader = Loader(source(30), encode, SampleOrder(5))
    with pytest.raises(DeixisError, match="state"):
        loader.load_state({**loader.state(), **change})
    assert loader.state()["position"] == 0


# What can't be read


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_left_out_counted_and_told(workers: int) -> None:
    told: list[Skipped] = []
    loader = Loader(
        source(12), broken(2, 7), SampleOrder(4, last="keep"), workers=workers, max_skipped=0.5, on_skip=told.append
    )
    ids = sum((batch.ids for batch in itertools.chain(loader, loader)), ())
    assert len(ids) == 20
    assert {"sample 2", "sample 7"}.isdisjoint(ids)
    assert sorted(each.path for each in told) == ["sample 2", "sample 7"], "once each"
    assert told == loader.skipped
    assert told[0].reason == "corrupt"
    loader.close()


def test_a_missing_file_is_left_out_too() -> None:
    def read(sample: Sample, draw: Draw | None) -> Batch:
        raise FileNotFoundError("gone") if sample.id == "sample 1" else ImageError("", "", "empty file")

    loader = Loader(source(2), read, SampleOrder(1, shuffle=False, last="keep"), max_skipped=1.0)
    assert list(loader) == []
    assert [each.reason for each in loader.skipped] == ["empty file", "unreadable"]


@pytest.mark.parametrize("workers", [0, 1])
def test_more_than_a_share_of_an_epoch_is_an_error_and_one_sample_never_is(workers: int) -> None:
    taken(Loader(source(20), broken(3), SampleOrder(4)), 15)
    loader = Loader(source(20), broken(3, 4, 5), SampleOrder(4), workers=workers)
    with pytest.raises(DeixisError, match=r"2 of 20 samples.*more than 1\.0%: 2 corrupt\..*deixis check"):
        taken(loader, 5)


def test_a_sample_counts_once_however_often_it_comes() -> None:
    loader = Loader(source(200), broken(1, 2), SampleOrder(4))
    taken(loader, 50 * 3)
    assert len(loader.skipped) == 2


def test_a_batch_of_which_nothing_is_left_is_passed_over_in_one_process() -> None:
    loader = Loader(source(6), broken(2, 3), SampleOrder(2, shuffle=False), max_skipped=1.0)
    assert taken(loader, 4) == [("sample 0", "sample 1"), ("sample 4", "sample 5")] * 2
    assert loader.state()["position"] == 0


def test_with_several_ranks_the_next_sample_stands_in_for_such_a_batch() -> None:
    order = SampleOrder(1, shuffle=False)
    ranks = [Loader(source(6), broken(2, 4), order, ranks=(rank, 2), max_skipped=1.0) for rank in range(2)]
    assert [taken(loader, 3) for loader in ranks] == [
        [("sample 0",), ("sample 0",), ("sample 0",)],
        [("sample 1",), ("sample 3",), ("sample 5",)],
    ]
    assert len(ranks[0].skipped) == 2


def test_where_none_may_come_twice_such_a_batch_has_no_samples() -> None:
    order = SampleOrder(2, shuffle=False, last="keep")
    ranks = [Loader(source(5), broken(0, 2), order, ranks=(rank, 2), max_skipped=1.0) for rank in range(2)]
    assert [taken(loader, 2) for loader in ranks] == [[(), ("sample 4",)], [("sample 1", "sample 3"), ()]]


def test_a_rank_without_samples_has_batches_of_none() -> None:
    loader = Loader(source(1), encode, SampleOrder(2, last="keep"), ranks=(1, 2))
    assert [batch.ids for batch in loader] == [()]
    assert not loader.skipped


def test_a_rank_that_can_read_nothing_says_so() -> None:
    loader = Loader(source(4), broken(0, 2), SampleOrder(1, shuffle=False), ranks=(0, 2), max_skipped=1.0)
    with pytest.raises(DeixisError, match="none can be read"):
        taken(loader, 1)


def test_the_log_holds_each_sample_once_also_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "run" / "skipped.jsonl"
    one, two = Skipped("a.png", "corrupt", "a line\nand another"), Skipped("\udce9.png", "missing")
    log = skip_log(path)
    log(one), log(one)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"path": "b')  # killed
    again = skip_log(path)
    again(one), again(two)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert [json.loads(lines[i])["path"] for i in (0, 2)] == ["a.png", "\udce9.png"]


# Errors and ends


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_thread_reaches_the_caller_with_the_sample_named(workers: int) -> None:
    def read(sample: Sample, draw: Draw | None) -> Batch:
        if sample.id == "sample 5":
            raise KeyError("colour")
        return encode(sample, draw)

    loader = Loader(source(8), read, SampleOrder(2, shuffle=False), workers=workers)
    stream = loader.forever()
    assert next(stream).ids == ("sample 0", "sample 1")
    assert next(stream).ids == ("sample 2", "sample 3")
    with pytest.raises(DeixisError, match=r"'sample 5'.*KeyError\('colour'\)") as caught:
        next(stream)
    assert isinstance(caught.value.__cause__, KeyError)
    assert not threads()
    assert loader.state()["position"] == 2


@pytest.mark.slow
def test_threads_end_when_the_loader_is_closed_or_dropped() -> None:
    for close in (True, False):
        loader = Loader(source(100), encode, SampleOrder(2), workers=3)
        next(loader.forever())
        assert len(threads()) == 3
        if close:
            loader.close()
            assert not threads()
            next(loader.forever())
        del loader
        gc.collect()
        assert not threads()


def test_a_closed_loader_goes_on_where_it_was() -> None:
    loader = Loader(source(20), encode, SampleOrder(2), workers=2)
    first = taken(loader, 3)
    loader.close()
    assert first + taken(loader, 3) == taken(Loader(source(20), encode, SampleOrder(2)), 6)
    loader.close()


def test_a_thread_that_waits_does_not_keep_the_others_from_ending() -> None:
    """What is queued is not read to its end when the loader is closed."""
    begun, go = threading.Semaphore(0), threading.Event()
    read: list[str] = []

    def slow(sample: Sample, draw: Draw | None) -> Batch:
        read.append(sample.id)
        begun.release()
        go.wait(10)
        return encode(sample, draw)

    loader = Loader(source(100), slow, SampleOrder(10), workers=1)
    other = threading.Thread(target=lambda: (begun.acquire(), loader._threads.end.peek()[2][1].set(), go.set()))  # type: ignore
    other.start()
    with pytest.raises(BaseException):  # noqa: B017, PT011
        next(loader.forever())
    other.join()
    loader.close()
    assert len(read) == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "del loader, stream"])
def test_a_program_ends_at_once_though_nobody_closed_the_loader(end: str) -> None:
    code = f"""
from tests.data.loading.test_loader import Loader, SampleOrder, encode, source
loader = Loader(source(100_000), encode, SampleOrder(100), workers=3)
stream = loader.forever()
next(stream)
{end}
"""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (3 if "3" in end else 0, b"")


def test_no_more_is_read_ahead_than_the_end_of_the_pass() -> None:
    read: list[str] = []

    def counting(sample: Sample, draw: Draw | None) -> Batch:
        read.append(sample.id)
        return encode(sample, draw)

    with Loader(source(4), counting, SampleOrder(2), workers=2) as loader:
        assert len(list(loader)) == 2
    assert len(read) == 4


def test_too_few_shards_and_too_few_samples_are_refused_at_the_start() -> None:
    with pytest.raises(DeixisError, match="3 shards for 1 ranks x 4 readers"):
        Loader(source(9, shards=3), encode, SampleOrder(1, split_by="shard"), workers=4)
    with pytest.raises(DeixisError, match="do not fill one batch"):
        Loader(source(3), encode, SampleOrder(4))


# --- groups, and what is done for whole batches -----------------------------------------------------------------------


class Numbered:
    """Rows that are finished once a batch."""

    def __init__(self) -> None:
        self.finished: list[tuple[int, float]] = []

    def row(self, sample: Sample, draw: Draw | None) -> Batch:
        return encode(sample, draw)

    def __call__(self, sample: Sample, draw: Draw | None) -> Batch:
        raise AssertionError("a loader asks for rows")

    def finish(self, batch: Batch, draws: Callable[[str], Draw] | None) -> Batch:
        assert draws is not None
        assert [caption for (caption,) in batch.captions] == [str(draws(name)("x", 1)) for name in batch.ids]
        self.finished.append((len(batch), draws(batch.ids[0])("x", 1)[0]))
        return batch


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_left_to_do_for_rows_is_done_once_a_batch_with_the_same_draws(workers: int) -> None:
    numbered = Numbered()
    with Loader(source(10), numbered, SampleOrder(4, seed=3), workers=workers) as loader:
        first = taken(loader, 4)
    assert [count for count, _ in numbered.finished[:4]] == [4] * 4
    assert first == taken(Loader(source(10), encode, SampleOrder(4, seed=3)), 4)


def test_groups_come_whole_also_where_one_of_them_cannot_be_read() -> None:
    samples = tuple(Sample(f"sample {i}", None, groups=(f"{i % 5}",)) for i in range(10))
    pairs = Source("toy", Path("."), "text", "list", samples)
    found = taken(Loader(pairs, broken(3), SampleOrder(4, group=2), max_skipped=0.5), 5)
    for ids in found:
        assert len(ids) == 4
        names = [int(name.split()[1]) % 5 for name in ids]
        assert names[0] == names[1] != names[2] == names[3]
    assert ("sample 8", "sample 8") in {ids[i : i + 2] for ids in found for i in (0, 2)}
    state = Loader(source(10), encode, SampleOrder(4)).state()
    assert "group" not in state["of"], "states from before there were groups are read"


def test_groups_go_on_where_they_stopped() -> None:
    samples = tuple(Sample(f"sample {i}", None, groups=(f"{i % 7}",)) for i in range(28))
    things, order = Source("toy", Path("."), "text", "list", samples), SampleOrder(6, group=2, seed=5)
    whole = taken(Loader(things, encode, order), 11)
    first, second = Loader(things, encode, order), Loader(things, encode, order)
    before = taken(first, 6)
    second.load_state(json.loads(json.dumps(first.state())))
    assert before + taken(second, 5) == whole


def test_batches_of_one_value_go_on_where_they_stopped() -> None:
    samples = tuple(Sample(f"sample {i}", None, extra={"aspect": "abc"[i % 3]}) for i in range(30))
    triplets, order = Source("toy", Path("."), "text", "list", samples), SampleOrder(4, same="aspect", seed=5)
    whole = taken(Loader(triplets, encode, order), 14)
    assert all(len({int(name.split()[1]) % 3 for name in ids}) == 1 for ids in whole)
    first, second = Loader(triplets, encode, order), Loader(triplets, encode, order)
    before = taken(first, 5)
    second.load_state(json.loads(json.dumps(first.state())))
    assert before + taken(second, 9) == whole
    assert "same" not in Loader(source(10), encode, SampleOrder(4)).state()["of"], "older states are read"
