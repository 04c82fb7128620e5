"""What a language model reads: words without the marks around them, one after the other without gaps."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from deixis.types.outputs import Tokens
from deixis.types.protocols import LanguageModel

__all__ = ["compact", "continuation_loss", "ended", "prompt", "target_logits", "words_of"]


def compact(mask: Bool[Tensor, "B L"], *values: Shaped[Tensor, "B L ..."]) -> tuple[Shaped[Tensor, "B M ..."], ...]:
    """Moves what is real to the beginning of its row, in its order.

    Args:
        mask: true where a position is real.
        *values: with one entry a position.

    Returns:
        The mask and the values, cut to the longest row (one position at the least).
    """
    length = max(1, int(mask.sum(dim=1).max())) if len(mask) else 1
    order = (~mask).long().argsort(dim=1, stable=True)[:, :length]
    moved = [
        each.gather(1, order.reshape(*order.shape, *[1] * (each.dim() - 2)).expand(*order.shape, *each.shape[2:]))
        for each in (mask, *values)
    ]
    return tuple(moved)


def words_of(lm: LanguageModel, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Tokens:
    """The tokens of texts without those that a tokenizer puts around them.

    Args:
        lm: whose tokenizer made them.
        tokens: of texts.
        mask: true where one is real.
    """
    real = mask & (tokens[..., None] != tokens.new_tensor(lm.marks)).all(dim=-1)
    real, tokens = compact(real, tokens)
    return Tokens(tokens * real, real)


def ended(lm: LanguageModel, words: Tokens) -> Tokens:
    """Texts with the token behind them that ends a text: what a model is to say.

    Args:
        lm: whose end it is.
        words: as `words_of` gives them.
    """
    ids, mask = F.pad(words.ids, (0, 1), value=lm.end), F.pad(words.mask, (0, 1), value=True)
    mask, ids = compact(mask, ids)
    return Tokens(ids * mask, mask)


def prompt(
    lm: LanguageModel, prefix: Float[Tensor, "B K F"] | None, question: Tokens | None = None
) -> tuple[Float[Tensor, "B L F"], Bool[Tensor, "B L"]]:
    """What stands before a text: vectors, and behind them the words of a question; embeddings and which are real.

    Args:
        lm: that reads them.
        prefix: vectors that are read like words; None: the token that a text begins with.
        question: its words, as `words_of` gives them.
    """
    if prefix is None:
        assert question is not None, "with neither, nothing says how many rows there are"
        prefix = lm.embed(question.ids.new_full((len(question.ids), 1), lm.start))
    if question is None:
        return prefix, torch.ones(prefix.shape[:2], dtype=torch.bool, device=prefix.device)
    words = lm.embed(question.ids)
    mask = torch.cat([question.mask.new_ones(prefix.shape[:2]), question.mask], dim=1)
    mask, inputs = compact(mask, torch.cat([prefix.to(words.dtype), words], dim=1))
    return inputs, mask


def continuation_loss(
    lm: LanguageModel, prefix: Float[Tensor, "B K F"] | None, target: Tokens, question: Tokens | None = None
) -> Float[Tensor, "B L"]:
    """-log p of each token of a target, given what stands before it; 0 at padding.

    Args:
        lm: whose probabilities they are.
        prefix: vectors before the words; None: the token that a text begins with, so that it is the text alone.
        target: as `ended` gives it.
        question: words between, as `words_of` gives them.
    """
    states, ids, said = _continued(lm, prefix, target, question)
    losses = lm.token_loss(states, ids, said)
    return losses.new_zeros(target.mask.shape).masked_scatter(target.mask, losses[said])


def target_logits(
    lm: LanguageModel, prefix: Float[Tensor, "B K F"] | None, target: Tokens, question: Tokens | None = None
) -> Float[Tensor, "B L"]:
    """The score of each token of a target before any softmax; 0 at padding. Arguments as for `continuation_loss`."""
    states, ids, said = _continued(lm, prefix, target, question)
    scores = lm.logits(states[said]).float().gather(1, ids[said][:, None])[:, 0]
    return scores.new_zeros(target.mask.shape).masked_scatter(target.mask, scores)


def _continued(
    lm: LanguageModel, prefix: Tensor | None, target: Tokens, question: Tokens | None
) -> tuple[Float[Tensor, "B M F"], Int64[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """States, the token that follows each, and whether it is one of the target."""
    empty = Tokens(target.ids[:, :0], target.mask[:, :0])
    before, known = prompt(lm, prefix, question or empty)
    words, count = lm.embed(target.ids), before.shape[1]
    mask = torch.cat([known, target.mask], dim=1)
    ids, said = F.pad(target.ids, (count, 0)), F.pad(target.mask, (count, 0))
    mask, inputs, ids, said = compact(mask, torch.cat([before.to(words.dtype), words], dim=1), ids, said)
    return lm.states(inputs[:, :-1], mask[:, :-1]), ids[:, 1:], said[:, 1:]
