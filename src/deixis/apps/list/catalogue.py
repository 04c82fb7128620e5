"""The methods in a table, from what their files declare, read without torch."""

from __future__ import annotations

from deixis.methods import summaries

__all__ = ["listing"]


def listing() -> str:
    """All methods, a line each, papers first."""
    found = summaries()
    order = sorted(found, key=lambda name: (("paper", "ancestor", "baseline").index(found[name].role), name))
    width = max(map(len, order))
    return "\n".join(
        f"{name:<{width}}  {found[name].kind:<13}  {found[name].role:<8}  {found[name].title}" for name in order
    )
