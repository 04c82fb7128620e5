"""The methods in a table, from what their files declare, read without torch."""

from __future__ import annotations

from deixis.methods import list_methods, read

__all__ = ["listing"]


def listing() -> str:
    """All methods, a line each, papers first."""
    cards = {name: read(name).card for name in list_methods()}
    order = sorted(cards, key=lambda name: (("paper", "ancestor", "baseline").index(cards[name].role), name))
    width = max(map(len, order))
    return "\n".join(
        f"{name:<{width}}  {cards[name].kind:<13}  {cards[name].role:<8}  {cards[name].title}" for name in order
    )
