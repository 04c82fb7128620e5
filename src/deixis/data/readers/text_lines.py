"""Texts without images, one a line: what stages that see none draw from."""

from __future__ import annotations

from pathlib import Path

from deixis.errors import DeixisError
from deixis.types.samples import Sample, Source

__all__ = ["read_text_lines"]


def read_text_lines(path: Path) -> Source:
    """The lines of a file as samples that have a caption and no image; empty lines are left out.

    Raises:
        DeixisError: there is no such file, it is no text in UTF-8, or it is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeixisError(
            f"{path} can't be read as texts: {error}.", "Give a file in UTF-8, one text a line."
        ) from error
    samples = tuple(
        Sample(f"{path.name}:{number}", None, (line.strip(),)) for number, line in enumerate(lines, 1) if line.strip()
    )
    if not samples:
        raise DeixisError(f"{path} holds no text.", "Give one text a line.")
    return Source(path.stem, path.absolute().parent, "text", "one text a line", samples)
