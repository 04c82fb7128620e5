"""Which words and regions of pairs are hidden in a step, by draws that hang on the samples' ids alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from deixis.ops.pairs.masking import choose_masked, replace_words
from deixis.ops.pairs.text_regions import TextRegions
from deixis.types.outputs import Progress

__all__ = ["hide_regions", "hide_words"]

_DRAWS = 128
"""Words or regions of a sample for which something is drawn; of more, the first draws are used again."""


def hide_words(
    pairs: TextRegions,
    ids: Sequence[str],
    share: float,
    numbers: tuple[tuple[int, ...], int, int],
    progress: Progress,
) -> tuple[Bool[Tensor, "B L"], Int64[Tensor, "B L"], Bool[Tensor, "B L"]]:
    """Which words are to be told, the tokens with exchanged ones, and which are hidden.

    Args:
        pairs: texts and regions.
        ids: of the samples.
        share: of the words that are to be told.
        numbers: of the signs around a text, of the first ordinary word, and the one behind the last.
        progress: whose draws are used.
    """
    place = torch.arange(pairs.tokens.shape[1]) % _DRAWS
    draws = progress.uniform("words", ids, 3 * _DRAWS).unflatten(1, (_DRAWS, 3))[:, place].to(pairs.boxes)
    marks, first, stop = numbers
    candidates = pairs.words & ~torch.isin(pairs.tokens, torch.tensor(marks, device=pairs.tokens.device))
    chosen = choose_masked(draws[..., 0], candidates, share)
    return chosen, *replace_words(pairs.tokens, chosen, draws[..., 1:], (first, stop))


def hide_regions(pairs: TextRegions, ids: Sequence[str], share: float, progress: Progress) -> Bool[Tensor, "B T"]:
    """Which regions are hidden.

    Args:
        pairs: texts and regions.
        ids: of the samples.
        share: of the regions.
        progress: whose draws are used.
    """
    place = torch.arange(pairs.regions.shape[1]) % _DRAWS
    draws = progress.uniform("regions", ids, _DRAWS)[:, place].to(pairs.boxes)
    return choose_masked(draws, pairs.regions, share)
