"""Cells of a csv that people open with programs for tables, which take some texts for formulas."""

from __future__ import annotations

__all__ = ["FORMULA", "plain_text"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How texts begin that programs for tables take for formulas; a `'` before them prevents it."""


def plain_text(cell: str) -> str:
    """The text that a cell was before a `'` was put before it, as `deixis` does and programs for tables do."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell
