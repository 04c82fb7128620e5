"""Regions of images: boxes, masks, and which prediction stands for which region."""

from __future__ import annotations

__all__: list[str] = []
