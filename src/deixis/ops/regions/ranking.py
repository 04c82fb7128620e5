"""The order of a phrase's boxes, learned: conditional logistic regression with an L2 penalty, solved by L-BFGS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["conditional_logit", "feature_scales", "rank_weights"]


def conditional_logit(
    features: Float[Tensor, "N Q F"],
    offsets: Float[Tensor, "N Q"],
    targets: Float[Tensor, "N Q"],
    penalty: float,
    *,
    start: Float[Tensor, " F"] | None = None,
    iterations: int = 200,
) -> Float[Tensor, " F"]:
    """Weights w that make mean_i CE(softmax_q(offset_iq + w f_iq), target_i) + penalty / 2 |w|^2 least.

    The objective is convex; of a large penalty w is zero, and the offsets alone decide.

    Source: McFadden, Conditional Logit Analysis of Qualitative Choice Behavior (1974), here with a penalty.

    Args:
        features: of each candidate of each set.
        offsets: what is known of a candidate without w; minus infinity where there is none.
        targets: shares of the candidates that are right, which sum to 1 in each set.
        penalty: weight of the L2 term.
        start: where to begin, such as the solution for another penalty.
        iterations: of L-BFGS, at the most.
    """
    real = torch.isfinite(offsets)
    x = (features.double() * real[..., None]).cpu().numpy()
    sets, width = len(x), x.shape[-1]
    flat = x.reshape(-1, width)
    given, right = offsets.double().cpu().numpy(), targets.double().cpu().numpy()

    def objective(weight: np.ndarray) -> tuple[float, np.ndarray]:
        logits = given + (flat @ weight).reshape(given.shape)
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        totals = shares.sum(axis=1, keepdims=True)
        shares /= totals
        chosen = np.where(right > 0, logits - np.log(totals), 0.0)
        loss = -float((right * chosen).sum()) / sets + penalty / 2 * float(weight @ weight)
        return loss, (shares - right).reshape(-1) @ flat / sets + penalty * weight

    first = np.zeros(width) if start is None else start.double().cpu().numpy()
    limits = {"maxiter": iterations, "maxfun": 10 * iterations, "gtol": 1e-7, "ftol": 0.0}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=limits)
    return torch.from_numpy(found.x).to(features.device)


def feature_scales(features: Sequence[Float[Tensor, "_ F"]], groups: Sequence[int]) -> Float[Tensor, " F"]:
    """What each feature is multiplied by: one over how much it varies among the boxes of a phrase and over the root of
    how many there are of its kind; 0 where it never varies.

    Args:
        features: of each phrase.
        groups: how many there are of each kind.
    """
    total = sum((((each - each.mean(0)) ** 2).sum(0) for each in features), torch.zeros(sum(groups)).double())
    deviation = (total / sum(map(len, features))) ** 0.5
    share = torch.cat([torch.full((count,), count**-0.5, dtype=torch.float64) for count in groups])
    return torch.where(deviation > 1e-6, share / deviation.clamp(min=1e-6), 0.0)


def rank_weights(
    features: Sequence[Float[Tensor, "_ F"]],
    offsets: Sequence[Float[Tensor, " _"]],
    overlaps: Sequence[Float[Tensor, " _"]],
    groups: Sequence[int],
    penalties: Sequence[float],
    overlap: float,
) -> list[Float[Tensor, " F"]]:
    """The weights w for each penalty; zeros where no phrase has a right box.

    Args:
        features: x of the boxes of each phrase.
        offsets: log chances.
        overlaps: IoU of each box with the nearest that the phrase names.
        groups: how many features there are of each kind.
        penalties: weights of the L2 term.
        overlap: the IoU from which a box is right.
    """
    rows = [row for row, each in enumerate(overlaps) if bool((each >= overlap).any())]
    if not rows:
        return [torch.zeros(sum(groups), dtype=torch.float64) for _ in penalties]
    chosen = [features[row].double().cpu() for row in rows]
    scales = feature_scales(chosen, groups)
    right = [(overlaps[row] >= overlap).double().cpu() for row in rows]
    x = pad_sequence([each * scales for each in chosen], batch_first=True)
    given = pad_sequence([offsets[row].double().cpu() for row in rows], batch_first=True, padding_value=-torch.inf)
    targets = pad_sequence([each / each.sum() for each in right], batch_first=True)
    found: dict[float, Tensor] = {}
    start = None
    for penalty in sorted(penalties, reverse=True):  # from zero on, each begins at the one before
        start = conditional_logit(x, given, targets, penalty, start=start)
        found[penalty] = start * scales
    return [found[penalty] for penalty in penalties]
