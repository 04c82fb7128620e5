"""Which numbers of a tokenizer are no words: the signs around a text, and the one for a hidden word."""

from __future__ import annotations

from typing import Any

import torch

from deixis.types.protocols import TextEncoder

__all__ = ["mask_token", "word_numbers"]


def mask_token(encoder: TextEncoder) -> int | None:
    """The number of the tokenizer's own sign for what is hidden; None where it has none."""
    rules: Any = getattr(encoder.tokenizer, "backend", None)
    return None if rules is None else rules.token_to_id("[MASK]")


def word_numbers(encoder: TextEncoder) -> tuple[tuple[int, ...], int, int]:
    """The signs around a text; the first number of an ordinary word, and the one behind the last."""
    with torch.device("cpu"):
        ids, mask = encoder.tokenizer([""], encoder.context_length)
        marks = tuple(ids[mask].tolist())
    signs = [*marks, *([] if (hidden := mask_token(encoder)) is None else [hidden])]
    vocabulary = encoder.tokenizer.vocabulary
    first = max(signs, default=-1) + 1
    return (marks, first, vocabulary) if first < vocabulary // 2 else (marks, 0, min(signs))
