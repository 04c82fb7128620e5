"""PCA whitening: directions of data, scaled so that all vary alike."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["pca_whitening"]

_FLOOR = 1e-6
"""Directions with less than this share of the largest variance are noise, and count for nothing."""


def pca_whitening(rows: Float[Tensor, "N D"], width: int) -> tuple[Float[Tensor, " D"], Float[Tensor, "D W"]]:
    """The mean m and the matrix M such that (x - m) M has uncorrelated columns of variance 1, the directions of largest
    variance first, each with its largest component positive.

    Directions in which the data do not vary give columns of zeros.

    Args:
        rows: the data; computed in float64.
        width: columns of M; at most D.
    """
    exact = rows.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
    variances, directions = variances.flip(0)[:width], directions.flip(1)[:, :width]
    signs = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    varying = (variances > _FLOOR * variances[:1]) & (variances > torch.finfo(torch.float64).tiny)
    scales = torch.where(varying, variances.clamp(min=torch.finfo(torch.float64).tiny).rsqrt(), 0.0)
    return mean, directions * signs * scales
