"""Stretches of a text: from characters to tokens, and from tokens to masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

__all__ = ["span_mask", "token_span"]


def token_span(char_to_token: Sequence[int | None], start: int, stop: int) -> tuple[int, int] | None:
    """The tokens of a stretch of characters: the first, and the one behind the last.

    Args:
        char_to_token: the token of each character of the text, None where it has none (a space).
        start: first character.
        stop: the one behind the last.

    Returns:
        None where no character of the stretch has a token.

    >>> token_span([0, 0, None, 1, 2, 2], 2, 5)
    (1, 3)
    """
    inside = [token for token in char_to_token[max(0, start) : max(0, stop)] if token is not None]
    return (min(inside), max(inside) + 1) if inside else None


def span_mask(spans: Int64[Tensor, "*B S 2"], length: int) -> Bool[Tensor, "*B L"]:
    """Which of `length` positions lie in any of the S spans of a row.

    Args:
        spans: first position, and the one behind the last; an empty span holds none.
        length: of the text (L); what lies behind it is left out.
    """
    places = torch.arange(length, device=spans.device)
    return ((places >= spans[..., :1]) & (places < spans[..., 1:])).any(-2)
