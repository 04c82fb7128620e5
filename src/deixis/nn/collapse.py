"""How far a set of vectors is from having collapsed, and a set of choices from having fallen on few."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["collapse_warnings", "copies_found", "share_used", "unit_deviation"]

_COLLAPSED = 0.05


def unit_deviation(rows: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """The deviation of unit vectors from their mean, axis by axis, times sqrt(D): 0 where all are one, about 1 where
    they lie evenly on the sphere."""
    unit = F.normalize(rows.detach().float(), dim=1)
    return (unit - unit.mean(dim=0)).square().mean(dim=0).mean().sqrt() * rows.shape[1] ** 0.5


def share_used(chosen: Int64[Tensor, " N"], count: int) -> float:
    """Share of things that are chosen at least once, of as many as N choices can reach.

    Args:
        chosen: numbers of the things.
        count: how many there are to choose from.
    """
    return len(torch.unique(chosen)) / max(1, min(count, len(chosen)))


def copies_found(first: Float[Tensor, "N D"], second: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Share of the rows whose most similar row among the others' is that of the same number."""
    left, right = (F.normalize(rows.detach().float(), dim=1) for rows in (first, second))
    own = torch.arange(len(left), device=left.device)
    return ((left @ right.T).argmax(dim=1) == own).float().mean()


def collapse_warnings(values: Mapping[str, float]) -> dict[str, str]:
    """The state `collapsed` and what to do, where the metric `deviation` says so; see `HasWarnings`."""
    deviation = values.get("deviation", 1.0)
    if deviation >= _COLLAPSED:
        return {}
    return {
        "collapsed": f"The features have collapsed: they deviate by {deviation:.3f} from one another, and by about 1 "
        "where they are spread evenly. Take a lower learning rate or a larger batch; or the images are all alike."
    }
