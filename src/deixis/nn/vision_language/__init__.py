"""Networks that take images and tokens together: a language model that reads images."""

from __future__ import annotations

__all__: list[str] = []
