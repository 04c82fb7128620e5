"""Of texts alone: what a token, or a target, counts."""

from __future__ import annotations

__all__: list[str] = []
