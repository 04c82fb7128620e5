"""Of texts alone: what a token, or a target, counts, and how alike captions are."""

from __future__ import annotations

__all__: list[str] = []
