"""Small trainable additions to a frozen model: adapters of embeddings, low-rank updates of weights, learned prompts."""

from __future__ import annotations

__all__: list[str] = []
