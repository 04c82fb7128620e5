"""Texts in cells of a csv that people open with programs for tables, which take some texts for formulas."""

from __future__ import annotations

from deixis.indexing.filters import number

__all__ = ["harmless", "plain_text"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """A cell that no program for tables takes for a formula; numbers stay as they are."""
    return f"'{text}" if text.startswith(_FORMULA) and number(text) is None else text


def plain_text(cell: str) -> str:
    """The text that `harmless` made a cell of."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
