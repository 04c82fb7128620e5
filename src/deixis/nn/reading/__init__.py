"""Reading words in pictures: orders of characters, the decoder of two streams, alphabets, and towers for lines."""

from __future__ import annotations

__all__: list[str] = []
