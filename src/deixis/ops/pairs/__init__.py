"""Of a text and the regions of its picture: what is hidden of them, and transport between both."""

from __future__ import annotations

__all__: list[str] = []
