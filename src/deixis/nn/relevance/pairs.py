"""Relevance of an image, or of the words of a text, for how well the two fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.nn.dual import DualEncoder
from deixis.nn.relevance.attribution import relevance
from deixis.nn.relevance.rules import Rules

__all__ = ["image_relevance", "pair_score", "text_relevance"]


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
        return torch.einsum("bd,bd->b" if wanted.ndim == 2 else "bd,bkd->bk", embedding, wanted.to(embedding))

    return score


def image_relevance(
    encoder: DualEncoder,
    images: Float[Tensor, "B 3 H W"],
    texts: Sequence[str] | Sequence[Sequence[str]],
    others: Sequence[str] = (),
    rules: Rules | str = "epsilon_plus",
) -> Float[Tensor, "B 3 H W"] | Float[Tensor, "B K 3 H W"]:
    """Signed relevance of pixels for the cosine of each image with its text, through the image tower and its adapter.

    The embedding is of length 1; its norm is taken as a constant. (The gradient of a cosine times its input sums to 0,
    as a cosine does not change with length.) K texts an image share the forward pass.

    Args:
        encoder: both towers.
        images: preprocessed.
        texts: one text an image, or K for each.
        others: texts to hold them against; the mean of their cosines is subtracted.
        rules: a set, or its name.
    """
    flat = [text for each in texts for text in ([each] if isinstance(each, str) else each)]
    partners = encoder.encode_text(flat)
    if texts and not isinstance(texts[0], str):
        partners = partners.reshape(len(texts), len(texts[0]), -1)
    score = pair_score(partners, encoder.encode_text(others) if others else None)
    return relevance(encoder, images, score, rules=rules, forward=encoder.encode_image).input


def text_relevance(
    encoder: DualEncoder,
    texts: Sequence[str],
    images: Float[Tensor, "B D"],
    others: Float[Tensor, "G D"] | None = None,
    rules: Rules | str = "attention",
) -> list[list[tuple[int, int, float]]]:
    """Signed relevance of the words of each text for its cosine with an image.

    Args:
        encoder: both towers.
        texts: B texts.
        images: embedding of each text's image.
        others: embeddings of images to hold them against.
        rules: a set, or its name.

    Returns:
        For each text its words in order: where a word begins and ends in the text, and its relevance. What falls to no
        word (the tokens around a text) is left out.
    """
    tokens, mask = encoder.tokenize(texts)
    score = pair_score(images, others)
    scored = relevance(encoder, tokens, score, rules=rules, forward=encoder.encode_text, mask=mask).input
    length = encoder.context_length
    return [
        [
            (start, stop, float(row[first:last].sum()))
            for start, stop, first, last in encoder.tokenizer.words(text, length)
        ]
        for text, row in zip(texts, scored, strict=True)
    ]
