"""Modules with parameters, one idea a file: attention, bert, conse, adapters, dual, frozen."""

from __future__ import annotations

__all__: list[str] = []
