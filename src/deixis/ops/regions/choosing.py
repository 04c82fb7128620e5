"""How a choice among the regions of a picture is learned."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.ops.collective import mean_count

__all__ = ["margin_loss", "pick_negative", "refer_loss"]


def refer_loss(
    scores: Float[Tensor, "B T"], right: Bool[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """-log of the share of the right regions in the softmax over all of a picture: with one right region, the
    cross-entropy. A picture without a right one, or without any region, has no part.

    Args:
        scores: of the regions.
        right: which are meant.
        valid: which are real.
    """
    least = torch.finfo(scores.dtype).min
    every, good = (scores.masked_fill(~mask, least).logsumexp(-1) for mask in (valid, right & valid))
    counted = (right & valid).any(-1)
    losses = (every - good).masked_fill(~counted, 0.0)
    return losses.sum() / mean_count(counted.sum()).clamp(min=1 / len(scores)).to(scores)


def pick_negative(
    scores: Float[Tensor, "B T"], wrong: Bool[Tensor, "B T"], draws: Float[Tensor, "B 2"], hard: float
) -> Int64[Tensor, " B"]:
    """A wrong region of each picture: in the share `hard` of them the one with the highest score, else any.

    Args:
        scores: of the regions.
        wrong: which may be chosen; where there are none, the first is.
        draws: from 0 to 1: which of both, and which region.
        hard: share.
    """
    best = scores.masked_fill(~wrong, -torch.inf).argmax(-1)
    place = (draws[:, 1].to(scores) * wrong.sum(-1)).long() + 1
    any_one = (wrong.cumsum(-1) == place[:, None]).to(torch.uint8).argmax(-1)
    return torch.where(draws[:, 0].to(scores) < hard, best, any_one)


def margin_loss(
    good: Float[Tensor, "*B"], bad: Float[Tensor, "*B"], margin: float, counted: Bool[Tensor, "*B"] | None = None
) -> Float[Tensor, ""]:
    """The mean of max(0, margin + sigmoid(bad) - sigmoid(good)).

    Args:
        good: scores of what is meant.
        bad: scores of what is not.
        margin: by how much the first should be ahead.
        counted: which are; all by default.
    """
    losses = (margin + bad.sigmoid() - good.sigmoid()).clamp(min=0)
    mask = torch.ones_like(losses, dtype=torch.bool) if counted is None else counted
    return (losses * mask).sum() / mean_count(mask.sum()).clamp(min=1e-6).to(losses)
