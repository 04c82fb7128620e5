"""Layers that several networks are made of: attention, transformer blocks, learned positions."""

from __future__ import annotations

__all__: list[str] = []
