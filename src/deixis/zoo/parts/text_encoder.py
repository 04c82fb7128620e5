"""A network that reads text: one vector per text and one state per token, with its tokenizer."""

from __future__ import annotations

from typing import Any

from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import TextHalf
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
    if not isinstance(name, str | DualEncoder):
        encoder: TextEncoder = name
        return encoder
    if name == "minilm":
        return TextHalf(starter.load_minilm())
    return TextHalf(dual_encoder.load(name, source=source, seed=seed, **options))
