"""Networks about regions of images: proposals in the frame of another part, masks of queries."""

from __future__ import annotations

__all__: list[str] = []
