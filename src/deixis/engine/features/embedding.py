"""From pictures to what frozen towers say of them, as a pipeline.

Threads read, hash and decode a bounded number of pictures ahead while the model computes the batch before. Each batch
is kept in the store of features as soon as it is there, by the content of the pictures: a killed run goes on where it
was, and no content is encoded twice. Under `torchrun` each rank takes its share, and all write to one store.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.inputs.contents import contents
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.collective import rank, world_size
from deixis.types import ImageStates, Picture

__all__ = ["Pass", "encode_images", "encode_once", "fitting", "vectors"]

Progress = Callable[[int, int], None]
Unreadable = DeixisError | OSError | MemoryError

_BATCH, _SIDE = 32, 224
_AHEAD = 2  # batches
_THREADS = 8
_BLOCK = 4096  # rows that are taken from the store at once


@dataclasses.dataclass(frozen=True)
class Pass:
    """What one pass over pictures gave.

    Attributes:
        hashes: of each picture's content; empty where it can't be read.
        failures: why not, by the picture's place.
        encoded: contents that the model was asked about; all others were known before.
    """

    hashes: tuple[str, ...]
    failures: Mapping[int, Unreadable]
    encoded: int


def fitting(side: int) -> int:
    """Pictures a batch: 32, but no more pixels than 32 of 224 x 224 have.

    Args:
        side: of the square that the model takes.
    """
    return max(1, min(_BATCH, _BATCH * _SIDE**2 // side**2))


def encode_once(
    encoder: DualEncoder,
    pictures: Sequence[Picture],
    store: FeatureStore,
    *,
    known: Container[str] = (),
    progress: Progress | None = None,
    batch_size: int = 0,
) -> Pass:
    """Encodes pictures of which nothing is known yet: each is read once, and decoded once unless its content is in the
    store. `vectors` gives the embeddings.

    Under `torchrun`, all ranks call this alike and are given the same.

    Args:
        encoder: whose towers are asked (without its adapters), on the device where they are.
        pictures: B images, of any sizes.
        store: where rows are kept; one for all ranks.
        known: hashes of contents that need no encoding.
        progress: called on this thread with pictures done and pictures in all, of this rank's share. What it raises
            ends the pass; the batches before are in the store.
        batch_size: pictures that the model is given at once; 0: see `fitting`.
    """
    rows = _Rows(encoder, store, mirrored=False)
    look = _Look(encoder, pictures, lambda digest: digest in known or bool(rows.find([digest])))
    share = range(rank(), len(pictures), world_size())
    hashes, done = [""] * len(pictures), 0
    with contextlib.closing(_settled(look, share, rows, batch_size)) as parts:
        for settled in parts:
            for each in settled:
                hashes[each.place] = each.hash
            done += len(settled)
            if progress:
                progress(done, len(share))
    # A picture with the bytes of one that failed was not tried.
    copies = {i: look.failure(i, hashes[i]) for i in share if i not in look.failures and hashes[i] in look.bad}
    failures = dict(sorted({**look.failures, **copies}.items()))
    for i in failures:
        hashes[i] = ""
    return _together(Pass(tuple(hashes), failures, rows.computed))


def encode_images(
    encoder: DualEncoder,
    pictures: Sequence[Picture],
    hashes: Sequence[str],
    store: FeatureStore,
    *,
    mirrored: bool = True,
    progress: Progress | None = None,
    batch_size: int = 0,
) -> tuple[Float[Tensor, "V B D"], Float[Tensor, "V B F"], Float[Tensor, "V B"]]:
    """Embeddings, features and doubts of images whose contents are known, from the store where it has them.

    Args:
        encoder: whose towers are asked (without its adapters).
        pictures: B images.
        hashes: their content hashes.
        store: where rows are kept; each batch is kept as soon as it is there.
        mirrored: also encode each image mirrored (V = 2 instead of 1).
        progress: called with images done and images in all, equal ones counted once.
        batch_size: images that the model is given at once; 0: see `fitting`.

    Raises:
        ImageError: an image can't be read.
    """
    rows = _Rows(encoder, store, mirrored)
    first = {digest: i for i, digest in reversed(list(enumerate(hashes)))}
    there = rows.find(list(first))
    done = len(there)
    if progress:
        progress(done, len(first))

    def read(i: int) -> _Ready:
        return _Ready(i, hashes[i], encoder.preprocess.read([pictures[i]]))

    todo = sorted(i for digest, i in first.items() if digest not in there)
    with contextlib.closing(_settled(read, todo, rows, batch_size)) as parts:
        for settled in parts:
            done += len(settled)
            if progress:
                progress(done, len(first))
    del there
    packed = torch.from_numpy(rows.of(hashes))
    return packed[..., : encoder.width], packed[..., encoder.width : -1], packed[..., -1]


@torch.inference_mode()
def vectors(encoder: DualEncoder, hashes: Sequence[str], store: FeatureStore) -> Float[Tensor, "B D"]:
    """Embeddings of contents that are in the store, through the encoder's adapter where it has one: what
    `encoder.encode_image` gives for the pictures.

    Args:
        encoder: that encoded them.
        hashes: of the contents.
        store: where their rows are.

    Raises:
        DeixisError: the store has lost some.
    """
    rows, width = _Rows(encoder, store, mirrored=False), encoder.width
    out = torch.empty(len(hashes), width)
    for start in range(0, len(hashes), _BLOCK):
        packed = torch.from_numpy(rows.of(hashes[start : start + _BLOCK])[0]).to(encoder.device)
        if encoder.image_adapter is None:
            out[start : start + _BLOCK] = packed[:, :width]
        else:
            with evaluating(encoder.image_adapter):
                states = ImageStates(packed[:, :width], packed[:, width:-1], packed[:, -1])
                out[start : start + _BLOCK] = encoder.image_adapter(states)
    return out


class _Ready(NamedTuple):
    """A picture that was read: its pixels as the model takes them, unless the model need not be asked."""

    place: int
    hash: str
    pixels: Float[Tensor, "1 3 H W"] | None


class _Look:
    """Reads pictures, in any thread; a content is decoded for the first that has it."""

    def __init__(self, encoder: DualEncoder, pictures: Sequence[Picture], is_known: Callable[[str], bool]) -> None:
        self._preprocess, self._pictures, self._is_known = encoder.preprocess, pictures, is_known
        self._lock, self._begun = threading.Lock(), set[str]()
        self.failures: dict[int, Unreadable] = {}
        self.bad: dict[str, Unreadable] = {}

    def __call__(self, place: int) -> _Ready:
        digest = ""
        try:
            digest, source = contents(self._pictures[place])
            if not self._begins(digest) or self._is_known(digest):
                return _Ready(place, digest, None)
            try:
                return _Ready(place, digest, self._preprocess.read([source]))
            except DeixisError:  # once more, from where it lies, for an error that names the place
                return _Ready(place, digest, self._preprocess.read([self._pictures[place]]))
        except (DeixisError, OSError, MemoryError) as error:
            self.failures[place] = error
            if digest:
                self.bad[digest] = error
            return _Ready(place, digest, None)

    def failure(self, place: int, digest: str) -> Unreadable:
        """Why a copy of a picture that can't be read can't be read, by its own name."""
        try:
            self._preprocess.read([self._pictures[place]])
        except (DeixisError, OSError, MemoryError) as error:
            return error
        return self.bad[digest]

    def _begins(self, digest: str) -> bool:
        with self._lock:
            new = digest not in self._begun
            self._begun.add(digest)
            return new


def _settled(
    read: Callable[[int], _Ready], places: Sequence[int], rows: _Rows, batch_size: int
) -> Generator[list[_Ready], None, None]:
    """Reads in threads and lets the model compute full batches of it; gives what needs nothing more, as it comes."""
    size = batch_size or rows.fitting
    settled: list[_Ready] = []
    batch: list[_Ready] = []
    with _reading(read, places, _AHEAD * size) as ready:
        for each in ready:
            (settled if each.pixels is None else batch).append(each)
            if len(batch) == size:
                settled += rows.compute(batch)
                batch = []
            if len(settled) >= size:
                yield settled
                settled = []
    settled += rows.compute(batch)
    if settled:
        yield settled


@contextlib.contextmanager
def _reading(read: Callable[[int], _Ready], places: Iterable[int], ahead: int) -> Iterator[Iterator[_Ready]]:
    """Yields what threads read, in order, at most `ahead` pictures before they are wanted."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    pool = ThreadPoolExecutor(max(1, min(_THREADS, cores)), "deixis reader")

    def ready() -> Iterator[_Ready]:
        waiting: collections.deque[Future[_Ready]] = collections.deque()
        for place in places:
            waiting.append(pool.submit(read, place))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield ready()
    finally:
        pool.shutdown(cancel_futures=True)


class _Rows:
    """What one model has said of contents, in a store: V views of each, one float32 row of embedding, features, doubt.

    Attributes:
        computed: contents that the model was asked about.
        fitting: pictures a batch.
    """

    def __init__(self, encoder: DualEncoder, store: FeatureStore, mirrored: bool) -> None:
        self._encoder, self._store = encoder, store
        plain = encoder.image_adapter is None and encoder.text_adapter is None
        # Known already, where it is plain.
        self._mark = (encoder if plain else encoder.with_adapters(None, None)).fingerprint()
        self._size = encoder.width + encoder.feature_width + 1
        self._views = (False, True) if mirrored else (False,)
        self.computed, self.fitting = 0, fitting(encoder.preprocess.size)

    def _key(self, digest: str, flip: bool) -> str:
        return f"{self._mark}/{digest}/{int(flip)}"

    def find(self, hashes: Sequence[str]) -> dict[str, np.ndarray]:
        """Hash -> [V, size], of those that are there and can be right."""
        rows = self._store.get([self._key(digest, flip) for digest in hashes for flip in self._views])
        rows = {key: row for key, row in rows.items() if row.size == self._size and np.isfinite(row).all()}
        found: dict[str, np.ndarray] = {}
        for digest in hashes:
            views = [rows[key] for flip in self._views if (key := self._key(digest, flip)) in rows]
            if len(views) == len(self._views):
                found[digest] = np.stack(views)
        return found

    def of(self, hashes: Sequence[str]) -> Float[np.ndarray, "V B C"]:
        """All of them, in order."""
        found = self.find(list(dict.fromkeys(hashes)))
        if any(digest not in found for digest in hashes):
            raise DeixisError(
                f"The features kept in {self._store.path} have lost some that were put there a moment ago.",
                "Run again; several processes need one cache folder for all (DEIXIS_CACHE).",
            )
        if not hashes:
            return np.empty((len(self._views), 0, self._size), np.float32)
        return np.stack([found[digest] for digest in hashes], axis=1)

    def compute(self, batch: Sequence[_Ready]) -> list[_Ready]:
        """Asks the model about what was read, and keeps what it says; gives the same without pixels."""
        if not batch:
            return []
        images = torch.cat([each.pixels for each in batch if each.pixels is not None]).to(self._encoder.device)
        fresh: dict[str, np.ndarray] = {}
        for flip in self._views:
            packed = _pack(self._encoder, images.flip(-1) if flip else images)
            fresh |= {self._key(each.hash, flip): row for each, row in zip(batch, packed, strict=True)}
        self._store.put(fresh)
        self.computed += len(batch)
        return [each._replace(pixels=None) for each in batch]


@torch.inference_mode()
def _pack(encoder: DualEncoder, images: Float[Tensor, "B 3 H W"]) -> np.ndarray:
    """One float32 row an image: embedding, features, doubt."""
    with evaluating(encoder):  # in eval mode: what is kept must not depend on the caller's
        states = encoder.image_states(images)
    packed = torch.cat([states.embedding, states.features, states.doubt[:, None]], dim=1).float().cpu().numpy()
    if not np.isfinite(packed).all():
        raise DeixisError("The model gives numbers that are not finite for one of the images.", "Check its weights.")
    return packed


def _together(mine: Pass) -> Pass:
    """What all ranks found."""
    if world_size() == 1:
        return mine
    shares: list[Pass | None] = [None] * world_size()
    dist.all_gather_object(shares, mine)
    whole = [share for share in shares if share is not None]
    failures = {i: error for share in whole for i, error in share.failures.items()}
    hashes = tuple(map("".join, zip(*(share.hashes for share in whole), strict=True)))
    return Pass(hashes, dict(sorted(failures.items())), sum(share.encoded for share in whole))
