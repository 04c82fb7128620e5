"""In which order samples come: a function of sizes, seed and epoch alone, that no thread, file or clock can change."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deixis.errors import DeixisError
from deixis.types.samples import Member, Sample

__all__ = ["Draw", "EpochPlan", "SampleOrder", "shards_of"]

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

    Raises:
        DeixisError: a value is out of its range.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    window: int | None = None
    last: Last = "drop"
    split_by: SplitBy = "sample"

    def __post_init__(self) -> None:
        for name, number in (("batch_size", self.batch_size), ("window", 1 if self.window is None else self.window)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise DeixisError(f"{name} is {number!r}.", "It must be a whole number of 1 or more.")
        for name, word, choices in (("last", self.last, Last), ("split_by", self.split_by, SplitBy)):
            if word not in get_args(choices):
                raise DeixisError(f"{name} is {word!r}.", f"It must be one of: {', '.join(get_args(choices))}.")


@dataclasses.dataclass(frozen=True)
class EpochPlan:
    """An order over shards of given sizes, for ranks that read side by side.

    Samples are numbered shard by shard. All ranks have equally many batches in an epoch.

    Attributes:
        order: how samples are mixed and cut.
        sizes: samples of each shard.
        world: how many ranks there are.
        readers: threads that read, on each rank; they do not change the order.

    Raises:
        DeixisError: there is nothing to read, or there are fewer shards than readers where shards are dealt out.
    """

    order: SampleOrder
    sizes: tuple[int, ...]
    world: int = 1
    readers: int = 1

    def __post_init__(self) -> None:
        shards, threads = len(self.sizes), max(1, self.readers)
        readers = self.world * threads
        if not sum(self.sizes):
            raise DeixisError("There are no samples to read.", "Give data with at least one.")
        if self.order.split_by == "shard" and shards < readers:
            raise DeixisError(
                f"There are {shards} shards for {self.world} ranks x {threads} readers = {readers} readers, and "
                "each is to have a shard of its own (split_by='shard').",
                f"Pack into {readers} shards or more (deixis pack --size, with a smaller size), use fewer workers, or "
                "deal out samples instead (split_by='sample').",
            )

    def batches(self, epoch: int, rank: int = 0) -> list[Indices]:
        """The batches of one rank in an epoch, each as numbers of samples.

        Raises:
            DeixisError: not one batch can be filled.
        """
        size, count = self.order.batch_size, self.length(epoch)
        if not count:
            raise DeixisError(
                f"{sum(self.sizes)} samples do not fill one batch of {size} on each of {self.world} ranks.",
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
        whole, taken = sum(self.sizes), self.length(epoch) * self.order.batch_size * self.world
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
        ranks, whole = range(self.world), sum(self.sizes)
        if self.order.split_by == "sample":
            return [len(range(rank, whole, self.world)) for rank in ranks]
        dealt = self._shard_order(epoch).tolist()
        return [sum(self.sizes[shard] for shard in dealt[rank :: self.world]) for rank in ranks]

    def _shares(self, epoch: int) -> list[Indices]:
        """What each rank reads, in its order."""
        if self.order.split_by == "sample":
            sequence = self._sequence(epoch)
            return [sequence[rank :: self.world] for rank in range(self.world)]
        dealt = self._shard_order(epoch)
        return [self._mixed(self._joined(dealt[rank :: self.world]), epoch, rank) for rank in range(self.world)]

    def _padded(self, epoch: int, count: int) -> list[Indices]:
        length = count * self.order.batch_size
        if self.order.split_by == "sample":
            sequence = np.resize(self._sequence(epoch), length * self.world)
            return [sequence[rank :: self.world] for rank in range(self.world)]
        return [np.resize(share, length) for share in self._shares(epoch)]

    def _sequence(self, epoch: int) -> Indices:
        return self._mixed(self._joined(self._shard_order(epoch)), epoch, 0)

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
