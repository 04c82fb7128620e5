"""What each word of a text has in its cosine with an image: gradient times input, and integrated gradients.

    gradient x input:       sum_d x_d ds/dx_d
    integrated gradients:   sum_d (x_d - p_d) * integral over t from 0 to 1 of ds/dx_d at p + t (x - p)

x being the vectors of the words before the first layer and p that of padding (Sundararajan et al. 2017, equation 1).
The marks around a text stay where they are, so that the words' numbers sum to what the words change in the score.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.taps import eval_with_grad, require_tappable
from deixis.ops.precision import to_float32
from deixis.types.outputs import Tokens

__all__ = ["gradient_times_input", "integrated_gradients"]

_STEPS = (16, 64, 256)
"""Points of the integral (Gauss-Legendre), more where the sum is off by more than `_OFF` of the difference."""

_OFF, _TINY, _ROWS = 0.01, 1e-4, 64

Scored = list[tuple[int, int, float]]
"""The words of a text in order: where each begins and ends, and its number."""


class _Pairs(NamedTuple):
    """Texts, each with the embedding of its image, and which tokens belong to words."""

    tokens: Tokens
    images: Float[Tensor, "T D"]
    moved: Bool[Tensor, "T L"]
    padding: int

    def take(self, rows: Int64[Tensor, " R"]) -> _Pairs:
        ids, mask = self.tokens
        return _Pairs(Tokens(ids[rows], mask[rows]), self.images[rows], self.moved[rows], self.padding)


def gradient_times_input(encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "T D"]) -> list[Scored]:
    """How the score of each text changes where a word's vector is made longer; words may speak against it.

    Args:
        encoder: both towers; mode and weights are as before afterwards.
        texts: T of them.
        images: embedding of length 1 of the image that belongs to each.

    Raises:
        DeixisError: the text tower has no table of word vectors, or can't be tapped.
    """
    pairs = _pairs(encoder, texts, images)
    _, values, _ = _walk(encoder, pairs, torch.ones(len(texts)))
    return _by_word(encoder, texts, values)


def integrated_gradients(encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "T D"]) -> list[Scored]:
    """What the words change in the score of each text, against padding in their places, divided among them.

    The numbers of a text sum to that change within 1 %; where the integral is not that exact in the end, a warning says
    so.

    Args:
        encoder: both towers; mode and weights are as before afterwards.
        texts: T of them.
        images: embedding of length 1 of the image that belongs to each.

    Raises:
        DeixisError: the text tower has no table of word vectors, or can't be tapped.
    """
    pairs = _pairs(encoder, texts, images)
    ends = [_walk(encoder, pairs, torch.full((len(texts),), place))[0] for place in (0.0, 1.0)]
    wanted = ends[1] - ends[0]
    found = torch.zeros_like(pairs.moved, dtype=torch.float32)
    rows = torch.arange(len(texts), device=found.device)
    for steps in _STEPS:
        found[rows] = _integral(encoder, pairs.take(rows), steps)
        rows = ((found.sum(1) - wanted).abs() > (_OFF * wanted.abs()).clamp(min=_TINY)).nonzero()[:, 0]
        if not len(rows):
            break
    for row in rows.tolist():
        warnings.warn(
            f"The words of {texts[row][:40]!r} are given {float(found[row].sum()):.4f} together, and the score differs "
            f"by {float(wanted[row]):.4f}: their integrals are not exact.",
            stacklevel=2,
        )
    return _by_word(encoder, texts, found)


def _pairs(encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "T D"]) -> _Pairs:
    require_tappable(encoder.text_tower)
    _table(encoder)
    ids, mask = encoder.tokenize([*texts, ""])
    unused = ids[~mask]
    moved = torch.zeros_like(mask[:-1])
    for row, text in zip(moved, texts, strict=True):
        for _, _, first, last in encoder.tokenizer.words(text, encoder.context_length):
            row[first:last] = True
    padding = int(unused[0]) if len(unused) else 0
    return _Pairs(Tokens(ids[:-1], mask[:-1]), images.detach().clone().to(encoder.device), moved, padding)


def _table(encoder: DualEncoder) -> nn.Embedding:
    """The word vectors of the text tower."""
    found = next((each for each in encoder.text_tower.modules() if isinstance(each, nn.Embedding)), None)
    if found is None:
        raise DeixisError(
            f"{type(encoder.text_tower).__name__} has no table of word vectors.", "Take scores of words by relevance."
        )
    return found


def _integral(encoder: DualEncoder, pairs: _Pairs, steps: int) -> Float[Tensor, "T L"]:
    """The gradients on the way from padding to the words, summed by Gauss-Legendre, times the way."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    fractions = torch.from_numpy((places + 1) / 2).float().repeat(len(pairs.moved))
    rows = torch.arange(len(pairs.moved), device=pairs.moved.device).repeat_interleave(steps)
    walked = torch.cat(
        [
            _walk(encoder, pairs.take(some), part)[2]
            for some, part in zip(rows.split(_ROWS), fractions.split(_ROWS), strict=True)
        ]
    )
    share = torch.from_numpy(weights / 2).to(walked)
    return torch.einsum("tsl,s->tl", walked.unflatten(0, (-1, steps)), share)


def _walk(
    encoder: DualEncoder, pairs: _Pairs, fractions: Float[Tensor, " T"]
) -> tuple[Float[Tensor, " T"], Float[Tensor, "T L"], Float[Tensor, "T L"]]:
    """Scores where words have come so far from padding; and of each token of a word the gradient there times its
    vector, and times the way from padding to it."""
    with eval_with_grad(encoder.text_tower, gradients=False), _blended(encoder, pairs, fractions) as kept:
        scores = to_float32((encoder.encode_text(pairs.tokens) * pairs.images).sum(1))
        if len(kept) != 1:
            raise DeixisError(f"The word vectors were read {len(kept)} times.", "Take scores of words by relevance.")
        placed, full, way = kept[0]
        (gradient,) = torch.autograd.grad(scores.sum(), placed)
    products = [
        nn.functional.pad((gradient * each).sum(-1), (0, pairs.moved.shape[1] - each.shape[1])) * pairs.moved
        for each in (full, way)
    ]
    return scores.detach(), to_float32(products[0]), to_float32(products[1])


@contextlib.contextmanager
def _blended(
    encoder: DualEncoder, pairs: _Pairs, fractions: Float[Tensor, " T"]
) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """Has the tower read vectors between padding and words; keeps these, the words' own, and the way between."""
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    table = _table(encoder)

    def blend(_: nn.Module, given: tuple[Any, ...], out: Float[Tensor, "T L F"]) -> Float[Tensor, "T L F"]:
        full = out.detach()
        moved = pairs.moved[:, : full.shape[1], None]
        way = torch.where(moved, full - table.weight[pairs.padding].detach(), torch.zeros_like(full))
        placed = (full - (1 - fractions.to(full))[:, None, None] * way).requires_grad_()
        kept.append((placed, full, way))
        return placed

    handle = table.register_forward_hook(blend)
    try:
        yield kept
    finally:
        handle.remove()


def _by_word(encoder: DualEncoder, texts: Sequence[str], values: Float[Tensor, "T L"]) -> list[Scored]:
    length = encoder.context_length
    return [
        [(start, stop, sum(row[first:last])) for start, stop, first, last in encoder.tokenizer.words(text, length)]
        for text, row in zip(texts, values.tolist(), strict=True)
    ]
