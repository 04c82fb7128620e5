"""A causal language model, with its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.types import PartKind, PartSource, Source
from deixis.types.protocols import LanguageModel
from deixis.zoo import scratch, tiny
from deixis.zoo.lm import gguf, smollm2, transformers_lm
from deixis.zoo.parts import no_such_part, texts_of

__all__ = ["PART", "described", "is_new", "load"]

PART = PartKind(
    gives="scores of the next token of a text, which may follow a prefix of vectors",
    protocol="LanguageModel",
    sources=(
        PartSource("tiny", "tiny", "random weights that read bytes, for tests"),
        PartSource(
            "scratch:SIZE", "scratch:small", "a new one: tiny, small or base, with a vocabulary from the training texts"
        ),
        PartSource(
            "smollm2",
            "smollm2",
            "SmolLM2-135M-Instruct, which follows simple instructions in English",
            "93 MB once, by `deixis data get smollm2`; needs deixis[lm]",
        ),
        PartSource(
            "FILE.gguf", "./model.gguf", "a LLaMA, SmolLM or Qwen2 as llama.cpp has it; needs deixis[lm]", "nothing"
        ),
        PartSource(
            "FOLDER", "./my-gpt2", "a GPT-2, LLaMA, SmolLM or Qwen2 as transformers saves it, with tokenizer.json"
        ),
    ),
)

_LENGTH = 256
_SIZES = {"tiny": (32, 1, 1), "small": (128, 3, 2), "base": (256, 6, 4)}
"""Name -> width, blocks, heads."""


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> LanguageModel:
    """The language model called `name`, in eval mode; one that exists already is given back.

    Args:
        name: see `PART`; or what `described` gave, for one of that shape, whose weights are still to be put in.
        source: whose words a new one knows.
        seed: of random weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: no such name, a new one without words, or its weights can't be had.
    """
    if isinstance(name, Mapping):
        return _rebuilt(name)
    if not isinstance(name, str):
        model: LanguageModel = name
        return model
    size = name.removeprefix(f"{scratch.NAME}:") if name != scratch.NAME else "small"
    if name == "tiny":
        return _new(tiny.byte_tokenizer(decoder=True), "tiny", name, seed)
    if name.startswith(scratch.NAME) and size in _SIZES:
        return _new(scratch.words_of(_texts(source) if source else ()), size, name, seed)
    if name == "smollm2":
        return smollm2.load()
    if name.endswith(".gguf"):
        return gguf.load(Path(name), name)
    if (Path(name) / "config.json").is_file():
        return transformers_lm.load(Path(name), name)
    raise no_such_part("lm", name)


def _texts(source: Source) -> list[str]:
    """What a new language model will read or say: captions, or labels, and in columns questions, answers, and the
    wordings of instructions."""
    asked = (sample.extra.get(column) for sample in source.samples for column in ("question", "answer"))
    told = {text for sample in source.samples for text in sample.extra.get("instruction") or ()}
    return [*texts_of(source), *(text for text in asked if isinstance(text, str)), *sorted(told)]


def _new(tokenizer: Tokenizer, size: str, name: str, seed: int) -> CausalLm:
    width, depth, heads = _SIZES[size]
    start, end = tokenizer.marks
    hidden = 8 * width // 3 // 8 * 8  # a gated perceptron of these has as many weights as another of 4 * width
    # rotary positions: behind a prefix words stand at places that they were not learned at
    config = CausalLmConfig("llama", tokenizer.vocabulary, _LENGTH, width, depth, heads, hidden, end, start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CausalLm(config, tokenizer, name).eval()


def is_new(model: CausalLm) -> bool:
    """Whether it was made here, with the words of some texts, so that no name leads to it."""
    return model.name.split(":")[0] == scratch.NAME


def described(model: CausalLm) -> dict[str, Any]:
    """All of a language model but its weights, as plain values: what `load` makes one of that shape of.

    A new one has its words from captions, so that no name leads to it.

    Args:
        model: with a tokenizer.
    """
    plain = {"name": model.name, "config": model.config, "tokenizer": model.tokenizer.to_dict()}
    return dict(json.loads(json.dumps(plain)))


def _rebuilt(settings: Mapping[str, Any]) -> CausalLm:
    try:
        config = {key: value for key, value in settings["config"].items() if key != "kind"}
        tokenizer = Tokenizer.from_dict(settings["tokenizer"])
        return CausalLm(CausalLmConfig(**config), tokenizer, settings["name"]).eval()
    except (KeyError, TypeError, AttributeError) as error:
        raise DeixisError(f"These are no settings of a language model: {error}.", "Train it again.") from error
