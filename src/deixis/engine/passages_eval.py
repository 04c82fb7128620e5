"""How well queries that a method was not trained on find the passages that answer them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.mining import distinct, read_texts
from deixis.ops.metrics import ranks_of_scores, recall_at, reciprocal_rank
from deixis.ops.pairs.passages import as_passages
from deixis.types import Batch
from deixis.types.protocols import AnyMethod, HasMining

__all__ = ["answers_found", "finds_passages"]


def finds_passages(method: AnyMethod) -> bool:
    """Whether a method compares queries with passages."""
    return isinstance(method, HasMining)


def answers_found(method: AnyMethod, batches: Iterable[Batch]) -> dict[str, float]:
    """Of all queries of `batches`, whether each finds the first of its passages among those of all.

    Args:
        method: with the hook `HasMining`.
        batches: with captions, whose first is the query, and passages.

    Returns:
        `r1`, `r10` and `mrr`, 0 to 1.
    """
    assert isinstance(method, HasMining)
    queries, answers = list[Tensor](), list[str]()
    with eval_without_grad(method):
        for batch in batches:
            assert batch.captions is not None
            queries.append(method.read_queries([each[0] for each in batch.captions]).float())
            answers += [as_passages(each)[0] for each in batch.extra["passages"]]
        passages, wanted = distinct(answers)
        there = read_texts(method.read_passages, passages)
    hits = torch.tensor(wanted)[:, None] == torch.arange(len(passages))
    ranks = ranks_of_scores(torch.cat(queries).cpu() @ there.T, hits)
    values = {"r1": recall_at(ranks, 1), "r10": recall_at(ranks, 10), "mrr": reciprocal_rank(ranks)}
    return {name: float(value.mean()) for name, value in values.items()}
