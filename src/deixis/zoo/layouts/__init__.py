"""Checkpoints of other programs: one module a layout, and what they share to read configs, names and tensors."""

from __future__ import annotations

__all__: list[str] = []
