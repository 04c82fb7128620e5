"""Multinomial logistic regression with an L2 penalty, solved by L-BFGS to convergence in double precision."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

__all__ = ["linear_layer"]

_CELLS = 2**24
"""Logits that are in memory at a time."""


def linear_layer(
    features: Float[Tensor, "N F"],
    labels: Int64[Tensor, " N"],
    classes: int,
    penalty: float,
    *,
    given: tuple[Float[Tensor, "N D"], Float[Tensor, "C D"]] | None = None,
    penalised_intercept: bool = False,
    iterations: int = 500,
) -> tuple[Float[Tensor, "C F"], Float[Tensor, " C"]]:
    """Weights W and intercepts b that make mean_i CE(a_i B' + W f_i / |f_i| + b, y_i) + penalty / 2 |W|^2 least.

    Args:
        features: f; they are made of length 1.
        labels: y.
        classes: their number (C).
        penalty: weight of the L2 term.
        given: a and B of logits that are there without W.
        penalised_intercept: whether |b|^2 is penalised, too.
        iterations: of L-BFGS, at the most.
    """
    rows, basis = _directions(features)
    penalties = torch.full_like(rows[0], penalty)
    if not penalised_intercept:
        penalties[-1] = 0
    weight = _solve(rows, labels, classes, penalties, given, iterations)
    return weight[:, :-1] @ basis, weight[:, -1]


def _directions(features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N G"], Float[Tensor, "R F"]]:
    """Features of length 1 with a column of ones behind them, in the R directions that they have in common, in doubles.

    Where there are fewer images than features R is their number: a penalised weight has no part that is orthogonal to
    all images, so that nothing is lost.

    Returns:
        N coordinates (R, and the column of ones), and the directions: weights in them become weights of the features.
    """
    scaled = F.normalize(features.double(), dim=-1)
    basis = torch.eye(scaled.shape[1], dtype=scaled.dtype, device=scaled.device)
    if len(scaled) < scaled.shape[1]:
        basis = torch.linalg.qr(scaled.T)[0].T
        scaled = scaled @ basis.T
    return torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1), basis


def _solve(
    rows: Float[Tensor, "N F"],
    labels: Int64[Tensor, " N"],
    classes: int,
    penalties: Float[Tensor, " F"],
    given: tuple[Float[Tensor, "N D"], Float[Tensor, "C D"]] | None,
    iterations: int,
) -> Float[Tensor, "C F"]:
    """W that makes mean_i CE(a_i B' + W r_i, y_i) + sum_f penalties_f / 2 |W_f|^2 least, in double precision.

    Logits are made for as many rows at a time as fit into memory, whatever N x C is.
    """
    r, c, y = rows.cpu().numpy(), penalties.cpu().numpy(), labels.cpu().numpy()
    fixed = None if given is None else (given[0].cpu().numpy(), given[1].cpu().numpy())
    size = max(1, _CELLS // classes)
    pieces = [slice(i, i + size) for i in range(0, len(r), size)]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(classes, -1)
        gradient = c * weight
        loss = float((gradient * weight).sum()) / 2
        for piece in pieces:
            logits = r[piece] @ weight.T
            if fixed is not None:
                logits += fixed[0][piece] @ fixed[1].T
            logits -= logits.max(axis=1, keepdims=True)
            own = np.arange(len(logits)), y[piece]
            right = logits[own]
            errors = np.exp(logits, out=logits)
            totals = errors.sum(axis=1, keepdims=True)
            loss += float(np.log(totals).sum() - right.sum()) / len(r)
            errors /= totals
            errors[own] -= 1
            gradient += errors.T @ r[piece] / len(r)
        return loss, gradient.ravel()

    # The gradient alone says when it is done; by the change of the loss it would stop three digits early.
    limits = {"maxiter": iterations, "maxfun": 10 * iterations, "gtol": 1e-9, "ftol": 0.0}
    found = minimize(objective, np.zeros(classes * r.shape[1]), jac=True, method="L-BFGS-B", options=limits)
    return torch.from_numpy(found.x.reshape(classes, -1)).to(rows.device)
