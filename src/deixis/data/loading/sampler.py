"""In which order samples come: a function of sizes, seed and epoch alone, that no thread, file or clock can change."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deixis.errors import DeixisError
from deixis.types.samples import Member, Sample

__all__ = ["Draw", "EpochPlan", "SampleOrder", "group_of", "groups_of", "shards_of"]

Last = Literal["drop", "keep", "pad"]
SplitBy = Literal["sample", "shard"]
Indices = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Draw:
    """What is drawn for one sample in one epoch: the same in any batch, on any rank and in any thread.

    Attributes:
        seed: of the run.
        epoch: the pass over the data.
        id: of the sample.
    """

    seed: int
    epoch: int
    id: str

    def __call__(self, purpose: str, count: int) -> list[float]:
        """As many numbers in [0, 1), hashed from all of this."""
        digest = b"".join(_digest(self.seed, self.epoch, purpose, self.id, block) for block in range(-(-count // 8)))
        return [(int.from_bytes(digest[8 * i : 8 * i + 8], "little") >> 11) * 2.0**-53 for i in range(count)]


def _digest(*key: Any) -> bytes:
    return hashlib.blake2b("\x1f".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()


def _raw(count: int, *key: Any) -> NDArray[np.uint64]:
    """Random 64-bit numbers. NumPy promises these for all its releases, but not what `permutation` makes of them."""
    bits = np.random.Philox(key=int.from_bytes(_digest(*key)[:16], "little"))
    return np.asarray(bits.random_raw(count), dtype=np.uint64)


def shards_of(samples: Sequence[Sample]) -> tuple[tuple[int, ...], Indices]:
    """How samples lie in shards; those that are in no archive (files, drawings, texts) form one shard together.

    Returns:
        the size of each shard, and the indices of the samples, shard by shard.
    """
    found: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        inside = isinstance(sample.image, Member)
        found.setdefault(str(sample.image.archive) if inside else "", []).append(index)  # type: ignore[union-attr]
    flat = [index for shard in found.values() for index in shard]
    return tuple(map(len, found.values())), np.array(flat, dtype=np.int64)


def group_of(sample: Sample) -> str:
    """The concept that a sample belongs to first, or itself."""
    return f"group {sample.groups[0]}" if sample.groups else f"sample {sample.id}"


def groups_of(samples: Sequence[Sample], order: SampleOrder | None = None) -> tuple[int, ...]:
    """A number for the group of each sample, in the order in which a `EpochPlan` numbers samples: shard by shard.

    Args:
        samples: of the data.
        order: where it wants batches of which all samples are the `same` in a column, that column makes the groups; an
            order that needs no groups has none.

    Raises:
        DeixisError: a sample lacks the column.
    """
    if order is not None and order.group == 1 and not order.same:
        return ()
    named = group_of if order is None or not order.same else functools.partial(_value_of, column=order.same)
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(named(samples[i]), len(numbers)) for i in shards_of(samples)[1].tolist())


def _value_of(sample: Sample, column: str) -> str:
    if column not in sample.extra:
        raise DeixisError(f"The sample {sample.id!r} has no {column!r}.", f"Give data with a column {column}.")
    return str(sample.extra[column])


@dataclasses.dataclass(frozen=True)
class SampleOrder:
    """How an epoch is mixed and cut into batches.

    Attributes:
        batch_size: samples per batch, on each rank.
        seed: of the order, and of what is drawn for a sample.
        shuffle: whether samples come in a new order each epoch; without it they come as they stand, and nothing is
            drawn for them (evaluation).
        window: None mixes all samples. A number mixes the shards and then the samples, none of which moves by so many
            places: so only the shards within the window are read from at a time.
        last: what becomes of the samples at an epoch's end that do not fill a batch on every rank. `drop`: they are
            left out, others each time. `keep`: they come, in short batches (with several ranks perhaps empty ones).
            `pad`: the first samples of the epoch come again.
        split_by: `sample` deals samples out to ranks one by one, `shard` whole shards.
        group: how many samples of one group stand side by side, so that a batch holds batch_size / group groups. A
            group that has fewer gives some of them twice; none stands twice in a batch while there are others left.
        same: a column whose value all samples of a batch share, on all ranks; the last batch of each value is filled
            up with samples of the epoch that have it. Empty: batches are mixed.

    Raises:
        DeixisError: a value is out of its range, or they contradict one another.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    window: int | None = None
    last: Last = "drop"
    split_by: SplitBy = "sample"
    group: int = 1
    same: str = ""

    def __post_init__(self) -> None:
        numbers = {"batch_size": self.batch_size, "window": self.window or 1, "group": self.group}
        if self.window is not None:
            numbers["window"] = self.window
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise DeixisError(f"{name} is {number!r}.", "It must be a whole number of 1 or more.")
        for name, word, choices in (("last", self.last, Last), ("split_by", self.split_by, SplitBy)):
            if word not in get_args(choices):
                raise DeixisError(f"{name} is {word!r}.", f"It must be one of: {', '.join(get_args(choices))}.")
        if self.batch_size % self.group:
            raise DeixisError(
                f"A batch of {self.batch_size} does not hold whole groups of {self.group}.",
                f"Give a multiple of {self.group}.",
            )
        if (self.group > 1 or self.same) and (self.window is not None or self.split_by == "shard"):
            raise DeixisError(
                "Groups are made of all samples, and only some are read from at a time.",
                "Leave out window, and split by sample.",
            )
        if self.group > 1 and self.same:
            raise DeixisError(
                f"Batches are to hold groups of {self.group}, and one {self.same} alone.", "Ask for one of the two."
            )


@dataclasses.dataclass(frozen=True)
class EpochPlan:
    """An order over shards of given sizes, for ranks that read side by side.

    Samples are numbered shard by shard. All ranks have equally many batches in an epoch.

    Attributes:
        order: how samples are mixed and cut.
        sizes: samples of each shard.
        world: how many ranks there are.
        readers: threads that read, on each rank; they do not change the order.
        groups: a number for the group of each sample, where the order needs groups (`groups_of`).

    Raises:
        DeixisError: there is nothing to read, or there are fewer shards than readers where shards are dealt out.
    """

    order: SampleOrder
    sizes: tuple[int, ...]
    world: int = 1
    readers: int = 1
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self._block > 1 and len(self.groups) != sum(self.sizes):
            raise ValueError(f"{sum(self.sizes)} samples, and groups are given for {len(self.groups)}")
        shards, threads = len(self.sizes), max(1, self.readers)
        readers = self.world * threads
        if not sum(self.sizes):
            raise DeixisError("There are no samples to read.", "Give data with at least one.")
        if self.order.split_by == "shard" and shards < readers:
            raise DeixisError(
                f"There are {shards} shards for {self.world} ranks x {threads} readers = {readers} readers, and "
                "each is to have a shard of its own (split_by='shard').",
                f"Pack into {readers} shards or more (deixis pack --size, with a smaller size), use fewer workers, or "
                "divide samples instead (split_by='sample').",
            )

    @property
    def _block(self) -> int:
        """Samples of one group that stand side by side: a whole batch of all ranks, where it is of one value."""
        return self.order.batch_size * self.world if self.order.same else self.order.group

    def batches(self, epoch: int, rank: int = 0) -> list[Indices]:
        """The batches of one rank in an epoch, each as numbers of samples.

        Raises:
            DeixisError: not one batch can be filled.
        """
        size, count = self.order.batch_size, self.length(epoch)
        if not count:
            raise DeixisError(
                f"{self._whole()} samples do not fill one batch of {size} on each of {self.world} ranks.",
                "Use a smaller batch size, or last='keep' or 'pad'.",
            )
        own = self._padded(epoch, count)[rank] if self.order.last == "pad" else self._shares(epoch)[rank]
        return [own[start : start + size] for start in range(0, count * size, size)]

    def length(self, epoch: int) -> int:
        """Batches of each rank in an epoch; it changes from epoch to epoch only where unequal shards are dealt out."""
        size, counts = self.order.batch_size, self._counts(epoch)
        return min(counts) // size if self.order.last == "drop" else -(-max(counts) // size)

    def remainder(self, epoch: int = 0) -> str:
        """What becomes of the samples that do not fill a batch, as a sentence; empty where all is even."""
        whole, taken = self._whole(), self.length(epoch) * self.order.batch_size * self.world
        if taken == whole:
            return ""
        if self.order.last == "drop":
            others = ", others each time" if self.order.shuffle else ""
            return f"{whole - taken} of {whole} samples do not fill a batch and are left out of an epoch{others}."
        if self.order.last == "pad":
            return f"{taken - whole} of {whole} samples come twice in an epoch, to fill its batches."
        return f"The last batches of an epoch are short by {taken - whole} samples."

    def _counts(self, epoch: int) -> list[int]:
        """How many samples each rank reads."""
        ranks, group = range(self.world), self.order.group  # blocks of one value are dealt out sample by sample
        if self.order.split_by == "sample":
            return [group * len(range(rank, self._whole() // group, self.world)) for rank in ranks]
        dealt = self._shard_order(epoch).tolist()
        return [sum(self.sizes[shard] for shard in dealt[rank :: self.world]) for rank in ranks]

    def _whole(self) -> int:
        """Samples of an epoch; a group that is not full gives some of its samples twice."""
        block = self._block
        if block == 1:
            return sum(self.sizes)
        return block * sum(-(-count // block) for count in collections.Counter(self.groups).values())

    def _shares(self, epoch: int) -> list[Indices]:
        """What each rank reads, in its order."""
        if self.order.split_by == "sample":
            return self._dealt(self._sequence(epoch))
        dealt = self._shard_order(epoch)
        return [self._mixed(self._joined(dealt[rank :: self.world]), epoch, rank) for rank in range(self.world)]

    def _padded(self, epoch: int, count: int) -> list[Indices]:
        length = count * self.order.batch_size
        if self.order.split_by == "sample":
            return self._dealt(np.resize(self._sequence(epoch), length * self.world))
        return [np.resize(share, length) for share in self._shares(epoch)]

    def _dealt(self, sequence: Indices) -> list[Indices]:
        """Dealt out to the ranks, group by group."""
        groups = sequence.reshape(-1, self.order.group)
        return [groups[rank :: self.world].reshape(-1) for rank in range(self.world)]

    def _sequence(self, epoch: int) -> Indices:
        mixed = self._mixed(self._joined(self._shard_order(epoch)), epoch, 0)
        return mixed if self._block == 1 else self._grouped(mixed)

    def _grouped(self, mixed: Indices) -> Indices:
        """Samples of one group side by side. The groups come in rounds, each as often as it has samples for."""
        size, members = self._block, collections.defaultdict[int, list[int]](list)
        for place, index in enumerate(mixed.tolist()):
            members[self.groups[index]].append(place)
        rounds: list[tuple[int, int, int, Indices]] = []
        for number, own in members.items():
            filled = np.resize(np.array(own, dtype=np.int64), -(-len(own) // size) * size).reshape(-1, size)
            rounds += [(turn, int(some[0]), number, mixed[some]) for turn, some in enumerate(filled)]
        rounds.sort(key=lambda each: each[:2])
        waiting = collections.deque((number, some) for *_, number, some in rounds)
        found: list[Indices] = []
        while waiting:
            found += self._batch_of_groups(waiting)
        return np.concatenate(found)

    def _batch_of_groups(self, waiting: collections.deque[tuple[int, Indices]]) -> list[Indices]:
        """The groups of the next batch of all ranks, different ones as long as there are."""
        wanted = min(len(waiting), self.order.batch_size * self.world // self._block)
        taken: list[Indices] = []
        drawn_numbers: set[int] = set()
        later: list[tuple[int, Indices]] = []
        while waiting and len(taken) < wanted:
            number, some = waiting.popleft()
            if number in drawn_numbers:
                later.append((number, some))
            else:
                drawn_numbers.add(number)
                taken.append(some)
        waiting.extendleft(reversed(later))
        while len(taken) < wanted:
            taken.append(waiting.popleft()[1])
        return taken

    def _shard_order(self, epoch: int) -> Indices:
        count = len(self.sizes)
        keys = _raw(count, self.order.seed, epoch, "shards") if self.order.shuffle else np.arange(count)
        return np.argsort(keys, kind="stable").astype(np.int64)

    def _joined(self, shards: Indices) -> Indices:
        ends = np.cumsum(self.sizes)
        return np.concatenate([np.arange(ends[i] - self.sizes[i], ends[i], dtype=np.int64) for i in shards.tolist()])

    def _mixed(self, samples: Indices, epoch: int, rank: int) -> Indices:
        if not self.order.shuffle:
            return samples
        keys = _raw(len(samples), self.order.seed, epoch, "samples", rank)
        if self.order.window is not None:
            # Sorted by its place and a number below the window, none passes another that is a window away.
            keys = np.arange(len(samples)) + (keys >> np.uint64(11)) * 2.0**-53 * self.order.window  # type: ignore
        return samples[np.argsort(keys, kind="stable")]
