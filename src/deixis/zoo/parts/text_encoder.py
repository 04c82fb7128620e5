"""A network that reads text: one vector per text and one state per token, with its tokenizer."""

from __future__ import annotations

from typing import Any

import torch

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import TextHalf
from deixis.nn.language.ngrams import NgramText
from deixis.types import PartKind, PartSource, Source
from deixis.types.protocols import TextEncoder
from deixis.zoo import starter
from deixis.zoo.parts import dual_encoder

__all__ = ["PART", "load"]

PART = PartKind(
    gives="one vector per text and one state per token, with the tokenizer that belongs to it",
    protocol="TextEncoder",
    sources=(
        PartSource(
            "minilm",
            "minilm",
            "MiniLM-L6 for sentences, a BERT of 22 million weights",
            "101 MB once, by `deixis data get starter`",
        ),
        PartSource("ngrams:WIDTH", "ngrams:384", "a new one that averages vectors of words and parts of words"),
        PartSource("scratch:OPTIONS", "scratch:bag:small", "a small new one: transformer or bag; tiny, small or base"),
        PartSource(
            "DUAL_ENCODER",
            "my-run",
            "the text half of any dual encoder: every name that the kind dual_encoder loads",
            "as that kind",
        ),
    ),
)


def load(name: Any, *, source: Source | None = None, seed: int = 0, **options: Any) -> TextEncoder:
    """The text encoder called `name`, or the text half of an encoder; one that exists already is given back.

    Args:
        name: see `PART`.
        source: whose words a new one knows.
        seed: of a new one's weights.
        **options: what `zoo.load` takes.

    Raises:
        DeixisError: no such name, or its weights can't be had.
    """
    if not isinstance(name, str):
        encoder: TextEncoder = TextHalf(name) if isinstance(name, DualEncoder) else name
        return encoder
    if name == "minilm":
        return TextHalf(starter.load_minilm())
    if name.split(":")[0] == "ngrams":
        return _ngrams(name, seed)
    return TextHalf(dual_encoder.load(name, source=source, seed=seed, **options))


def _ngrams(name: str, seed: int) -> TextEncoder:
    _, _, width = name.partition(":")
    if width and not (width.isdigit() and int(width)):
        raise DeixisError(f"There is no text encoder {name!r}.", "Say ngrams, or with its width: ngrams:384.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NgramText(int(width)) if width else NgramText()
