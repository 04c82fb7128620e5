"""One method in words, from what its file declares, read without torch."""

from __future__ import annotations

import textwrap

from deixis.methods import Literals, all_settings, read

__all__ = ["description"]


def description(name: str) -> str:
    """One method: its card, settings and docstring."""
    literals: Literals = read(name)
    card = literals.card
    lines = [f"{name}: {card.title} ({card.year})", f"{card.role}, {card.kind}", ""]
    lines += [literals.doc, "", "Settings (desk preset):"]
    lines += [f"  {key} = {value!r}" for key, value in all_settings(literals.config.desk()).items()] or ["  none"]
    lines += ["", f"Parts: {', '.join(f'{p.name} ({p.kind})' for p in card.parts) or 'none'}"]
    lines += textwrap.wrap(f"Needs: {', '.join(f'{n.name} [{n.axes}]' for n in card.needs) or 'nothing'}", 100)
    lines += [f"Offers: {', '.join(card.capabilities) or 'measures'}"]
    lines += textwrap.wrap(f"Settings with names: {', '.join(card.variants)}", 100) if card.variants else []
    links = [f"arXiv {card.arxiv}"] if card.arxiv else []
    lines += [f"Source: {', '.join([*links, *([card.code] if card.code else [])])}"] if links or card.code else []
    return "\n".join(lines)
