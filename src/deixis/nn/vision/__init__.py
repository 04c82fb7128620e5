"""Networks that take images: towers of encoders, their feature maps, classifiers as towers, proposals, samplers."""

from __future__ import annotations

__all__: list[str] = []
