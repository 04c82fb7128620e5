"""COCO's json: images, and annotations that name them by number: boxes with categories and masks, or captions.

Also as MDETR has it: a caption beside each image, and the places of its words (`tokens_positive`) in each annotation.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import excerpt, full_path
from deixis.data.readers.formats.tables import read_json
from deixis.data.readers.lookup import Lookup
from deixis.data.readers.names import split_of
from deixis.data.readers.regions import Gathering, key_of, list_of
from deixis.data.readers.rows import cell
from deixis.errors import DeixisError
from deixis.types.samples import Picture, Skipped, Source

__all__ = ["annotation_files", "is_coco", "read_coco", "split_in"]

_BESIDE = "_annotations.coco.json"
_LEFT_OUT = re.compile(r"(person_keypoints|panoptic|stuff|image_info)", re.IGNORECASE)
_OWN = frozenset({"file_name", "id", "caption"})


def is_coco(data: Any) -> bool:
    """Whether a json has COCO's form, by its keys."""
    return isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def annotation_files(folder: Path) -> list[Path]:
    """The json files of a folder that is laid out as COCO's (in `annotations`) or Roboflow's (one beside the images
    of each split)."""
    own = sorted(_files(folder / "annotations", ".json")) or sorted(_files(folder, _BESIDE))
    try:
        with os.scandir(folder) as found:
            below = sorted(entry.path for entry in found if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        below = []
    return own or [file for path in below for file in _files(Path(path), _BESIDE)]


def _files(folder: Path, ending: str) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [Path(entry.path) for entry in found if entry.name.endswith(ending) and entry.is_file()]
    except OSError:
        return []


def split_in(path: Path) -> str:
    """The split that a file's name says, or that of its folder: `train` of `instances_train2017.json`."""
    words = [word for name in (path.stem, path.parent.name) for word in re.split(r"[\W_]+", name)]
    return next(filter(None, map(split_of, words)), "")


def read_coco(root: Path, files: Mapping[Path, Any | None]) -> Source:
    """Reads COCO's json, one or several: what they say of one image is put together.

    Boxes become x0 y0 x1 y1 from 0 to 1; those that reach out of the image stay as they are. Of an annotation,
    `iscrowd`, `area` and whatever else it holds become attributes.

    Args:
        root: what the user gave, a folder or the one file.
        files: the files with what they hold; None: to be read.

    Raises:
        DeixisError: a file is no json, or none of them has COCO's form.
    """
    gathering, read = Gathering(), 0
    for path, given in files.items():
        if len(files) > 1 and _LEFT_OUT.match(path.name):
            gathering.notes.append(f"{excerpt(path.name)} was not read: it repeats what others hold, or has no boxes.")
            continue
        data = read_json(path) if given is None else given
        if not is_coco(data):
            gathering.notes.append(
                f"{excerpt(path.name)} was not read: it has no images and annotations as COCO's has."
            )
            continue
        lookup = Lookup(path, root if root.is_dir() else None)
        read += _File(path, data, lookup, gathering).gather(optional=len(files) > 1)
    if not read:
        raise DeixisError(
            f"None of the {len(files)} json files of {full_path(root)} could be used. "
            f"{' '.join(gathering.notes)}".strip(),
            "COCO's json holds the lists images and annotations, and its images are beside it or in folders there.",
        )
    return gathering.source(root, root.stem if root.is_file() else root.resolve().name, "COCO json")


class _File:
    """One json file, and what it adds."""

    def __init__(self, path: Path, data: Mapping[str, Any], lookup: Lookup, gathering: Gathering) -> None:
        self.path, self.data, self.lookup, self.to = path, data, lookup, gathering
        self.split = split_in(path)

    def gather(self, optional: bool) -> bool:
        """Adds the images and what is said of them; none, and False, where `optional` and no image is there."""
        entries = [entry for entry in self.data["images"] if self._is_entry(entry)]
        found = [self.lookup.find(entry["file_name"]) for entry in entries]
        missing = [where for where in found if isinstance(where, Skipped)]
        if optional and len(missing) == len(found):
            self.to.notes.append(f"{excerpt(self.path.name)} was left out: none of its {len(found)} images is there.")
            return False
        self.to.skipped += missing
        annotations, categories = self._by_image(), _categories(self.data)
        self._count_unlisted(annotations, categories)
        for entry, where in zip(entries, found, strict=True):
            mine = annotations.pop(key_of(entry.get("id")), [])
            if not isinstance(where, Skipped):
                self._add(entry, where, mine, categories)
        lost = sum(map(len, annotations.values()))
        if lost:
            self.to.notes.append(
                f"{lost} annotations of {excerpt(self.path.name)} name an image that it does not list."
            )
        self.to.notes += self.lookup.notes()
        return True

    def _count_unlisted(self, annotations: Mapping[Any, Sequence[Any]], categories: Mapping[Any, str]) -> None:
        """Notes how many things have a category by a number that has no name: they have none then."""
        numbers = [
            each["category_id"]
            for mine in annotations.values()
            for each in mine
            if each.get("category_id") is not None and not (cell(each, "category") or cell(each, "label"))
        ]
        unlisted = [number for number in numbers if key_of(number) not in categories]
        if unlisted:
            self.to.notes.append(
                f"{len(unlisted)} annotations of {excerpt(self.path.name)} are of a category that it does not list, "
                f"such as {excerpt(repr(unlisted[0]), 30)}: they have no name."
            )

    def _is_entry(self, entry: Any) -> bool:
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            return True
        self.to.skipped.append(Skipped(excerpt(repr(entry)), "image without a file_name", excerpt(self.path.name)))
        return False

    def _by_image(self) -> dict[Any, list[Any]]:
        grouped: dict[Any, list[Any]] = collections.defaultdict(list)
        for each in self.data["annotations"]:
            if isinstance(each, dict):
                grouped[key_of(each.get("image_id"))].append(each)
            else:
                self.to.skipped.append(Skipped(excerpt(repr(each)), "region is not an object", excerpt(self.path.name)))
        return grouped

    def _add(
        self, entry: Mapping[str, Any], where: tuple[str, Picture], mine: Sequence[Any], categories: Mapping[Any, str]
    ) -> None:
        extra = {"image_id": entry.get("id"), **{key: value for key, value in entry.items() if key not in _OWN}}
        split = split_of(cell(entry, "split") or "") or self.split
        draft = self.to.draft(*where, extra, split, own="caption" in entry)
        words = [each for each in mine if "caption" in each and "bbox" not in each]
        for each in [entry, *words]:
            if "caption" in each:
                self.to.caption(draft, each["caption"])
        self.to.regions(draft, [each for each in mine if "bbox" in each or "caption" not in each], categories)


def _categories(data: Mapping[str, Any]) -> dict[Any, str]:
    named = ((each, cell(each, "name")) for each in list_of(data.get("categories")) if isinstance(each, dict))
    return {key_of(each.get("id")): name for each, name in named if name}
