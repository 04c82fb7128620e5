"""Pretrained causal language models: folders of transformers, and files of llama.cpp."""

from __future__ import annotations

__all__: list[str] = []
