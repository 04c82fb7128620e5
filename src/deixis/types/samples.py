"""What a reader of data yields: samples, and the collection they form. Plain Python; no tensors yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deixis.errors import DeixisError
from deixis.types.html import html_lines, html_table

__all__ = [
    "Drawing",
    "Mask",
    "Member",
    "Phrase",
    "Picture",
    "Question",
    "Region",
    "Sample",
    "Skipped",
    "Source",
    "Stored",
    "place",
]

_SHOWN = 10  # samples in a notebook


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A file inside an uncompressed archive (a tar shard): its bytes are a stretch of the archive's.

    Attributes:
        archive: the file that holds it.
        name: what it is called inside.
        offset: where its bytes start.
        size: how many they are.
    """

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read(self) -> bytes:
        """Its bytes; fewer than `size` where the archive is cut short."""
        with open(self.archive, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@runtime_checkable
class Drawing(Protocol):
    """An image that is made when it is asked for, the same one each time."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def draw(self) -> Any:
        """The image as a NumPy array uint8 [H, W, 3]."""


@runtime_checkable
class Stored(Protocol):
    """An image file that lies inside something else, such as a cell of a table; its bytes are read when they are asked
    for."""

    @property
    def name(self) -> str:
        """What it is called in messages: what it lies in, and where inside."""

    def read(self) -> bytes:
        """Its bytes."""


Picture = Path | Member | Drawing | Stored
"""Where an image comes from; all of them can be given to `inputs.images.load_image`."""


def place(picture: Picture) -> str:
    """Where an image comes from, for messages and tables: the absolute path of a file, that of an archive with the name
    inside, the name of what is drawn or stored elsewhere."""
    if isinstance(picture, Path):
        return str(picture.absolute())
    return f"{picture.archive.absolute()}/{picture.name}" if isinstance(picture, Member) else picture.name


@dataclasses.dataclass(frozen=True)
class Mask:
    """Which pixels belong to something, in a form that is small; `inputs.masks.decode_mask` makes an array of it.

    Attributes:
        width: of the image, in pixels.
        height: of the image, in pixels.
        polygons: x y x y ... of each outline, in pixels; what lies in any of them belongs to it.
        counts: run lengths, columns first, starting with what does not belong (COCO's uncompressed form); used where
            there are no polygons.
    """

    width: int
    height: int
    polygons: tuple[tuple[float, ...], ...] = ()
    counts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Phrase:
    """Words that refer to a region, and to no other that does not have them, too: "two dogs" is of both.

    Attributes:
        text: the expression.
        relates: the other regions it speaks of ("the dog left of the chair"), as indices; empty: unary.
    """

    text: str
    relates: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Region:
    """One thing in an image.

    Attributes:
        box: x0 y0 x1 y1 from 0 to 1, with respect to the image as `load_image` gives it.
        category: its class.
        phrases: expressions that refer to it alone.
        spans: where the first caption speaks of it: (start, end) in characters, end exclusive.
        mask: its pixels.
        attributes: what else is known of it, such as colour or size.
    """

    box: tuple[float, float, float, float]
    category: str = ""
    phrases: tuple[Phrase, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    mask: Mask | None = None
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about an image and its answer; those of a conversation stand in its order.

    Attributes:
        question: in words.
        answer: in words.
        kind: `yes/no`, `count`, `attribute`...; empty where it isn't known.
        regions: those that the answer rests on, as indices.
    """

    question: str
    answer: str
    kind: str = ""
    regions: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is said about it.

    Attributes:
        id: unique name within its source, stable from run to run (of a file: the path relative to the root, with `/`).
        image: where the image comes from; None where there are words alone.
        captions: what it shows, in words; may be empty.
        label: its class, if labelled.
        groups: keys of the concepts it belongs to; samples that share any key stay on one side of a split.
        extra: further columns, as read.
        split: `train`, `val` or `test` where the source says so; else empty.
        regions: things in the image, with boxes.
        questions: about the image, with answers.
    """

    id: str
    image: Picture | None
    captions: tuple[str, ...] = ()
    label: str | None = None
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    split: str = ""
    regions: tuple[Region, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Its captions, or its label where it has none."""
        return self.captions or ((self.label,) if self.label else ())

    @property
    def picture(self) -> Picture:
        """The image, for what can't do without.

        Raises:
            DeixisError: the sample is words alone.
        """
        if self.image is None:
            raise DeixisError(f"The sample {self.id!r} has no image.", "Give data with images.")
        return self.image


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
        kind: `captions` (image and text), `labels` (image and class), `images` (neither) or `text` (no image).
        layout: how it was recognised, in words: `folder with .txt beside the images`, `csv`...
        samples: in a fixed order.
        skipped: rows or files that gave no sample.
        notes: remarks for the user, such as a guessed group column.
        shows_text: whether the images show text, which must not be mirrored.
    """

    name: str
    root: Path
    kind: str
    layout: str
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    shows_text: bool = False

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Source {self.name!r}: {len(self.samples)} samples, {self.kind}, {self.layout}{left_out}"

    def _repr_html_(self) -> str:
        rows = [
            (
                sample.id,
                "" if sample.image is None else place(sample.image),
                sample.label or " | ".join(sample.captions),
            )
            for sample in self.samples[:_SHOWN]
        ]
        more = f"The first {_SHOWN} of them:" if len(self.samples) > _SHOWN else ""
        return html_lines(repr(self), str(self.root), more) + html_table(("id", "image", self.kind), rows)
