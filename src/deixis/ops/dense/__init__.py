"""Dense prediction without weights: affinity of pixels, overlapping windows, prototypes of features."""

from __future__ import annotations

__all__: list[str] = []
