"""Captions of pictures: those of a model, those that need no model of words, and how good they are."""

from __future__ import annotations

__all__: list[str] = []
