"""Fashion-MNIST: drawings over mapped arrays."""

from __future__ import annotations

import collections
import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.data import catalogue
from deixis.data.datasets import fashion
from deixis.data.datasets.sources import cache
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.images import load_image, picture_hash
from deixis.types import Drawing
from tests.registries import needs_dpkg, quiet

Apt = Callable[[str, Callable[[Path], None]], None]

COUNTS = {"train": 5, "test": 3}


def arrays() -> dict[str, Any]:
    """A few pictures, every pixel of which is ten times the label plus the index."""
    made: dict[str, Any] = {}
    for split, count in COUNTS.items():
        labels = np.arange(count, dtype=np.uint8)[::-1]
        made[f"{split}-labels"] = labels
        made[f"{split}-images"] = (
            np.full((count, 28, 28), 1, np.uint8) * (10 * labels + np.arange(count))[:, None, None]
        )
    return made


def idx(array: Any) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">HBB", 0, 8, array.ndim) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Fills a package with eight pictures, which are expected."""
    files = {fashion._ARRAYS[name][0]: idx(array) for name, array in arrays().items()}
    expected = {
        name: (inside, hashlib.sha256(files[inside]).hexdigest()) for name, (inside, _) in fashion._ARRAYS.items()
    }
    monkeypatch.setattr(fashion, "_ARRAYS", expected)
    monkeypatch.setattr(fashion, "_COUNTS", COUNTS)

    def fill(root: Path) -> None:
        place = root / "usr/share/datasets/fashion-mnist"
        place.mkdir(parents=True)
        for name, content in files.items():
            (place / f"{name}.gz").write_bytes(gzip.compress(content))

    return fill


@needs_dpkg
def test_pictures_and_labels_lie_in_the_order_of_the_arrays(apt: Apt, small: Callable[[Path], None]) -> None:
    apt("dataset-fashion-mnist", small)
    fashion.fetch(quiet)
    source = catalogue.read("fashion")
    assert source.kind == "labels"
    assert [sample.id for sample in source.samples][::4] == ["train/00000", "train/00004"]
    assert [(sample.label, sample.split) for sample in source.samples[-3:]] == [
        ("pullover", "test"),
        ("trousers", "test"),
        ("t-shirt", "test"),
    ]
    for sample in source.samples:
        value = 10 * fashion.LABELS.index(sample.label or "") + int(sample.id[-5:])
        assert load_image(sample.picture).tolist() == np.full((3, 28, 28), value).tolist()
    assert catalogue.read("fashion/test").samples == source.samples[5:]


@needs_dpkg
def test_a_picture_is_a_small_drawing_that_travels_to_other_processes(apt: Apt, small: Callable[[Path], None]) -> None:
    apt("dataset-fashion-mnist", small)
    fashion.fetch(quiet)
    picture = catalogue.read("fashion").samples[1].picture
    assert isinstance(picture, Drawing)
    assert picture.name == "fashion/train/00001"
    assert len(pickle.dumps(picture)) < 400
    assert picture_hash(pickle.loads(pickle.dumps(picture))) == picture_hash(picture)
    drawn = picture.draw()
    drawn[:] = 0
    assert picture.draw().max() > 0


@needs_dpkg
def test_other_contents_are_refused(apt: Apt, small: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    apt("dataset-fashion-mnist", small)
    wrong = {**fashion._ARRAYS, "train-labels": (fashion._ARRAYS["train-labels"][0], "0" * 64)}
    monkeypatch.setattr(fashion, "_ARRAYS", wrong)
    with pytest.raises(DeixisError, match=r"train-labels-idx1-ubyte.gz .* is not the one expected: it has 13 bytes"):
        fashion.fetch(quiet)
    assert not cache.finished("fashion")


@needs_dpkg
def test_a_package_without_an_array_is_refused(apt: Apt, small: Callable[[Path], None]) -> None:
    def fill(root: Path) -> None:
        small(root)
        next(root.rglob("t10k-images*")).write_bytes(b"\x1f\x8b\x08\x00cut")

    apt("dataset-fashion-mnist", fill)
    with pytest.raises(DeixisError, match=r"holds no t10k-images-idx3-ubyte.gz that can be unpacked"):
        fashion.fetch(quiet)


@needs_dpkg
def test_a_damaged_set_says_so(apt: Apt, small: Callable[[Path], None]) -> None:
    apt("dataset-fashion-mnist", small)
    fashion.fetch(quiet)
    (cache_dir("sets", "fashion") / "train-images").write_bytes(b"short")
    with pytest.raises(DeixisError, match=r"damaged: .* Remove that folder, fetch again"):
        load_image(catalogue.read("fashion").samples[0].picture)


@pytest.mark.slow
def test_the_real_pictures_are_those_that_are_published(fetched: Callable[[str], Path]) -> None:
    root = fetched("fashion")
    source = catalogue.read("fashion")
    counts = collections.Counter((sample.split, sample.label) for sample in source.samples)
    assert set(counts.values()) == {6000, 1000}
    train = fashion._array(root, "train-images")
    assert train.mean() / 255 == pytest.approx(0.2860, abs=1e-4)  # the figures everybody normalises with
    assert train.std() / 255 == pytest.approx(0.3530, abs=1e-4)
