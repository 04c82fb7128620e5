"""Linear probe: multinomial logistic regression on a frozen tower's features, with an L2 penalty.

    W, b = argmin  mean_i CE(W s(f_i) + b, y_i) + penalty / 2 |W|^2,     s(f) = f / |f|

solved by L-BFGS to convergence, as CLIP's linear evaluation does (Radford et al., 2021, appendix A.3). The intercept is
not penalised, and the problem is convex, so neither the order of the batches nor a seed matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method", "directions", "solve"]

_CELLS = 2**24
"""Logits that are in memory at a time."""

CARD = Card(
    title="Linear probe on frozen features",
    year=2021,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2103.00020",
    tags=("classification", "few-shot"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the linear probe.

    Attributes:
        encoder: whose features are used.
        names: the classes, in the order of the labels.
        penalty: weight of the L2 term.
        iterations: of L-BFGS, at the most.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    penalty: float = 1e-3
    iterations: int = 500

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and five classes."""
        return cls(encoder="tiny", names=("a", "b", "c", "d", "e"))

    @classmethod
    def desk(cls) -> Config:
        """Two classes, to be replaced by one's own."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """1,000 iterations, as CLIP's evaluation."""
        return cls(names=("cat", "dog"), iterations=1000)


def directions(features: Float[Tensor, "N F"]) -> tuple[Float[Tensor, "N G"], Float[Tensor, "R F"]]:
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


def solve(
    rows: Float[Tensor, "N F"],
    labels: Int64[Tensor, " N"],
    classes: int,
    penalties: Float[Tensor, " F"],
    given: tuple[Float[Tensor, "N D"], Float[Tensor, "C D"]] | None = None,
    iterations: int = 500,
) -> Float[Tensor, "C F"]:
    """W that makes mean_i CE(a_i B' + W r_i, y_i) + sum_f penalties_f / 2 |W_f|^2 least, by L-BFGS in double precision.

    Logits are made for as many rows at a time as fit into memory, whatever N x C is.

    Args:
        rows: r, doubles.
        labels: y.
        classes: their number (C).
        penalties: one a column of W.
        given: a and B of logits that are there without W.
        iterations: at the most.
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


class Method(nn.Module):
    """A frozen tower and a linear layer."""

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.head = nn.Linear(encoder.feature_width, len(self.names)).requires_grad_(False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the features and labels of a batch."""
        assert batch.labels is not None
        self._seen.append((batch.extra["image_features"], batch.labels))

    def finish(self, progress: Progress) -> None:
        """Solves for the layer and forgets the features."""
        if not self._seen:
            raise ValueError("nothing was observed")
        features, labels = torch.cat([f for f, _ in self._seen]), torch.cat([y for _, y in self._seen])
        rows, basis = directions(features)
        penalties = torch.full_like(rows[0], self.config.penalty)
        penalties[-1] = 0
        weight = solve(rows, labels, len(self.names), penalties, iterations=self.config.iterations)
        self.head.weight.copy_(weight[:, :-1] @ basis)
        self.head.bias.copy_(weight[:, -1])
        self._seen.clear()

    def scores(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from features that the tower gave."""
        return self.head(F.normalize(features, dim=-1))

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.image_states(images).features)


CLAIMS = ()
