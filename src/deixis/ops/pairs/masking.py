"""Which tokens or regions are hidden from a model that is to say what stood there (Devlin et al. 2019).

All draws are numbers from 0 to 1 that the caller gives, such as `Progress.uniform` makes of sample ids: so what is
hidden depends on neither batch, order, padding nor rank.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["choose_masked", "replace_words"]

_HIDDEN, _EXCHANGED = 0.8, 0.9


def choose_masked(draws: Float[Tensor, "B N"], candidates: Bool[Tensor, "B N"], share: float) -> Bool[Tensor, "B N"]:
    """Each candidate with the chance `share`; where that leaves none of a row, the one with the least draw.

    Args:
        draws: from 0 to 1.
        candidates: which may be chosen; a row without any has none chosen.
        share: of them.
    """
    chosen = candidates & (draws < share)
    if not draws.shape[1]:
        return chosen
    first = draws.masked_fill(~candidates, torch.inf).argmin(1)
    least = torch.zeros_like(chosen).scatter_(1, first[:, None], value=True) & candidates
    return torch.where(chosen.any(1, keepdim=True), chosen, least)


def replace_words(
    tokens: Int64[Tensor, "B L"],
    chosen: Bool[Tensor, "B L"],
    draws: Float[Tensor, "B L 2"],
    vocabulary: tuple[int, int],
) -> tuple[Int64[Tensor, "B L"], Bool[Tensor, "B L"]]:
    """What stands in place of chosen words: of ten, eight are hidden, one is another word, one stays.

    Args:
        tokens: the words.
        chosen: which of them are to be told.
        draws: two a word: what happens to it, and which word it becomes.
        vocabulary: first number of an ordinary word, and the one behind the last.

    Returns:
        The tokens with the exchanged ones, and which are hidden.
    """
    first, stop = vocabulary
    fate, word = draws.unbind(-1)
    hidden = chosen & (fate < _HIDDEN)
    exchanged = chosen & (fate >= _HIDDEN) & (fate < _EXCHANGED)
    others = (first + (word * (stop - first)).long()).clamp(max=stop - 1)
    return torch.where(exchanged, others, tokens), hidden
