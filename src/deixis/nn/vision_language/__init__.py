"""Networks that take images and words together: a language model that reads images, a tower that is told what to look
for."""

from __future__ import annotations

__all__: list[str] = []
