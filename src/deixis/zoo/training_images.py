"""Which images a model was trained on, by the hashes of their contents: so that whoever measures it can say how many of
its queries it has seen.

A run folder holds them in `trained_on.txt`, a hash a line; what its model stands on counts, too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from deixis.files import atomic_path
from deixis.inputs.contents import contents
from deixis.inputs.images import ImageError
from deixis.types import Sample

__all__ = ["FILE", "image_hashes", "seen_sentence", "training_images", "write_training_images"]

FILE = "trained_on.txt"
_SHIPPED = "desk-clip"


def training_images(name: str) -> frozenset[str]:
    """The hashes of the images that a model was trained on, as far as that was kept; none for published models.

    Args:
        name: what `zoo.load` takes.
    """
    if name == _SHIPPED:
        from deixis.zoo import desk_clip

        return desk_clip.trained_on()
    found, folder = set[str](), Path(name)
    for place in (folder, folder.parent):
        if place is folder or folder.name == "model":
            with contextlib.suppress(OSError):
                found |= set((place / FILE).read_text(encoding="ascii").split())
    for config in (folder / "config.json", folder / "model" / "config.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(config.read_text(encoding="utf-8"))["base"] == _SHIPPED:
                found |= training_images(_SHIPPED)
    return frozenset(found)


def image_hashes(samples: Iterable[Sample]) -> Iterator[str]:
    """The hashes of the contents of images; one that can't be read, which training skips, has none."""
    for sample in samples:
        if sample.image is not None:
            with contextlib.suppress(ImageError, OSError):
                yield contents(sample.picture).hash


def write_training_images(folder: Path, hashes: Iterable[str]) -> None:
    """Writes the hashes of the images that the model of a run was trained on, sorted.

    Args:
        folder: of the run.
        hashes: of their contents, as `deixis.inputs.images.picture_hash` gives them.
    """
    with atomic_path(folder / FILE) as temporary:
        temporary.write_text("".join(f"{each}\n" for each in sorted(set(hashes))), encoding="ascii")


def seen_sentence(name: str, hashes: Iterable[str]) -> str:
    """What is to be said where some of the images that are queried were trained on; empty where none was.

    Args:
        name: of the model.
        hashes: of the contents of the queried images.
    """
    queried = set(hashes)
    seen = len(queried & training_images(name))
    if not seen:
        return ""
    return f"{name}: {seen} of {len(queried)} queried images were trained on, so results on them are too high."
