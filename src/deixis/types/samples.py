"""What a reader of data yields: samples, and the collection they form. Plain Python; no tensors yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Sample", "Skipped", "Source"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image and what is said about it.

    Attributes:
        id: unique name within its source, stable from run to run (the path relative to the root, with `/`).
        path: the image file.
        captions: what it shows, in words; may be empty.
        label: its class, if labelled.
        groups: keys of the concepts it belongs to; samples that share any key stay on one side of a split.
        extra: further columns, as read.
    """

    id: str
    path: Path
    captions: tuple[str, ...] = ()
    label: str | None = None
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why (`reason` is a short fixed phrase that can be counted)."""

    path: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """A readable collection.

    Attributes:
        name: for titles, such as the folder's name.
        root: the folder or file it was read from.
        kind: `captions` (image and text), `labels` (image and class) or `images` (neither).
        layout: how it was recognised, in words: `folder with .txt beside the images`, `csv`...
        samples: in a fixed order.
        skipped: rows or files that gave no sample.
        notes: remarks for the user, such as a guessed group column.
    """

    name: str
    root: Path
    kind: str
    layout: str
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
