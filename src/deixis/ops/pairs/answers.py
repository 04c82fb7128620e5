"""A picture and the text that answers a question about it, where several pictures of a batch have the same answer."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.ops.collective import gather, mean_count, own_rows
from deixis.ops.contrastive import one_way

__all__ = ["EqualAnswers", "answer_loss"]

EqualAnswers = Literal["mean", "sum", "excluded"]
"""What other samples with the same answer are: right answers whose log-probabilities are averaged; right answers whose
probabilities are summed; or no candidates."""


def answer_loss(
    image: Float[Tensor, "B D"],
    text: Float[Tensor, "B D"],
    *,
    scale: float | Float[Tensor, ""],
    keys: Int64[Tensor, " N"] | None = None,
    equal: EqualAnswers = "mean",
    symmetric: bool = False,
) -> Float[Tensor, ""]:
    """InfoNCE of pictures against the answers of all samples, over the samples of all ranks.

    Args:
        image: one vector a picture and question, of length 1.
        text: of each one's answer, of length 1.
        scale: factor on the cosines.
        keys: equal for samples, of all ranks, with the same answer; None: each has its own.
        equal: what samples with the same answer are.
        symmetric: answers look for pictures, too, and both directions are averaged.
    """
    there = _way(image, text, scale, keys, equal)
    if not symmetric:
        return there
    return (there + _way(text, image, scale, keys, equal)) / 2


def _way(queries: Tensor, gallery: Tensor, scale: float | Tensor, keys: Tensor | None, equal: str) -> Float[Tensor, ""]:
    mine, others = own_rows(len(queries), queries.device), gather(gallery)
    share = len(queries) / mean_count(float(len(queries)))
    if keys is None or equal == "mean":
        return one_way(queries, others, scale=scale, keys=keys, first=mine.start) * share
    same = keys[mine, None] == keys
    if equal == "excluded":
        itself = torch.arange(len(keys), device=keys.device)
        return (
            one_way(queries, others, scale=scale, ignore=same & (itself[mine, None] != itself), first=mine.start)
            * share
        )
    logits = (scale * queries) @ others.T
    return (logits.logsumexp(1) - logits.masked_fill(~same, -torch.inf).logsumexp(1)).mean() * share
