"""Networks, one idea a module: `layers`, the `vision` and `language` networks made of them, what `adaptation` adds to a
trained one, `relevance` (how its scores are explained), and beside these what holds for any of them."""

from __future__ import annotations

__all__: list[str] = []
