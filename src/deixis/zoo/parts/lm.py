"""A causal language model, with its tokenizer."""

from __future__ import annotations

from typing import Any

import torch

from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.types import PartKind, PartSource, Source
from deixis.types.protocols import LanguageModel
from deixis.zoo import scratch, tiny
from deixis.zoo.parts import no_such_part, texts_of

__all__ = ["PART", "load"]

PART = PartKind(
    gives="scores of the next token of a text, which may follow a prefix of vectors",
    protocol="LanguageModel",
    sources=(
        PartSource("tiny", "tiny", "random weights that read bytes, for tests"),
        PartSource(
            "scratch:SIZE", "scratch:small", "a new one: tiny, small or base, with a vocabulary from the training texts"
        ),
    ),
    later="Pretrained language models come with PRIOR, CLOSE and CG-VLM, and need deixis[hf].",
)


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> LanguageModel:
    """The language model called `name`, in eval mode; one that exists already is given back.

    Args:
        name: see `PART`.
        source: whose words a new one knows.
        seed: of random weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: no such name, or a new one without words.
    """
    if not isinstance(name, str):
        model: LanguageModel = name
        return model
    size = name.removeprefix(f"{scratch.NAME}:") if name != scratch.NAME else "small"
    if name == "tiny":
        tokenizer, sizes = tiny.byte_tokenizer(decoder=True), scratch.SIZES["tiny"]
    elif name.startswith(scratch.NAME) and size in scratch.SIZES:
        tokenizer, sizes = scratch.words_of(texts_of(source) if source else ()), scratch.SIZES[size]
    else:
        raise no_such_part("lm", name)
    heads = max(1, sizes.width // 64)
    config = CausalLmConfig(2 * sizes.length, sizes.width, sizes.depth, heads, 4 * sizes.width, tokenizer.marks[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CausalLm(config, tokenizer, name).eval()
