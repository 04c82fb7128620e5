"""Set matching: which of a picture's predictions stands for which of its targets, at the lowest cost in all."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["hungarian", "of_owner", "owners"]

_NO_NUMBER = 1e9
"""Cost in place of what is not finite: a diverged loss is reported by whoever reads it, not by the matching."""


def hungarian(cost: Float[Tensor, "B Q T"], valid: Bool[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """The assignment of targets to different predictions that costs least, for each sample over its own targets.

    Source: Kuhn, The Hungarian method for the assignment problem (1955); Carion et al., End-to-End Object Detection
    with Transformers (2020), section 3.1. No gradient passes.

    Args:
        cost: of each of Q predictions for each of T targets.
        valid: which targets are real.

    Returns:
        The prediction of each target; -1 where a target is no real one, and, where there are more targets than
        predictions, for those that it costs least to leave without.
    """
    known = torch.nan_to_num(cost.detach(), nan=_NO_NUMBER, posinf=_NO_NUMBER, neginf=-_NO_NUMBER)
    match = torch.full(valid.shape, -1, dtype=torch.long)
    costs, real = known.double().cpu().numpy(), valid.cpu()
    for sample, targets in enumerate(real):
        places = targets.nonzero()[:, 0]
        predictions, columns = linear_sum_assignment(costs[sample][:, places.numpy()])
        match[sample, places[torch.from_numpy(columns)]] = torch.from_numpy(predictions)
    return match.to(valid.device)


def owners(match: Int64[Tensor, "B T"], predictions: int) -> Int64[Tensor, "B Q"]:
    """The other way round: the target of each of Q predictions, -1 where it has none.

    >>> owners(torch.tensor([[2, -1, 0]]), 4).tolist()
    [[2, -1, 0, -1]]
    """
    place = match.where(match >= 0, predictions)
    numbers = torch.arange(match.shape[1], device=match.device).expand_as(match)
    return torch.full((len(match), predictions + 1), -1, device=match.device).scatter(1, place, numbers)[:, :-1]


def of_owner(values: Shaped[Tensor, "B T ..."], owner: Int64[Tensor, "B Q"]) -> Shaped[Tensor, "B Q ..."]:
    """What targets have, for the prediction that stands for each; of one that stands for none, anything.

    Args:
        values: of the targets.
        owner: of `owners`.
    """
    if not values.shape[1]:
        return values.new_zeros(*owner.shape, *values.shape[2:])
    return values[torch.arange(len(owner), device=owner.device)[:, None], owner.clamp(min=0)]
