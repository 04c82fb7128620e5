"""What the singular values of a set of vectors tell."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["effective_rank"]


def effective_rank(vectors: Float[Tensor, "N D"]) -> float:
    """In how many directions vectors spread: the exponential of the entropy of their normalised singular values
    (Roy and Vetterli, The effective rank, 2007).

    It is 1 where all vectors are one (the mean is not taken away: what is left of collapsed vectors would be noise,
    which spreads in all directions), and min(N, D) where all directions are used alike. 0 where all vectors are zero.

    Args:
        vectors: one a row.
    """
    values = torch.linalg.svdvals(vectors.detach().double())
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp()) if float(values.sum()) > 0 else 0.0
