"""Hard negatives: passages that a model ranks near to a query and that do not answer it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.errors import DeixisError
from deixis.ops.pairs.passages import as_passages
from deixis.types import Sample
from deixis.types.mining import MiningRule
from deixis.types.protocols import AnyMethod, HasMining

__all__ = ["MinedNegatives", "MinedSamples", "distinct", "mine", "mine_samples", "read_texts", "require_minable"]

_BLOCK, _READ = 512, 256


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
    _require(len(passages), rule)
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


class MinedSamples(NamedTuple):
    """Samples with negatives behind their answers.

    Attributes:
        samples: those that were kept, in their order.
        doubtful: how many were left out.
    """

    samples: tuple[Sample, ...]
    doubtful: int


def mine_samples(method: AnyMethod, samples: Sequence[Sample], rule: MiningRule, seed: int = 0) -> MinedSamples:
    """Mines negatives among the answers of all samples, by what the method makes of queries and answers now. Passages
    that a sample has behind its answer come first.

    Args:
        method: with the hook `HasMining`.
        samples: with a caption, the query, and `passages`, whose first is the answer.
        rule: which are drawn.
        seed: of the draws.

    Raises:
        DeixisError: there are fewer answers than the rule speaks of.
    """
    assert isinstance(method, HasMining)
    own = [as_passages(sample.extra["passages"]) for sample in samples]
    answers, places = distinct([each[0] for each in own])
    with eval_without_grad(method):
        queries = read_texts(method.read_queries, [sample.captions[0] for sample in samples])
        passages = read_texts(method.read_passages, answers)
    mined = mine(queries, passages, torch.tensor(places), torch.arange(len(answers)), rule, seed)
    kept = [place for place, sure in enumerate(mined.kept.tolist()) if sure]
    return MinedSamples(
        tuple(
            dataclasses.replace(
                samples[place],
                extra={**samples[place].extra, "passages": (*own[place], *(answers[row] for row in rows))},
            )
            for place, rows in zip(kept, mined.rows.tolist(), strict=True)
        ),
        mined.doubtful,
    )


def require_minable(samples: Sequence[Sample], rule: MiningRule) -> None:
    """Makes sure that there are answers enough, before anything is trained.

    Raises:
        DeixisError: there are fewer than the rule speaks of.
    """
    _require(len({as_passages(sample.extra["passages"])[0] for sample in samples}), rule)


def _require(passages: int, rule: MiningRule) -> None:
    if passages < rule.passages:
        raise DeixisError(
            f"There are {passages} passages, and negatives are of ranks up to {rule.passages - 1}.",
            "Give more passages, or smaller ranks (settings nearest and farthest).",
        )


def distinct(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Different texts, in their order, and which of them each is."""
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(text, len(numbers)) for text in texts]
    return list(numbers), places


def read_texts(read: Callable[[Sequence[str]], Tensor], texts: Sequence[str]) -> Float[Tensor, "N D"]:
    """What is read of texts, those of about one length together.

    Args:
        read: gives the vectors of some of them.
        texts: any number.
    """
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    blocks = [order[start : start + _READ] for start in range(0, len(order), _READ)]
    rows = torch.cat([read([texts[place] for place in block]).float().cpu() for block in blocks])
    return rows[torch.tensor(order).argsort()]
