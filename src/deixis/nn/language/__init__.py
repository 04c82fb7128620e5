"""Networks that take tokens: text towers of encoders, and a causal language model."""

from __future__ import annotations

__all__: list[str] = []
