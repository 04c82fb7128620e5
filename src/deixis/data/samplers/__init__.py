"""Pictures of what a text says, out of data that are there: what the kind of part `sampler` loads by name."""

from __future__ import annotations

__all__: list[str] = []
