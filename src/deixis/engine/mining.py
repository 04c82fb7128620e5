"""Hard negatives: passages that a model ranks near to a query and that do not answer it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.errors import DeixisError

__all__ = ["MinedNegatives", "MiningRule", "mine"]

_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class MiningRule:
    """Which passages are negatives of a query.

    Attributes:
        first: rank of the nearest that may be drawn, counted from 1 among passages that do not answer it.
        last: rank of the farthest that may be drawn.
        drawn: how many are drawn of these.
        margin: instead of by rank: the nearest whose cosine is below the answer's by at least this; 0: by rank.
    """

    first: int = 50
    last: int = 100
    drawn: int = 7
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last or self.drawn < 1 or self.margin < 0:
            raise DeixisError(
                f"Negatives are to be {self.drawn} of ranks {self.first} to {self.last}, margin {self.margin}.",
                "Give ranks from 1 on, the smaller first; one negative or more; a margin of 0 or more.",
            )
        if not self.margin and self.last - self.first + 1 < self.drawn:
            raise DeixisError(
                f"{self.drawn} negatives are to be drawn of ranks {self.first} to {self.last}.", "Give more ranks."
            )


class MinedNegatives(NamedTuple):
    """What was mined.

    Attributes:
        rows: of each query that was kept, its negatives, as rows of the passages [K, M].
        kept: which queries were kept; doubtful ones, whose answer ranks behind the negatives, are not.
    """

    rows: Int64[Tensor, "K M"]
    kept: Bool[Tensor, " Q"]

    @property
    def doubtful(self) -> int:
        """How many queries were left out."""
        return int((~self.kept).sum())


def mine(
    queries: Float[Tensor, "Q D"],
    passages: Float[Tensor, "N D"],
    answers: Int64[Tensor, " Q"],
    keys: Int64[Tensor, " N"],
    rule: MiningRule,
    seed: int = 0,
) -> MinedNegatives:
    """Draws negatives of each query among passages that a model ranks.

    A query is doubtful where its answer stands behind the passage of the first rank that may be drawn: what is nearer
    than its answer may be a better one. By margin it is doubtful where too few passages are far enough.

    Args:
        queries: of length 1.
        passages: of length 1.
        answers: the passage that answers each query.
        keys: equal for passages that say the same; none of them is a negative where one is the answer.
        rule: which are drawn.
        seed: of the draws.

    Raises:
        DeixisError: there are fewer passages than the rule speaks of.
    """
    needed = rule.drawn + 1 if rule.margin else rule.last + 1
    if len(passages) < needed:
        raise DeixisError(
            f"There are {len(passages)} passages, and negatives are of ranks up to {needed - 1}.",
            "Give more passages, or smaller ranks.",
        )
    draws = torch.Generator().manual_seed(seed)
    rows, kept = [], []
    for start in range(0, len(queries), _BLOCK):
        own = answers[start : start + _BLOCK]
        scores = queries[start : start + _BLOCK] @ passages.T
        answer = scores.gather(1, own[:, None])
        scores = scores.masked_fill(keys[own][:, None] == keys, -torch.inf)
        some, sure = _by_margin(scores, answer, rule) if rule.margin else _by_rank(scores, answer, rule, draws)
        rows.append(some[sure])
        kept.append(sure)
    return MinedNegatives(torch.cat(rows), torch.cat(kept))


def _by_rank(scores: Tensor, answer: Tensor, rule: MiningRule, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    best = scores.topk(rule.last, dim=1)
    between = best.indices[:, rule.first - 1 :]
    order = torch.rand(between.shape, generator=draws).argsort(1)[:, : rule.drawn].to(between.device)
    sure = answer[:, 0] >= best.values[:, rule.first - 1]
    return between.gather(1, order), sure & best.values[:, -1].isfinite()


def _by_margin(scores: Tensor, answer: Tensor, rule: MiningRule) -> tuple[Tensor, Tensor]:
    far = scores.masked_fill(scores > answer - rule.margin, -torch.inf)
    best = far.topk(rule.drawn, dim=1)
    return best.indices, best.values[:, -1].isfinite()
