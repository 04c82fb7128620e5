"""Batches of a source for as long as they are wanted: read ahead in threads, resumed to the sample."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, NamedTuple

from deixis.data.loading.sampler import Draw, EpochPlan, Indices, SampleOrder, groups_of, shards_of
from deixis.errors import DeixisError
from deixis.inputs.images import ImageError
from deixis.inputs.read_ahead import Readers
from deixis.ops import collective
from deixis.types.batch import Batch, concatenate
from deixis.types.samples import Sample, Skipped, Source, place

__all__ = ["Encode", "Loader", "skip_log"]

Encode = Callable[[Sample, Draw | None], Batch]
"""Makes the batch of one sample. What has methods `row` and `finish`, as `deixis.data.loading.collate.Collate`, makes
rows of samples and finishes whole batches of them."""

_AHEAD = 2
"""Batches that each thread may be ahead of the caller."""


class Loader:
    """Batches of a source, in an order that depends on the seed and the epoch alone.

    `for batch in loader` gives the rest of the present epoch, `loader.forever()` goes on through all epochs. `state()`
    says what was delivered, and with `load_state` another loader goes on right behind it, at once, with any number of
    workers:

    >>> from pathlib import Path
    >>> from deixis.types import Batch, Sample, Source
    >>> words = Source("words", Path("."), "text", "a list", tuple(Sample(word, None) for word in "abcdefghij"))
    >>> def encode(sample, draw):
    ...     return Batch((sample.id,))
    >>> with Loader(words, encode, SampleOrder(batch_size=4, seed=1), workers=2) as loader:
    ...     first, state, second = next(loader.forever()), loader.state(), next(loader.forever())
    >>> again = Loader(words, encode, SampleOrder(batch_size=4, seed=1))
    >>> again.load_state(state)
    >>> next(again.forever()).ids == second.ids
    True

    What can't be read (an `ImageError` or `OSError`) is left out: its batch is shorter on that rank, and the sample
    stands in `skipped`. This depends on the files alone, so a resumed run leaves out the same. In one process, a batch
    of which nothing is left is passed over. Several ranks must take equally many steps: there the next sample of the
    rank that can be read stands in for such a batch, or, with `last="keep"`, where none may come twice, a batch of no
    samples does.

    The threads end with `close()`, when the loader is dropped, after an error and at the end of the program.

    Args:
        source: the samples.
        encode: makes the batch of one sample; called in the threads.
        order: how the samples are mixed and cut into batches.
        workers: threads that read ahead; with 0 the caller reads.
        ranks: this rank and how many there are; by default as `deixis.ops.collective` says.
        max_skipped: the share of the source's samples of which a rank may find no more unreadable; a single one always
            may be.
        on_skip: called with each sample that is left out, once, when its batch is delivered.

    Raises:
        DeixisError: there are too few samples for a batch, or too few shards where they are dealt out.
    """

    def __init__(
        self,
        source: Source,
        encode: Encode,
        order: SampleOrder,
        *,
        workers: int = 0,
        ranks: tuple[int, int] | None = None,
        max_skipped: float = 0.01,
        on_skip: Callable[[Skipped], None] | None = None,
    ) -> None:
        rank, world = ranks or (collective.rank(), collective.world_size())
        sizes, slots = shards_of(source.samples)
        self.plan = EpochPlan(order, sizes, world, workers, groups_of(source.samples, order))
        self.skipped: list[Skipped] = []
        self._reader = _Reader(source, encode, self.plan, rank, slots)
        self._made_for = _made_for(source, self.plan)
        self._workers, self._max_skipped, self._on_skip = workers, max_skipped, on_skip
        self._known: set[str] = set()
        self._threads: Readers[_Place, _Read] | None = None
        self._ahead: collections.deque[tuple[_Place, Future[_Read]]] = collections.deque()
        self._place = self._begun = self._reader.places(0)[0]

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        while self.epoch == epoch:
            batch = self._deliver(end=epoch)
            if batch is not None:
                yield batch

    def forever(self) -> Iterator[Batch]:
        """Batches of this epoch and all that follow."""
        while True:
            batch = self._deliver(end=None)
            if batch is not None:
                yield batch

    def __len__(self) -> int:
        """Batches of each rank in the present epoch."""
        return len(self._reader.places(self.epoch))

    @property
    def epoch(self) -> int:
        """Passes over the data that were delivered whole."""
        return self._place.epoch

    def state(self) -> dict[str, Any]:
        """What was delivered, as plain values for JSON; the same on all ranks after equally many batches."""
        return {"epoch": self._place.epoch, "position": self._place.position, "of": dict(self._made_for)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on behind what was delivered when `state()` gave `state`.

        Raises:
            DeixisError: it is the state of other samples or of another order; the message lists all that differs.
        """
        made_for = state.get("of")
        epoch, position = state.get("epoch"), state.get("position")
        if not isinstance(made_for, Mapping) or not isinstance(epoch, int) or not isinstance(position, int):
            raise DeixisError("This is not the state of a loader.", "Give what state() returned.")
        names = dict.fromkeys([*self._made_for, *made_for])
        pairs = [(name, self._made_for.get(name), made_for.get(name)) for name in names]
        differ = [f"{name} is {now!r} and was {then!r}" for name, now, then in pairs if now != then]
        places = [] if differ or epoch < 0 else self._reader.places(epoch)
        if not differ and not 0 <= position < len(places):
            differ = [f"epoch {epoch} has no batch {position}"]
        if differ:
            raise DeixisError(
                f"The state is that of another run: {'; '.join(differ)}.",
                "Resume with the data and settings it was made with, or start again.",
            )
        self.close()
        self._place = self._begun = places[position]

    def close(self) -> None:
        """Ends the threads and drops what was read ahead; going on starts new ones."""
        self._ahead.clear()
        self._begun = self._place
        if self._threads is not None:
            self._threads.end()
            self._threads = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self, end: int | None) -> Batch | None:
        """The next batch, the state then being that after it; None where nothing of it is left.

        Args:
            end: the epoch beyond which nothing is read ahead.
        """
        try:
            read = self._read(end)
            self._note(read.skipped)
        except BaseException:
            self.close()
            raise
        if self._ahead:
            self._ahead.popleft()
        self._place = self._reader.after(self._place)
        return read.batch

    def _read(self, end: int | None) -> _Read:
        if not self._workers:
            return self._reader.read(self._place, lambda: False)
        self._threads = self._threads or Readers(self._workers, self._reader.read)
        while len(self._ahead) < _AHEAD * self._workers and (end is None or self._begun.epoch <= end):
            self._ahead.append((self._begun, self._threads.submit(self._begun)))
            self._begun = self._reader.after(self._begun)
        return self._ahead[0][1].result()

    def _note(self, skipped: tuple[Skipped, ...]) -> None:
        """Lists and counts what was left out; too much of it is an error."""
        for each in skipped:
            if each.path not in self._known:
                self._known.add(each.path)
                self.skipped.append(each)
                if self._on_skip is not None:
                    self._on_skip(each)
        if len(self.skipped) > max(1, self._max_skipped * self._made_for["samples"]):
            reasons = collections.Counter(each.reason for each in self.skipped).most_common()
            raise DeixisError(
                f"{len(self.skipped)} of {self._made_for['samples']} samples can't be read so far, more than "
                f"{self._max_skipped:.1%}: {', '.join(f'{count} {reason}' for reason, count in reasons)}. "
                f"The last one: {self.skipped[-1].detail}",
                "See all of them with: deixis check DATA. Fix or remove them, or raise the limit (max_skipped).",
            )


def skip_log(path: str | os.PathLike[str]) -> Callable[[Skipped], None]:
    """For `on_skip`: adds each sample as a line of JSON to a file, at once, unless a run before named it there."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = target.read_text(encoding="utf-8", errors="replace") if target.exists() else ""
    known = set(text.splitlines())

    def log(skipped: Skipped) -> None:
        line = json.dumps(dataclasses.asdict(skipped))
        if line not in known:
            known.add(line)
            with open(target, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    if text and not text.endswith("\n"):  # a run before was killed while it wrote
        with open(target, "a", encoding="utf-8") as file:
            file.write("\n")
    return log


def _made_for(source: Source, plan: EpochPlan) -> dict[str, Any]:
    """All that the order hangs on. Of the samples it is their ids and shards, in order."""
    ids = "\x1f".join(sample.id for sample in source.samples)
    digest = hashlib.sha256(f"{plan.sizes}\x1f{ids}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {
        "samples": len(source.samples),
        "their fingerprint": digest,
        "ranks": plan.world,
        # Runs that were saved before there were groups, or batches of one value, have none.
        **{
            name: value for name, value in vars(plan.order).items() if (name, value) not in (("group", 1), ("same", ""))
        },
    }


# --- reading ----------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A batch that is to be read: which of which epoch, and the places of its samples in the source."""

    epoch: int
    position: int
    indices: Indices


class _Read(NamedTuple):
    """A batch that was read, unless nothing of it is left, and what was left out."""

    batch: Batch | None
    skipped: tuple[Skipped, ...]


class _Reader:
    """Reads batches, in any thread; knows nothing of what was read before."""

    def __init__(self, source: Source, encode: Encode, plan: EpochPlan, rank: int, slots: Indices) -> None:
        self._samples, self._encode, self._plan, self._rank, self._slots = source.samples, encode, plan, rank, slots
        self._make: Encode = getattr(encode, "row", encode)
        self.places = functools.lru_cache(maxsize=4)(self._places)

    def _places(self, epoch: int) -> list[_Place]:
        batches = self._plan.batches(epoch, self._rank)
        return [_Place(epoch, position, self._slots[numbers]) for position, numbers in enumerate(batches)]

    def after(self, place_: _Place) -> _Place:
        """The batch that follows."""
        places = self.places(place_.epoch)
        if place_.position + 1 < len(places):
            return places[place_.position + 1]
        return self.places(place_.epoch + 1)[0]

    def read(self, place_: _Place, stopped: Callable[[], bool]) -> _Read:
        found: list[Batch | Skipped] = []
        for index in place_.indices.tolist():
            if stopped():
                raise CancelledError
            found.append(self._row(index, place_.epoch))
        rows = self._whole_groups(found)
        skipped = tuple(row for row in found if isinstance(row, Skipped))
        if not rows and self._plan.world > 1:
            stand_in = self._stand_in(place_)
            empty = self._plan.order.last == "keep"
            rows = [stand_in.take(())] if empty else [stand_in] * self._plan.order.group
        return _Read(self._joined(rows, place_.epoch) if rows else None, skipped)

    def _joined(self, rows: list[Batch], epoch: int) -> Batch:
        order, batch = self._plan.order, concatenate(rows)
        finish = getattr(self._encode, "finish", None)
        if finish is None:
            return batch
        finished: Batch = finish(batch, functools.partial(Draw, order.seed, epoch) if order.shuffle else None)
        return finished

    def _whole_groups(self, found: Sequence[Batch | Skipped]) -> list[Batch]:
        """The rows that could be read; in a group the first of them stand in for those that could not."""
        group, rows = self._plan.order.group, list[Batch]()
        for start in range(0, len(found), group):
            own = [row for row in found[start : start + group] if isinstance(row, Batch)]
            rows += [own[i % len(own)] for i in range(group)] if own and group > 1 else own
        return rows

    def _row(self, index: int, epoch: int) -> Batch | Skipped:
        sample, order = self._samples[index], self._plan.order
        try:
            return self._make(sample, Draw(order.seed, epoch, sample.id) if order.shuffle else None)
        except (ImageError, OSError) as error:
            where = sample.id if sample.image is None else place(sample.image)
            reason = error.reason if isinstance(error, ImageError) else "unreadable"
            return Skipped(where, reason, str(error))
        except Exception as error:
            found, cure = (error.found, error.cure) if isinstance(error, DeixisError) else (repr(error), "")
            raise DeixisError(f"The sample {sample.id!r} can't be made part of a batch: {found}", cure) from error

    def _stand_in(self, place_: _Place) -> Batch:
        """The first sample that can be read in the batches after this one, the epoch being a ring; for a batch of no
        samples any will do."""
        places = self.places(place_.epoch)
        indices = [each.indices for each in [*places[place_.position + 1 :], *places[: place_.position]]]
        for index in itertools.chain(*indices, self._slots if self._plan.order.last == "keep" else ()):
            row = self._row(int(index), place_.epoch)
            if isinstance(row, Batch):
                return row
        raise DeixisError(
            f"Of the samples of rank {self._rank} none can be read.", "See what is wrong with: deixis check DATA"
        )
