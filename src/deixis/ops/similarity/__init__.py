"""How near vectors are to each other."""

from __future__ import annotations

__all__: list[str] = []
