"""From pictures and texts to what frozen parts give for them, as a pipeline.

Threads read, hash and decode a bounded number of pictures ahead while the part computes the batch before. Each batch
is stored as soon as it is there, by the content of the pictures and texts: a killed run goes on where it was, and no
content is encoded twice. Under `torchrun` each rank takes its share, and all write to one store.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Container, Generator, Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from deixis.engine.features.calls import EncodeItem, Inputs, PartCall
from deixis.engine.features.picture_reader import PictureReader, Ready, Unreadable
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.inputs.read_ahead import read_ahead
from deixis.nn import compute
from deixis.nn.dual import DualEncoder
from deixis.ops.augmentation import mirror
from deixis.ops.collective import rank, world_size
from deixis.types import ImageStates, Picture

__all__ = [
    "Pass",
    "encode_images",
    "encode_once",
    "encode_texts",
    "fitting",
    "image_states",
    "make",
    "vectors",
]

Progress = Callable[[int, int], None]

_BATCH, _SIDE = 32, 224
_AHEAD = 2  # batches
_BLOCK = 4096  # rows that are taken from the store at once


@dataclasses.dataclass(frozen=True)
class Pass:
    """What one pass over pictures gave.

    Attributes:
        hashes: of each picture's content; empty where it can't be read.
        failures: why not, by the picture's place.
        encoded: contents that were encoded; all others were stored before.
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
    encoder: DualEncoder | PartCall,
    pictures: Sequence[Picture],
    store: FeatureStore,
    *,
    known: Container[str] = (),
    progress: Progress | None = None,
    batch_size: int = 0,
) -> Pass:
    """`make` for the image tower of an encoder (without its adapters). `vectors` gives the embeddings.

    Args:
        encoder: whose image tower encodes, on the device of `deixis.nn.compute`; or the call of its states.
        pictures: B images, of any sizes.
        store: where rows are stored; one for all ranks.
        known: hashes of contents that need no encoding.
        progress: see `make`.
        batch_size: see `make`.
    """
    items = [EncodeItem(picture) for picture in pictures]
    return make(PartCall.states(encoder), items, store, known=known, progress=progress, batch_size=batch_size)


def make(
    call: PartCall,
    items: Sequence[EncodeItem],
    store: FeatureStore,
    *,
    known: Container[str] = (),
    progress: Progress | None = None,
    batch_size: int = 0,
) -> Pass:
    """Calls a part for samples of which nothing is known yet: each picture is read once, and decoded once unless its
    row is in the store.

    Under `torchrun`, all ranks call this alike and are given the same.

    Args:
        call: of a part, which computes on the device of `deixis.nn.compute`.
        items: one a sample.
        store: where rows are stored; one for all ranks.
        known: hashes of contents that need no call.
        progress: called on this thread with samples done and samples in all, of this rank's share. What it raises
            ends the pass; the batches before are in the store.
        batch_size: samples that the part is given at once; 0: see `fitting`.
    """
    rows = _Rows(call, store, mirrored=False)
    share = range(rank(), len(items), world_size())
    if "image" not in call.of:
        with compute.placed(call.part):
            _make_texts(rows, [items[i].text for i in share], batch_size or _BATCH, progress)
        return _together(Pass(("",) * len(items), {}, rows.computed))
    look = PictureReader(call, items, lambda inputs: inputs.digest in known or bool(rows.find([inputs])))
    hashes, done = [""] * len(items), 0
    with compute.placed(call.part), contextlib.closing(_settled(look, share, rows, batch_size)) as parts:
        for settled in parts:
            for each in settled:
                hashes[each.place] = each.inputs.digest
            done += len(settled)
            if progress:
                progress(done, len(share))
        for each in look.again():
            hashes[each.place] = each.inputs.digest
            rows.compute([] if each.pixels is None else [each])
    # A picture with the bytes of one that failed was not tried.
    copies = {i: look.failure(i, hashes[i]) for i in share if i not in look.failures and hashes[i] in look.bad}
    failures = dict(sorted({**look.failures, **copies}.items()))
    for i in failures:
        hashes[i] = ""
    return _together(Pass(tuple(hashes), failures, rows.computed))


def _make_texts(rows: _Rows, texts: Sequence[str], size: int, progress: Progress | None = None) -> None:
    """Texts that are not in the store yet, each distinct one once, in their order."""
    distinct = [Inputs(text=text) for text in dict.fromkeys(texts)]
    there = rows.find(distinct)
    todo = [Ready(i, inputs, None) for i, inputs in enumerate(distinct) if inputs not in there]
    done = len(distinct) - len(todo)
    for start in range(0, len(todo), size):
        done += len(rows.compute(todo[start : start + size]))
        if progress:
            progress(done, len(distinct))


@torch.inference_mode()
def encode_texts(encoder: DualEncoder, texts: Sequence[str], store: FeatureStore) -> Float[Tensor, "B D"]:
    """Embeddings of texts (through the encoder's adapter, if it has one), from the store where it has them.

    Args:
        encoder: that embeds each distinct text once.
        texts: B of them.
        store: where rows are stored.
    """
    call = PartCall(encoder, "encode_text", of=("text",))
    rows = _Rows(call, store, mirrored=False)
    with compute.placed(encoder):
        _make_texts(rows, texts, _BATCH)
    inputs = [Inputs(text=text) for text in texts]
    found = rows.found(inputs)
    vectors_ = torch.empty(len(inputs), encoder.width)
    for i, each in enumerate(inputs):
        vectors_[i] = call.values(found[each][0])[""]
    return vectors_


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
        encoder: whose towers encode (without its adapters).
        pictures: B images.
        hashes: their content hashes.
        store: where rows are stored; each batch as soon as it is computed.
        mirrored: also encode each image mirrored (V = 2 instead of 1).
        progress: called with images done and images in all, equal ones counted once.
        batch_size: images that the model is given at once; 0: see `fitting`.

    Raises:
        ImageError: an image can't be read.
    """
    rows = _Rows(PartCall.states(encoder), store, mirrored)
    first = {digest: i for i, digest in reversed(list(enumerate(hashes)))}
    there = {inputs.digest for inputs in rows.find([Inputs(digest) for digest in first])}
    done = len(there)
    if progress:
        progress(done, len(first))

    def read(i: int) -> Ready:
        return Ready(i, Inputs(hashes[i]), encoder.preprocess.read([pictures[i]]))

    todo = sorted(i for digest, i in first.items() if digest not in there)
    with compute.placed(encoder), contextlib.closing(_settled(read, todo, rows, batch_size)) as parts:
        for settled in parts:
            done += len(settled)
            if progress:
                progress(done, len(first))
    packed = torch.from_numpy(rows.packed(hashes))
    return packed[..., : encoder.width], packed[..., encoder.width : -1], packed[..., -1]


def image_states(encoder: DualEncoder, pictures: Sequence[Picture], hashes: Sequence[str]) -> ImageStates:
    """The plain view of `encode_images`, its embeddings through the encoder's adapter where it has one: what methods
    that classify read, from the user's store where it has them.

    Args:
        encoder: the frozen model.
        pictures: B images.
        hashes: their content hashes.
    """
    with contextlib.closing(FeatureStore()) as store:
        views = encode_images(encoder, pictures, hashes, store, mirrored=False)
    states = ImageStates(*(view[0].clone() for view in views))  # outside inference mode, since these are trained on
    return dataclasses.replace(states, embedding=PartCall.states(encoder).embedding(states))


@torch.inference_mode()
def vectors(encoder: DualEncoder | PartCall, hashes: Sequence[str], store: FeatureStore) -> Float[Tensor, "B D"]:
    """Embeddings of contents that are in the store, through the encoder's adapter where it has one: what
    `encoder.encode_image` gives for the pictures.

    Args:
        encoder: that encoded them, or the call of its states.
        hashes: of the contents.
        store: where their rows are.

    Raises:
        DeixisError: the store has lost some.
    """
    call = PartCall.states(encoder)
    rows, out = _Rows(call, store, mirrored=False), torch.empty(len(hashes), call.part.width)
    for start in range(0, len(hashes), _BLOCK):
        packed = rows.packed(hashes[start : start + _BLOCK])[0]
        out[start : start + _BLOCK] = call.embedding(call.unpacked(packed))
    return out


def _settled(
    read: Callable[[int], Ready], places: Sequence[int], rows: _Rows, batch_size: int
) -> Generator[list[Ready], None, None]:
    """Reads in threads and lets the part compute full batches of it; gives what needs nothing more, as it comes."""
    size = batch_size or compute.batch_size(rows.fitting)
    settled: list[Ready] = []
    batch: list[Ready] = []
    with read_ahead(read, places, ahead=_AHEAD * size) as ready:
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


class _Rows:
    """What one call has given for contents, in a store, V views of each.

    Attributes:
        computed: contents that the part was called for.
        fitting: samples a batch.
    """

    def __init__(self, call: PartCall, store: FeatureStore, mirrored: bool) -> None:
        self._call, self._store = call, store
        self._views = (False, True) if mirrored else (False,)
        self.computed, self.fitting = 0, fitting(call.preprocess.size)

    def find(self, inputs: Sequence[Inputs]) -> dict[Inputs, list[list[np.ndarray]]]:
        """Inputs -> the rows of each view, of those that are there and can be right."""
        keys = {each: [self._call.keys(each._replace(flip=flip)) for flip in self._views] for each in inputs}
        rows = self._store.get([key for views in keys.values() for view in views for key in view])
        rows = {key: row for key, row in rows.items() if self._call.is_sound(row)}
        return {
            each: [[rows[key] for key in view] for view in views]
            for each, views in keys.items()
            if all(key in rows for view in views for key in view)
        }

    def found(self, inputs: Sequence[Inputs]) -> dict[Inputs, list[list[np.ndarray]]]:
        """`find`, where all of them must be there."""
        rows = self.find(inputs)
        if any(each not in rows for each in inputs):
            raise DeixisError(
                f"Features that were just stored in {self._store.path} are missing.",
                "Run again; several processes need one cache folder for all (DEIXIS_CACHE), and it must hold all that "
                f"one run needs (DEIXIS_FEATURES_GB, now {self._store.limit / 2**30:g}).",
            )
        return rows

    def packed(self, hashes: Sequence[str]) -> Float[np.ndarray, "V B C"]:
        """Rows of image states, in order."""
        found = self.found([Inputs(digest) for digest in dict.fromkeys(hashes)])
        if not hashes:
            width = self._call.part.width + self._call.part.feature_width + 1
            return np.empty((len(self._views), 0, width), np.float32)
        return np.stack([[view[0] for view in found[Inputs(digest)]] for digest in hashes], axis=1)

    def compute(self, batch: Sequence[Ready]) -> list[Ready]:
        """Calls the part for what was read, and stores the rows; gives the same without pixels."""
        if not batch:
            return []
        pixels = [each.pixels for each in batch if each.pixels is not None]
        images, texts = torch.cat(pixels) if pixels else None, [each.inputs.text for each in batch]
        boxes = [each.inputs.boxes for each in batch]
        fresh: dict[str, np.ndarray] = {}
        for flip in self._views:
            rows = self._call.rows(mirror(images) if flip and images is not None else images, texts, boxes)
            for each, own in zip(batch, rows, strict=True):
                fresh |= zip(self._call.keys(each.inputs._replace(flip=flip)), own, strict=True)
        self._store.put(fresh)
        self.computed += len(batch)
        return [each._replace(pixels=None) for each in batch]


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
