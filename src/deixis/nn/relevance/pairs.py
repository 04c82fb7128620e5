"""Relevance of the words of a text for how well it fits an image; and the score of such pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.nn.dual import DualEncoder
from deixis.nn.relevance.attribution import relevance

__all__ = ["pair_score", "text_relevance"]


def pair_score(
    partners: Float[Tensor, "B D"] | Float[Tensor, "B K D"], others: Float[Tensor, "G D"] | None = None
) -> Callable[[Any], Tensor]:
    """Scores of embeddings [B, D] of length 1 with their partners on the other side: cosines.

    Args:
        partners: one, or K, for each of B embeddings.
        others: what the partners are held against: their mean is subtracted, so that only what speaks for the partner
            rather than for them counts.

    Returns:
        A function of embeddings [B, D], or of `ImageStates`, that gives [B], or [B, K].
    """
    wanted = partners if others is None else partners - others.mean(dim=0)

    def score(output: Any) -> Tensor:
        embedding: Tensor = getattr(output, "embedding", output)
        # A copy, as vectors made in inference mode have no gradient.
        return torch.einsum("bd,bd->b" if wanted.ndim == 2 else "bd,bkd->bk", embedding, wanted.clone().to(embedding))

    return score


def text_relevance(
    encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "B D"]
) -> list[list[tuple[int, int, float]]]:
    """Signed relevance of the words of each text for its cosine with an image.

    Args:
        encoder: both towers.
        texts: B texts.
        images: embedding of each text's image.

    Returns:
        For each text its words in order: where a word begins and ends in the text, and its relevance. What falls to no
        word (the tokens around a text) is left out.
    """
    tokens, mask = encoder.tokenize(texts)
    score = pair_score(images)
    scored = relevance(encoder, tokens, score, rules="attention", forward=encoder.encode_text, mask=mask).input
    length = encoder.context_length
    return [
        [
            (start, stop, float(row[first:last].sum()))
            for start, stop, first, last in encoder.tokenizer.words(text, length)
        ]
        for text, row in zip(texts, scored, strict=True)
    ]
