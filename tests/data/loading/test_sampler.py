"""The order is a function: every sample once, ranks apart, and nothing but sizes, seed and epoch in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deixis.data.loading.sampler import Draw, EpochPlan, SampleOrder, groups_of, shards_of
from deixis.errors import DeixisError
from deixis.types import Member, Sample


def epoch(plan: EpochPlan, number: int = 0) -> list[list[list[int]]]:
    """Of each rank its batches."""
    return [[batch.tolist() for batch in plan.batches(number, rank)] for rank in range(plan.world)]


def flat(ranks: list[list[list[int]]]) -> list[int]:
    return [sample for batches in ranks for batch in batches for sample in batch]


def whole(sizes: tuple[int, ...], window: int | None = None, number: int = 0, **more: Any) -> list[int]:
    """The sequence of an epoch."""
    return flat(epoch(EpochPlan(SampleOrder(1, window=window, **more), sizes), number))


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8).map(tuple)
ORDERS = st.builds(
    SampleOrder,
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 3),
    shuffle=st.booleans(),
    window=st.none() | st.integers(1, 40),
    last=st.just("keep"),
    split_by=st.sampled_from(["sample", "shard"]),
)


@given(SIZES, ORDERS, st.integers(1, 3), st.integers(0, 2))
def test_an_epoch_holds_each_sample_once_over_all_ranks(
    sizes: tuple[int, ...], order: SampleOrder, world: int, number: int
) -> None:
    if order.split_by == "shard":
        world = min(world, len(sizes))
    ranks = epoch(EpochPlan(order, sizes, world), number)
    assert sorted(flat(ranks)) == list(range(sum(sizes)))
    assert len({len(batches) for batches in ranks}) == 1, "all take equally many steps"
    assert all(len(batch) <= order.batch_size for batch in itertools.chain(*ranks))


@given(SIZES, ORDERS, st.integers(1, 3))
def test_dropping_leaves_whole_batches_and_padding_leaves_nothing_out(
    sizes: tuple[int, ...], order: SampleOrder, world: int
) -> None:
    if order.split_by == "shard":
        world = min(world, len(sizes))
    fields = {**vars(order), "last": "pad"}
    padded = epoch(EpochPlan(SampleOrder(**fields), sizes, world))
    assert {len(batch) for batch in itertools.chain(*padded)} == {order.batch_size}
    assert set(flat(padded)) == set(range(sum(sizes)))
    dropping = EpochPlan(SampleOrder(**{**fields, "last": "drop"}), sizes, world)
    if dropping.length(0):
        dropped = epoch(dropping)
        assert {len(batch) for batch in itertools.chain(*dropped)} == {order.batch_size}
        assert len(set(flat(dropped))) == len(flat(dropped))


def test_what_is_padded_are_the_first_samples_of_the_epoch() -> None:
    plan = EpochPlan(SampleOrder(4, last="pad"), (10,))
    sequence = flat(epoch(plan))
    assert sequence[10:] == sequence[:2]
    assert plan.remainder() == "2 of 10 samples come twice in an epoch, to fill its batches."


def test_what_is_left_out_is_told_and_others_are_next_time() -> None:
    plan = EpochPlan(SampleOrder(2), (10,), world=2)
    assert plan.remainder() == "2 of 10 samples do not fill a batch and are left out of an epoch, others each time."
    missing = [frozenset(range(10)) - set(flat(epoch(plan, number))) for number in range(6)]
    assert len(set(missing)) > 1
    assert EpochPlan(SampleOrder(2, last="keep"), (10,), world=2).remainder() == (
        "The last batches of an epoch are short by 2 samples."
    )
    assert not EpochPlan(SampleOrder(5), (10,)).remainder()


def test_the_order_is_the_same_wherever_it_is_made() -> None:
    """Written down once: another release of NumPy, or another machine, must give these."""
    assert whole((3, 4)) == ORDER
    assert whole((4, 4, 4), window=2, seed=7, number=3) == WINDOWED
    assert [round(x, 6) for x in Draw(1, 2, "a cat.jpg")("crop", 3)] == DRAWN


ORDER = [5, 3, 2, 6, 0, 1, 4]
WINDOWED = [1, 0, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7]
DRAWN = [0.009133, 0.450523, 0.935327]


def test_epochs_and_seeds_differ_and_the_batch_size_does_not_matter() -> None:
    orders = [whole((50,), seed=seed, number=number) for seed in (0, 1) for number in (0, 1)]
    assert len(set(map(tuple, orders))) == 4
    assert flat(epoch(EpochPlan(SampleOrder(10), (50,)))) == orders[0]


def test_ranks_share_each_batch_of_all_ranks() -> None:
    """So the samples of a step do not hang on how many ranks share them."""
    alone = epoch(EpochPlan(SampleOrder(6), (48,)))[0]
    together = epoch(EpochPlan(SampleOrder(3), (48,), world=2))
    assert [set(a) | set(b) for a, b in zip(*together, strict=True)] == [set(batch) for batch in alone]


def test_every_sample_may_come_anywhere() -> None:
    """The mean place of each of 10 samples over 400 epochs lies within 4 standard errors of the middle."""
    places = np.array([np.argsort(whole((10,), number=number)) for number in range(400)])
    assert np.abs(places.mean(axis=0) - 4.5).max() < 4 * np.sqrt(99 / 12 / 400)


@given(st.integers(1, 30), st.integers(0, 5))
def test_within_a_window_no_sample_moves_further(window: int, number: int) -> None:
    sizes = (7, 9, 8, 11)
    still, mixed = (whole(sizes, window=size, number=number) for size in (1, window))
    moved = [abs(still.index(sample) - mixed.index(sample)) for sample in range(sum(sizes))]
    assert max(moved) < window
    assert window < 5 or max(moved) > 0


def test_a_window_of_one_mixes_the_shards_alone() -> None:
    sequence = whole((3, 3, 3, 3), window=1)
    assert sorted(sequence[i : i + 3] for i in (0, 3, 6, 9)) == [[i, i + 1, i + 2] for i in (0, 3, 6, 9)]
    assert sequence != list(range(12))


def test_without_shuffling_samples_come_as_they_stand() -> None:
    assert whole((2, 3), shuffle=False, number=5) == [0, 1, 2, 3, 4]


def test_whole_shards_go_to_a_rank() -> None:
    ranks = epoch(EpochPlan(SampleOrder(1, split_by="shard", last="keep"), (5, 5, 5, 5), world=2))
    shards = [{sample // 5 for batch in batches for sample in batch} for batches in ranks]
    assert [len(each) for each in shards] == [2, 2]
    assert not shards[0] & shards[1]


def test_fewer_shards_than_readers_are_refused_with_the_arithmetic() -> None:
    order = SampleOrder(1, split_by="shard")
    with pytest.raises(DeixisError, match=r"3 shards for 2 ranks x 2 readers = 4 readers.*deixis pack --size"):
        EpochPlan(order, (5, 5, 5), world=2, readers=2)
    assert EpochPlan(order, (5, 5, 5), world=3, readers=0).length(0) == 5
    assert EpochPlan(SampleOrder(1), (5, 5, 5), world=2, readers=2).length(0) == 7, (
        "dealing out samples needs no shards"
    )


def test_an_epoch_without_a_batch_is_refused() -> None:
    with pytest.raises(DeixisError, match="7 samples do not fill one batch of 4 on each of 2 ranks"):
        EpochPlan(SampleOrder(4), (7,), world=2).batches(0)
    with pytest.raises(DeixisError, match="no samples"):
        EpochPlan(SampleOrder(4), ())


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 2.0}, {"window": 0}, {"last": "wrap"}, {"split_by": "file"}]
)
def test_a_setting_out_of_its_range_is_refused(wrong: dict[str, Any]) -> None:
    order = object.__new__(SampleOrder)  # the types are checked under test only
    vars(order).update({**vars(SampleOrder(1)), **wrong})
    with pytest.raises(DeixisError, match=next(iter(wrong))):
        order.__post_init__()


def test_samples_are_told_by_the_archive_they_lie_in() -> None:
    def inside(archive: str, name: str) -> Sample:
        return Sample(name, Member(Path(archive), name, 0, 1))

    samples = [inside("b.tar", "1"), inside("a.tar", "2"), Sample("3", Path("3.png")), inside("b.tar", "4")]
    sizes, slots = shards_of(samples)
    assert sizes == (2, 1, 1)
    assert slots.tolist() == [0, 3, 1, 2]


def test_what_is_drawn_hangs_on_seed_epoch_sample_and_purpose() -> None:
    draws = [
        Draw(*key)(purpose, 20) for key in ((0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (1, 0, "a")) for purpose in "xy"
    ]
    assert len(set(map(tuple, draws))) == 8
    assert all(0 <= x < 1 for draw in draws for x in draw)
    assert Draw(0, 0, "a")("x", 20)[:3] == Draw(0, 0, "a")("x", 3)
    assert len(set(draws[0])) == 20


# --- groups -----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 6), min_size=8, max_size=40),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2),
)
def test_a_batch_holds_whole_groups_and_an_epoch_every_sample(
    groups: list[int], group: int, identities: int, world: int, number: int
) -> None:
    order = SampleOrder(batch_size=group * identities, group=group, last="keep")
    plan = EpochPlan(order, (len(groups),), world, groups=tuple(groups))
    ranks = epoch(plan, number)
    assert set(flat(ranks)) == set(range(len(groups)))
    assert len({len(batches) for batches in ranks}) == 1
    counts = {name: groups.count(name) for name in groups}
    assert len(flat(ranks)) == sum(-(-count // group) * group for count in counts.values()), "only to fill a group"
    for batch in itertools.chain(*ranks):
        sides = [batch[start : start + group] for start in range(0, len(batch), group)]
        assert all(len({groups[sample] for sample in side}) == 1 for side in sides)


def test_identities_differ_within_a_batch_of_all_ranks() -> None:
    groups = tuple(i % 10 for i in range(200))
    ranks = epoch(EpochPlan(SampleOrder(batch_size=8, group=4), (200,), 2, groups=groups), 3)
    assert [len(batches) for batches in ranks] == [12, 12]
    for step in zip(*ranks, strict=True):
        identities = [groups[sample] for batch in step for sample in batch[::4]]
        assert len(set(identities)) == 4
    again, other = (
        epoch(EpochPlan(SampleOrder(batch_size=8, group=4), (200,), 2, groups=groups), each) for each in (3, 4)
    )
    assert again == ranks
    assert other != ranks


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DeixisError, match="A batch of 6 does not hold whole groups of 4"):
        SampleOrder(batch_size=6, group=4)
    with pytest.raises(DeixisError, match="Groups are made of all samples"):
        SampleOrder(batch_size=8, group=4, window=10)
    assert groups_of([Sample("a", None, groups=("x",)), Sample("b", None), Sample("c", None, groups=("x", "y"))]) == (
        0,
        1,
        0,
    )


def keyed(values: str) -> list[Sample]:
    return [Sample(str(i), None, extra={"aspect": value}) for i, value in enumerate(values)]


@given(st.text("abc", min_size=3, max_size=30), st.integers(1, 4), st.integers(1, 2), st.integers(0, 2))
def test_a_batch_of_all_ranks_holds_one_value_and_an_epoch_every_sample(
    values: str, size: int, world: int, number: int
) -> None:
    order = SampleOrder(batch_size=size, same="aspect", seed=1)
    plan = EpochPlan(order, (len(values),), world, groups=groups_of(keyed(values), order))
    ranks = epoch(plan, number)
    assert set(flat(ranks)) == set(range(len(values)))
    assert len(flat(ranks)) == plan.length(number) * size * world
    for step in zip(*ranks, strict=True):
        assert len({values[sample] for sample in itertools.chain(*step)}) == 1
    assert epoch(plan, number) == ranks


def test_two_ranks_read_what_one_reads_in_batches_twice_as_large() -> None:
    orders = [SampleOrder(batch_size=size, same="aspect") for size in (8, 4)]
    groups = groups_of(keyed("aab" * 20), orders[0])
    (one,), two = (
        epoch(EpochPlan(order, (60,), world, groups=groups), 0) for order, world in zip(orders, (1, 2), strict=True)
    )
    assert [set(batch) for batch in one] == [set(first) | set(second) for first, second in zip(*two, strict=True)]


def test_one_value_a_batch_needs_the_column_and_no_groups_or_windows() -> None:
    order = SampleOrder(batch_size=4, same="aspect")
    with pytest.raises(DeixisError, match="'b' has no 'aspect'"):
        groups_of([*keyed("a"), Sample("b", None)], order)
    assert groups_of(keyed("aba"), order) == (0, 1, 0)
    assert groups_of(keyed("aba"), SampleOrder(batch_size=4)) == ()
    for wrong in ({"group": 2}, {"window": 10}, {"split_by": "shard"}):
        with pytest.raises(DeixisError, match=r"one of the two|all samples"):
            SampleOrder(batch_size=4, same="aspect", **wrong)  # type: ignore[arg-type]
