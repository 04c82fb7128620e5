"""`deixis list` and `deixis show`: what the method files declare, read without torch."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Sequence

from deixis.errors import DeixisError
from deixis.methods import Literals, list_methods, read

__all__ = ["listing", "run", "showing"]


def listing() -> str:
    """All methods, a line each, papers first."""
    cards = {name: read(name).card for name in list_methods()}
    order = sorted(cards, key=lambda name: (("paper", "ancestor", "baseline").index(cards[name].role), name))
    width = max(map(len, order))
    return "\n".join(
        f"{name:<{width}}  {cards[name].kind:<13}  {cards[name].role:<8}  {cards[name].title}" for name in order
    )


def showing(name: str) -> str:
    """One method: its card, settings and docstring."""
    literals: Literals = read(name)
    card = literals.card
    lines = [f"{name}: {card.title} ({card.year})", f"{card.role}, {card.kind}", ""]
    lines += [literals.doc, "", "Settings (desk preset):"]
    lines += [f"  {key} = {value!r}" for key, value in dataclasses.asdict(literals.config.desk()).items()] or ["  none"]
    lines += ["", f"Parts: {', '.join(f'{p.name} ({p.kind})' for p in card.parts) or 'none'}"]
    lines += textwrap.wrap(f"Needs: {', '.join(f'{n.name} [{n.axes}]' for n in card.needs) or 'nothing'}", 100)
    lines += [f"Offers: {', '.join(card.capabilities) or 'measures'}"]
    links = [f"arXiv {card.arxiv}"] if card.arxiv else []
    lines += [f"Source: {', '.join([*links, *([card.code] if card.code else [])])}"] if links or card.code else []
    return "\n".join(lines)


def run(verb: str, arguments: Sequence[str]) -> int:
    """`list` or `show NAME`."""
    if "-h" in arguments or "--help" in arguments:
        print("usage: deixis list" if verb == "list" else "usage: deixis show NAME")
    elif verb == "list" and not arguments:
        sys.stdout.write(listing() + "\n")
    elif verb == "show" and len(arguments) == 1:
        sys.stdout.write(showing(arguments[0]) + "\n")
    else:
        raise DeixisError(
            f"`deixis {verb}` got {list(arguments)}.", "`deixis list` takes nothing, `deixis show` one name."
        )
    return 0
