"""What a classifier is given: a model, images, whatever they come as, and the few that are drawn to learn from."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deixis import zoo
from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.data.class_folders import with_folder_labels
from deixis.data.quality.check import duplicates
from deixis.data.quality.image_probe import ImageProbe, probe_image
from deixis.data.splits import concept_groups
from deixis.engine.fewshot.draws import Labelled, draw
from deixis.engine.fewshot.names import examples
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.images import picture_hash, probe
from deixis.inputs.read_ahead import read_ahead
from deixis.nn.dual import DualEncoder
from deixis.types import Drawing, Member, Picture, Sample, Source, Stored

__all__ = ["FewShotSubset", "few_shot_subset", "hashes", "labelled", "model_of", "pictures", "remarks_on", "source_of"]

_AHEAD = 64
"""Images that are read before they are wanted."""

_LOPSIDED = 10
"""Times that the largest class may hold the images of the smallest before it is remarked on."""


@dataclasses.dataclass(frozen=True)
class _Bytes:
    """The contents of an image file."""

    name: str
    data: bytes

    def read(self) -> bytes:
        return self.data


@dataclasses.dataclass(frozen=True)
class _Pixels:
    """An image that is decoded already."""

    name: str
    image: Any

    def draw(self) -> np.ndarray:
        return np.asarray(self.image.convert("RGB") if isinstance(self.image, Image.Image) else self.image)


@dataclasses.dataclass(frozen=True)
class FewShotSubset:
    """The images that are learned from.

    Attributes:
        samples: of the few, that can be read.
        hashes: of their contents.
        groups: equal for those that show one thing or are copies.
        unreadable: of those that were drawn and passed over, what was wrong with each.
    """

    samples: tuple[Sample, ...]
    hashes: tuple[str, ...]
    groups: tuple[int, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def known(self) -> Labelled:
        """What is known of them besides their pixels."""
        return Labelled.of(self.samples, self.groups)


def model_of(model: Any) -> DualEncoder:
    """The model that is meant, in eval mode; one that was loaded lately is not loaded again.

    Args:
        model: a name, a folder, or the model itself.

    Raises:
        DeixisError: there is no such model, or it has not both towers.
    """
    if isinstance(model, DualEncoder):
        return model.eval()
    if isinstance(model, str | os.PathLike):
        folder = Path(model)
        files = (folder, folder / "config.json", folder / "model" / "config.json")
        changed = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
        return _loaded(os.fspath(model), changed, str(cache_dir()))
    raise DeixisError(
        f"{type(model).__name__} is no model with an image and a text tower.",
        "Give the name of one, a model folder, or what deixis.load gave.",
    )


@functools.lru_cache(maxsize=2)
def _loaded(name: str, changed: tuple[int, ...], cache: str) -> DualEncoder:
    """By name; times and the cache's place tell a model that changed from what it was."""
    return zoo.load(name).eval()


def pictures(given: Any) -> list[Picture]:
    """Images from what a caller has.

    Args:
        given: paths, file contents (bytes), Pillow images or arrays uint8 [H, W, 3], several or one; a folder,
            `set:NAME` or a source.

    Raises:
        DeixisError: something of another kind.
    """
    if isinstance(given, Source):
        return [sample.picture for sample in given.samples]
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if text.startswith("set:") or os.path.isdir(text):
            return pictures(read(text))
        return [Path(text)]
    if isinstance(given, bytes | Image.Image | Member | Drawing | Stored):
        return [_picture(given, 0)]
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3:
        return [_picture(given, 0)]
    return [_picture(each, i) for i, each in enumerate(given)]


def _picture(given: Any, number: int) -> Picture:
    name = f"image {number}"
    if isinstance(given, str | os.PathLike):
        return Path(given)
    if isinstance(given, bytes):
        return _Bytes(name, given)
    if isinstance(given, Member | Drawing | Stored):
        return given
    if isinstance(given, np.ndarray) and (given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3):
        raise DeixisError(
            f"{name} is an array {given.dtype} {list(given.shape)}.",
            "Give uint8 [height, width, 3], or paths of images.",
        )
    if isinstance(given, Image.Image | np.ndarray):
        return _Pixels(name, given)
    raise DeixisError(f"{name} is {given!r:.60}.", "Give paths of images, their contents, Pillow images or arrays.")


def hashes(given: Sequence[Picture]) -> list[str]:
    """The SHA-256 of each image's content.

    Raises:
        ImageError: a file can't be read.
    """
    return [_hash(picture) for picture in given]


def _hash(picture: Picture) -> str:
    if not isinstance(picture, Path):
        return picture_hash(picture)
    try:
        return picture_hash(picture)
    except OSError:
        probe(picture)  # for an error that says what is wrong with it
        raise


def labelled(given: Any, labels: Any = None, side: str = "") -> tuple[list[Sample], list[Any]]:
    """Images with the label of each; those without one are left out.

    Args:
        given: as for `pictures`, or, where no labels are given, pairs of an image and its label.
        labels: one an image; None: those of the folder or source, or of the pairs.
        side: of a source that names sides, the one that is wanted, if it has any of it: `train`, `val` or `test`.

    Returns:
        Samples whose `label` is the label as a string, and the labels as they were.

    Raises:
        DeixisError: there are no labels, or not as many as images.
    """
    if labels is None and isinstance(given, str | os.PathLike):
        given = read(os.fspath(given))
    if labels is None and isinstance(given, Source):
        labelled = [sample for sample in with_folder_labels(given).samples if sample.label]
        if not labelled:
            raise DeixisError(
                f"{given.root} holds {len(given.samples)} images without a label: there are no classes to learn.",
                "Put the images into a folder for each class, or name the column of a table that holds the classes.",
            )
        labelled = [sample for sample in labelled if sample.split == side] or labelled
        return labelled, [sample.label for sample in labelled]
    if labels is None:
        given, labels = _unzipped(given)
    images, values = pictures(given), [_plain(value) for value in labels]
    if len(images) != len(values):
        raise DeixisError(f"There are {len(images)} images and {len(values)} labels.", "Give one label per image.")
    rows = [(i, image, value) for i, (image, value) in enumerate(zip(images, values, strict=True)) if _told(value)]
    samples = [Sample(f"{i}: {_name(image)}", image, label=str(value)) for i, image, value in rows]
    return samples, [value for _, _, value in rows]


def source_of(given: Any) -> Source | None:
    """The folder, table or set that images came from, as a source; None of lists of images.

    Args:
        given: as for `labelled`.
    """
    if isinstance(given, Source):
        return given
    return read(os.fspath(given)) if isinstance(given, str | os.PathLike) else None


def _unzipped(pairs: Any) -> tuple[list[Any], list[Any]]:
    found = [tuple(pair) for pair in pairs if isinstance(pair, tuple | list) and len(pair) == 2]
    if not found or len(found) != len(pairs):
        raise DeixisError(
            "There are no labels: neither y, nor pairs of an image and its label, nor a folder of classes.",
            "Call fit(images, labels), fit([(image, label), ...]) or fit(folder).",
        )
    return [image for image, _ in found], [label for _, label in found]


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, which can be written down."""
    return value.item() if isinstance(value, np.generic) else value


def _told(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def _name(image: Picture) -> str:
    return str(image) if isinstance(image, Path) else image.name


def few_shot_subset(samples: Sequence[Sample], shots: int | None, seed: int) -> FewShotSubset:
    """A few images of each class; what can't be read is replaced by others of its class, as far as there are some.

    Args:
        samples: with labels.
        shots: images a class; None: all.
        seed: of the draw.

    Raises:
        DeixisError: less than one image a class is requested, or no image of a class can be read.
    """
    names = sorted({str(sample.label) for sample in samples})
    data = Labelled.of(samples, range(len(samples)))
    count, wrong = len(samples) if shots is None else shots, dict[int, str]()
    while True:
        among = [i for i in range(len(samples)) if i not in wrong]
        bare = set(names) - {data.labels[i] for i in among}
        if bare:
            each = next(i for i in wrong if data.labels[i] in bare)
            raise DeixisError(
                f"No image of the class {data.labels[each]!r} can be read; the first: {wrong[each]}",
                "Give images of it, or leave the class out.",
            )
        taken = draw(data, among, names, [count], seed)[count]
        probed = _probe_all([samples[i] for i in taken])
        bad = {
            i: f"{found.skipped.path}: {found.skipped.reason}"
            for i, found in zip(taken, probed, strict=True)
            if found.skipped
        }
        if not bad:
            break
        wrong |= bad
    few = tuple(samples[i] for i in taken)
    _, same = duplicates(probed)
    groups = tuple(concept_groups(few, same, captions=False))
    return FewShotSubset(few, tuple(found.hash for found in probed), groups, tuple(wrong.values()))


def _probe_all(samples: Sequence[Sample]) -> list[ImageProbe]:
    """One look at each; at a file that did not change, the one from before, since folds and grids show images often."""
    with read_ahead(_look, samples, ahead=_AHEAD) as probed:
        return list(probed)


def _look(sample: Sample) -> ImageProbe:
    state = _state(sample.image)
    return probe_image(sample) if state is None else _look_at(*state)


def _state(picture: Picture | None) -> tuple[str, int, int] | None:
    """Path, size and time of a file."""
    if not isinstance(picture, Path):
        return None
    try:
        facts = picture.stat()
    except OSError:
        return None
    return str(picture.absolute()), facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=100_000)
def _look_at(path: str, size: int, changed: int) -> ImageProbe:
    """Size and time are there to tell a file that changed from what it was."""
    return probe_image(Sample(path, Path(path)))


def remarks_on(few: FewShotSubset, labels: Sequence[str], shots: int | None) -> list[str]:
    """What there is to say of the images that were drawn.

    Args:
        few: those.
        labels: of all classes.
        shots: images a class that were requested.
    """
    counts = Counter(sample.label for sample in few.samples)
    notes = []
    fewer = [label for label in labels if shots is not None and counts[label] < shots]
    if fewer:
        least = min(counts[label] for label in fewer)
        notes.append(
            f"{len(fewer)} of {len(labels)} classes have fewer than {shots} images, {least} the least; all are used: "
            f"{examples(fewer)}."
        )
    if counts and max(counts.values()) > _LOPSIDED * min(counts.values()):
        notes.append(
            f"The largest class has {max(counts.values())} images, the smallest "
            f"{min(counts.values())}: predictions will favour large classes."
        )
    if few.unreadable:
        lost = counted(len(few.unreadable), "image")
        notes.append(f"{lost} can't be read, and others are taken: {examples(few.unreadable)}.")
    return notes
