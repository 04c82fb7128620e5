"""Text as it comes out of files: decoded, cleaned, bounded; what had to be done to it is counted."""

from __future__ import annotations

import ast
import codecs
import contextlib
import dataclasses
import json
import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

__all__ = ["BROKEN_XMP", "MAX_CAPTION", "NOT_UTF8", "Tally", "decode", "excerpt", "full_path", "is_text", "texts_in"]

MAX_CAPTION = 10_000
"""Characters of a caption that are retained; far more than any text tower reads."""

NOT_UTF8 = "caption is not UTF-8"
BROKEN_XMP = "XMP can't be read"


@dataclasses.dataclass
class Tally:
    """Cleans the captions of one source, and counts the repairs.

    Attributes:
        cut: whose captions were longer than `MAX_CAPTION`, one entry a caption.
        controls: whose captions held control characters, such as NUL.
    """

    cut: list[str] = dataclasses.field(default_factory=list)
    controls: list[str] = dataclasses.field(default_factory=list)

    def clean(self, texts: Iterable[str], of: str) -> tuple[str, ...]:
        """The texts without control characters, white space runs and repeats; empty ones are dropped.

        Args:
            texts: as read.
            of: the id of their sample, or the file they stand in.
        """
        return tuple(dict.fromkeys(text for text in (self._one(text, of) for text in texts) if text))

    def traced(self, text: str, of: str) -> tuple[str, list[int]]:
        """The cleaned text, and for each place between characters of the raw one the place that became of it."""
        clean = self._one(text, of)
        places, at = [], 0
        for character in text:
            places.append(at)
            if at < len(clean) and clean[at] == (" " if character.isspace() else character):
                at += 1
        return clean, [*places, at]

    def _one(self, text: str, of: str) -> str:
        clean = text
        if not text.isprintable():
            clean = "".join(c for c in text if unicodedata.category(c) != "Cc" or c.isspace())
            self.controls += [of] * (len(clean) < len(text))
        clean = " ".join(clean.split())
        self.cut += [of] * (len(clean) > MAX_CAPTION)
        return clean[:MAX_CAPTION].rstrip()

    def notes(self) -> list[str]:
        """One remark for each kind of repair that was made, with the first case."""
        notes = []
        if self.controls:
            count, first = len(self.controls), excerpt(self.controls[0], 200)
            notes.append(f"Control characters (such as NUL) were removed from {count} captions, first of {first}.")
        if self.cut:
            count, first = len(self.cut), excerpt(self.cut[0], 200)
            notes.append(
                f"{count} captions were longer than {MAX_CAPTION:,} characters, and were cut there, first of {first}."
            )
        return notes


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one. Bytes that are neither come
    back as lone surrogates, which `is_text` finds."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("utf-16")
    return data.decode("utf-8-sig", errors="surrogateescape")


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8, which one with undecoded bytes in it can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def excerpt(text: str, limit: int = 80) -> str:
    """A name or text as it can stand in one line of a message."""
    text = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")


def full_path(path: str | os.PathLike[str]) -> str:
    """A path as it can stand in a message, never cut, since it is there to be copied."""
    return excerpt(os.fspath(path), sys.maxsize)


def texts_in(value: Any) -> list[str]:
    """The captions in a table's cell: a string, a number, a list of them, or a list written out as JSON or Python; none
    in an object."""
    if value is None or isinstance(value, dict):
        return []
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in texts_in(item)]
    if isinstance(value, str) and value.lstrip()[:1] == "[" and len(value) <= 10 * MAX_CAPTION:
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                items = parse(value)
                if isinstance(items, list) and all(isinstance(item, str) for item in items):
                    return items
    return [str(value)] if str(value).strip() else []
