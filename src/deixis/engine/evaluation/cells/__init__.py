"""What frozen maps tell of places: classes of cells, boxes, clusters."""

from __future__ import annotations

__all__: list[str] = []
