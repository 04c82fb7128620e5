"""Conversations about images, as LLaVA writes them: turns of a human and a model, in json or jsonl."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deixis.data.readers.captions import excerpt
from deixis.data.readers.columns import ColumnTable
from deixis.data.readers.lookup import Lookup
from deixis.data.readers.names import split_of
from deixis.data.readers.regions import Gathering, list_of
from deixis.data.readers.rows import cell
from deixis.types.samples import Skipped, Source

__all__ = ["from_conversations", "holds_conversations"]

_TURNS = ("conversations", "messages")
_ASKING, _ANSWERING = frozenset({"human", "user"}), frozenset({"gpt", "assistant", "model"})
_IMAGE = re.compile(r"\s*<image>\s*")


def holds_conversations(table: ColumnTable) -> bool:
    """Whether the records of a json hold turns."""
    return any(isinstance(row.get(key), list) for _, row in table.rows for key in _TURNS)


def from_conversations(table: ColumnTable) -> Source:
    """Samples of records such as `{"image": ..., "conversations": [{"from": "human", "value": ...}, ...]}`.

    Each turn of the human with the answer that follows is a question; the mark `<image>` is taken out. Records without
    an image are words alone. A second conversation about an image is a sample of its own, in one group with the first.
    """
    gathering, lookup = Gathering(), Lookup(table.path)
    gathering.skipped += table.skipped
    gathering.notes += table.notes
    for line, row in table.rows:
        where = f"{table.unit} {line}"
        turns: Sequence[Any] = next((row[key] for key in _TURNS if isinstance(row.get(key), list)), [])
        pairs = _pairs(turns)
        if pairs is None:
            gathering.skipped.append(Skipped(where, "turns that can't be read", excerpt(repr(turns), 120)))
            continue
        found = _image(row, where, lookup)
        if isinstance(found, Skipped):
            gathering.skipped.append(found)
            continue
        extra = {key: value for key, value in row.items() if key not in {*_TURNS, "image", "images"}}
        draft = gathering.draft(*found, extra, split_of(cell(row, "split") or ""), own=True)
        gathering.questions(draft, [{"question": ask, "answer": answer} for ask, answer in pairs])
    gathering.notes += lookup.notes()
    return gathering.source(table.root or table.path, table.name, f"{table.layout} with conversations")


def _image(row: Mapping[str, Any], where: str, lookup: Lookup) -> tuple[str, Any] | Skipped:
    """The id and the image of a record, or of one that is words alone None."""
    image = row.get("image", row.get("images"))
    if isinstance(image, list):
        if len(image) > 1:
            return Skipped(where, "several images in one conversation", f"{len(image)}")
        image = image[0] if image else None
    if image is None or image == "":
        return f"text/{cell(row, 'id') or where.rsplit(' ', 1)[-1]}", None
    if isinstance(image, tuple):
        return image[0], image[1]
    found = lookup.find(image)
    return Skipped(found.path or where, found.reason, where) if isinstance(found, Skipped) else found


def _pairs(turns: Sequence[Any]) -> list[tuple[str, str]] | None:
    """Questions with the answers that follow them; None where there are none, or a turn is of another form."""
    pairs, pending = [], ""
    for role, text in _said(turns):
        if role is None:
            return None
        if role in _ASKING:
            pending = f"{pending}\n{text}".strip()
        elif role in _ANSWERING and pending:
            pairs.append((pending, text))
            pending = ""
    return pairs or None


def _said(turns: Sequence[Any]) -> Iterator[tuple[str | None, str]]:
    for turn in turns:
        fields = turn if isinstance(turn, dict) else {}
        role, text = fields.get("from", fields.get("role")), fields.get("value", fields.get("content"))
        if isinstance(text, list):  # the parts of a message
            parts = (part.get("text") for part in list_of(text) if isinstance(part, dict))
            text = "\n".join(part for part in parts if isinstance(part, str))
        if isinstance(role, str) and isinstance(text, str):
            yield role.casefold(), _IMAGE.sub("\n", text).strip()
        else:
            yield None, ""
