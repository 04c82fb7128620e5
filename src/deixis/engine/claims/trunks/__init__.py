"""What the arms of a claim start from: image towers that are trained once, and kept in the cache."""

from __future__ import annotations

__all__: list[str] = []
