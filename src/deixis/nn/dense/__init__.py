"""Dense prediction: towers that give a vector a place, pyramids of maps, heads that name pixels, texts of classes."""

from __future__ import annotations

__all__: list[str] = []
