"""SmolLM2-135M-Instruct (Hugging Face, 2025), in four bits a weight: a language model that any package index brings."""

from __future__ import annotations

from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.nn.language.causal_lm import CausalLm
from deixis.zoo.lm import gguf

__all__ = ["FILE", "load"]

FILE = "smollm2-135m-instruct.gguf"
"""What `deixis data get smollm2` puts into the folder `smollm2` of the cache."""


def load() -> CausalLm:
    """The model, in eval mode.

    Raises:
        DeixisError: it is not in the cache, it is damaged, or the package gguf is not installed.
    """
    path = cache_dir("smollm2") / FILE
    if not path.is_file():
        raise DeixisError(f"SmolLM2 is not in {path.parent}.", "Run: deixis data get smollm2")
    return gguf.load(path, "smollm2")
