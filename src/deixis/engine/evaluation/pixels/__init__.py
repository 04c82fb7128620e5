"""The class of each pixel, measured: overlap of classes, outlines, and methods that are run on pictures for it."""

from __future__ import annotations

__all__: list[str] = []
