"""Fashion-MNIST: 70,000 grey pictures of 28 x 28 pixels of ten kinds of clothes, 60,000 to train on and 10,000 to test.

They come from the Debian package `dataset-fashion-mnist`, as four compressed arrays. These are unpacked and checked by
hash; the samples are drawings that read their pixels from them, so that no file is opened for a picture of 784 bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "LABELS", "FashionPicture", "fetch", "read"]

DATASET = DatasetCard(
    title="Fashion-MNIST: 70,000 small grey pictures of ten kinds of clothes",
    licence="MIT (Fashion-MNIST by Zalando SE)",
    how="apt",
    size_mb=31,
    fields=("labels",),
    parts=("train", "test"),
)

_NAME = set_name(__name__)
LABELS = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

_PACKAGE = "dataset-fashion-mnist"
_SIDE = 28
_HEADERS = {"images": 16, "labels": 8}
_COUNTS = {"train": 60_000, "test": 10_000}
_ARRAYS = {
    "train-images": ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels": ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "test-images": ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "test-labels": ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


@dataclasses.dataclass(frozen=True)
class FashionPicture:
    """One picture, as a drawing.

    Attributes:
        split: `train` or `test`.
        index: its place there.
        root: the folder of the set.
    """

    split: str
    index: int
    root: Path

    @property
    def name(self) -> str:
        """Such as `fashion/test/00042`."""
        return f"{_NAME}/{self.split}/{self.index:05}"

    def draw(self) -> UInt8[np.ndarray, "28 28 3"]:
        """The picture, its grey three times.

        Raises:
            DeixisError: the set has been removed or damaged.
        """
        return np.repeat(_array(self.root, f"{self.split}-images")[self.index, :, :, None], 3, axis=2)


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the arrays into the cache, unpacked; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had (see `packages.debian_package`), or holds something else.
    """
    if not finished(_NAME):
        with from_debian(_NAME, _PACKAGE, DATASET.licence, say) as (share, folder, marker):
            for name, (inside, sha256) in _ARRAYS.items():
                _unpack(share / "datasets/fashion-mnist" / f"{inside}.gz", folder / name, sha256)
            marker["files"] = len(_ARRAYS)
    return home(_NAME)


def read(part: str = "") -> Source:
    """The pictures with their labels, first those to train on, in the order of the arrays; or one part of them.

    Raises:
        DeixisError: they have not been fetched, or the set is damaged.
    """
    root = home(_NAME)
    samples = [
        Sample(f"{split}/{index:05}", FashionPicture(split, index, root), label=LABELS[label], split=split)
        for split in ((part,) if part else _COUNTS)
        for index, label in enumerate(_array(root, f"{split}-labels").tolist())
    ]
    return Source("/".join(filter(None, (_NAME, part))), root, "labels", "arrays in idx format", tuple(samples))


def _unpack(packed: Path, target: Path, sha256: str) -> None:
    kind = target.name.split("-")[1]
    size = _COUNTS[target.name.split("-")[0]] * (_SIDE * _SIDE if kind == "images" else 1) + _HEADERS[kind]
    try:
        with gzip.open(packed) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DeixisError(f"The package holds no {packed.name} that can be unpacked: {error}.", "Try again.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DeixisError(
            f"The file {packed.name} of {_PACKAGE} is not the one expected: it has {len(content):,} bytes and "
            f"SHA-256 {found}, not {size:,} and {sha256}.",
            "It is refused. Check which mirror apt uses.",
        )
    target.write_bytes(content)


@functools.lru_cache(maxsize=8)
def _array(root: Path, name: str) -> NDArray[Any]:
    """An array of the set, mapped, not read: [N, 28, 28] of images, [N] of labels."""
    split, kind = name.split("-")
    shape = (_COUNTS[split], _SIDE, _SIDE) if kind == "images" else (_COUNTS[split],)
    try:
        return np.memmap(root / name, np.uint8, "r", _HEADERS[kind], shape)
    except (OSError, ValueError) as error:
        raise DeixisError(
            f"The set {_NAME!r} in {root} is damaged: {error}.", "Remove that folder, fetch again."
        ) from error
