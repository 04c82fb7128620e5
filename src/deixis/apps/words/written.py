"""What `deixis words` wrote: the words near each word, the tags that pictures probably lack, and the csv of all tags in
which each of these is accepted or refused."""

from __future__ import annotations

import collections
import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from deixis.apps.label.filled_table import FilledTable
from deixis.apps.label.label_table import COLUMNS
from deixis.apps.words.tags import cut
from deixis.data.readers.cells import plain_text
from deixis.data.readers.columns import Columns, ColumnTable, choose
from deixis.errors import DeixisError
from deixis.types import Sample

__all__ = [
    "MISSING",
    "REFUSED",
    "TAGS",
    "WORDS",
    "AcceptedTags",
    "Decision",
    "SuggestedTag",
    "TagCells",
    "WrittenWords",
    "require_none_lost",
    "tag_rows",
]

WORDS, MISSING, TAGS = "words.json", "missing.csv", "tags.csv"
"""Files of the folder that `deixis words` writes."""

REFUSED = "refused"
"""The column of tags that a picture is not to have."""

Decision = Literal["accepted", "refused", "untouched"]


class TagCells(NamedTuple):
    """What is written beside a picture: tags, and those that were refused, with semicolons between them."""

    tags: str = ""
    refused: str = ""

    def of(self, tag: str) -> Decision:
        """What became of a tag."""
        return "accepted" if tag in cut(self.tags) else "refused" if tag in cut(self.refused) else "untouched"

    def changed(self, tag: str, decision: Decision) -> TagCells:
        """The same with one tag accepted, refused, or neither."""
        tags, refused = ([each for each in cut(cell) if each != tag] for cell in self)
        if decision == "accepted":
            tags.append(tag)
        elif decision == "refused":
            refused.append(tag)
        return TagCells(_joined(tags), _joined(refused))


class AcceptedTags(FilledTable[TagCells]):
    """The csv of tags, one row a picture; see `FilledTable`."""

    entry, header = TagCells, ("path", "tags", REFUSED)

    def columns(self, header: list[str]) -> tuple[int, ...]:
        """Where path, tags and refused tags stand."""
        names = (choose(ColumnTable(self.path, "csv", header, []), Columns()).path, *self.header[1:])
        header += [name for name in names if name not in header]
        return tuple(map(header.index, names))


class SuggestedTag(NamedTuple):
    """A tag that a picture probably lacks, and how often such suggestions are right."""

    tag: str
    chance: float


class WrittenWords:
    """A folder that `deixis words` wrote.

    Args:
        folder: its path.

    Raises:
        DeixisError: it is none, or a file of it is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        gone = next(
            (name for name in (WORDS, MISSING, TAGS, "result.json") if not (self.folder / name).is_file()), None
        )
        if gone is not None:
            raise DeixisError(
                f"{folder} is no folder of words: it has no {gone}.", f"Write one: deixis words DATA --out {folder}"
            )
        try:
            result = json.loads((self.folder / "result.json").read_text("utf-8"))
            words = json.loads((self.folder / WORDS).read_text("utf-8"))
            self.sentence = str(result.get("sentence", ""))
            self.words: dict[str, dict[str, Mapping[str, float]]] = {
                str(word): {kind: near for kind, near in each.items() if isinstance(near, dict)}
                for word, each in words.items()
            }
            self.pictures = {str(word): int(each["pictures"]) for word, each in words.items()}
            self.suggestions = _suggestions(self.folder / MISSING)
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            raise DeixisError(
                f"A file in {folder} is damaged: {error}.",
                f"Write it anew: deixis words DATA --out {folder} --overwrite",
            ) from error
        self.table = AcceptedTags(self.folder / TAGS)

    def decisions(self) -> collections.Counter[Decision]:
        """How many suggestions were accepted, refused, and neither."""
        cells = self.table.entries()
        return collections.Counter(
            cells.get(place, TagCells()).of(each.tag) for place, several in self.suggestions.items() for each in several
        )


def require_none_lost(out: Path, data: str) -> None:
    """Refuses to write over tags that were accepted or refused on the page, unless these are what is learned from.

    Args:
        out: that is to be written.
        data: that is learned from.

    Raises:
        DeixisError: so it is.
    """
    if not (out / TAGS).is_file() or os.path.realpath(data) == os.path.realpath(out / TAGS):
        return
    decisions = WrittenWords(out).decisions()
    decided = decisions["accepted"] + decisions["refused"]
    if decided:
        raise DeixisError(
            f"{out / TAGS} has {decided} suggested tags that were accepted or refused, which would be lost.",
            f"Learn from it, deixis words {out / TAGS} --out {out} --overwrite, or choose another --out.",
        )


def tag_rows(
    samples: Sequence[Sample], paths: Sequence[str], tags: Sequence[Sequence[str]], refused: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """The csv of all tags, with captions and labels as `deixis adapt` reads them.

    Args:
        samples: one a row.
        paths: of their pictures.
        tags: of each.
        refused: tags that each is not to have.
    """
    path_name, caption_name, label_name = COLUMNS
    captions = max((len(sample.captions) for sample in samples), default=0)
    names = [f"{caption_name}_{number}" if number > 1 else caption_name for number in range(1, captions + 1)]
    rows = [
        (
            path,
            *sample.captions,
            *[""] * (captions - len(sample.captions)),
            sample.label or "",
            _joined(own),
            _joined(no),
        )
        for sample, path, own, no in zip(samples, paths, tags, refused, strict=True)
    ]
    return [(path_name, *names, label_name, *AcceptedTags.header[1:]), *rows]


def _joined(tags: Sequence[str]) -> str:
    return "; ".join(tags)


def _suggestions(path: Path) -> dict[str, list[SuggestedTag]]:
    """The suggestions for each picture, those of the likeliest first."""
    found: dict[str, list[SuggestedTag]] = {}
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file):
            place = os.path.normpath(os.path.join(path.parent.absolute(), plain_text(row["path"])))
            found.setdefault(place, []).append(SuggestedTag(plain_text(row["tag"]), float(row["chance"])))
    return found
