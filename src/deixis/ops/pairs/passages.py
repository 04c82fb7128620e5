"""A query and its passages, the first of which answers it: contrastive losses with hard negatives, mixed ones,
shorter vectors, and a teacher.

Vectors are normalised here, so that all similarities are cosines. The vectors are those of this rank, and the mean over
ranks of what is returned is the loss of all samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.collective import gather, mean_count, own_rows
from deixis.ops.text.weighting import focal_weight

__all__ = [
    "Ranking",
    "as_passages",
    "distil_rows",
    "harder_than_positive",
    "log_probability",
    "matryoshka",
    "mix_list",
    "mix_pairs",
    "ranking_loss",
]


def as_passages(value: str | Sequence[str]) -> tuple[str, ...]:
    """The passages of a query, its answer first; a text alone is the answer."""
    return (value,) if isinstance(value, str) else tuple(value)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Which passages a query's own is compared with, and how queries count.

    Attributes:
        temperature: that cosines are divided by.
        gamma: exponent of the focal weight (1 - p)^gamma; 0 is InfoNCE.
        detached: the weight is a constant; else its gradient counts, too.
        negatives: all passages of the `batch`, the first passages of it (`in-batch`), or the query's own (`group`).
        expanded: queries are compared with queries, too, and first passages with first passages.
        drop_harder: mixed negatives that are nearer to the query than its first passage are left out.
    """

    temperature: float = 0.05
    gamma: float = 0.0
    detached: bool = False
    negatives: Literal["batch", "in-batch", "group"] = "batch"
    expanded: bool = False
    drop_harder: bool = False

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"the temperature is {self.temperature}, and must be above 0")


def log_probability(
    query: Float[Tensor, "B D"],
    passage: Float[Tensor, "B G D"],
    how: Ranking,
    mixed: Float[Tensor, "B Y D"] | None = None,
) -> Float[Tensor, " B"]:
    """The logarithm of p, the softmax of a query's cosine with its first passage over all that it is compared with.

    Args:
        query: one vector a query.
        passage: of each query G passages, the first of which answers it.
        how: which passages compete.
        mixed: further negatives of each query, in its own denominator alone; of length 1.
    """
    query, passage = F.normalize(query, dim=-1), F.normalize(passage, dim=-1)
    first = (query * passage[:, 0]).sum(1) / how.temperature
    logits = [_compared(query, passage, how.negatives) / how.temperature]
    if how.expanded:
        logits += [_others(query) / how.temperature, _others(passage[:, 0]) / how.temperature]
    if mixed is not None:
        own = torch.einsum("bd,byd->by", query, mixed) / how.temperature
        logits.append(own.masked_fill(own > first[:, None], -torch.inf) if how.drop_harder else own)
    return first - torch.cat(logits, dim=1).logsumexp(1)


def ranking_loss(
    query: Float[Tensor, "B D"],
    passage: Float[Tensor, "B G D"],
    how: Ranking,
    mixed: Float[Tensor, "B Y D"] | None = None,
) -> Float[Tensor, ""]:
    """The mean over queries of -(1 - p)^gamma log p; arguments as of `log_probability`.

    Source: Zhao et al., KaLM-Embedding-V2 (2025), with the focal weight of Lin et al. (2017).
    """
    logs = log_probability(query, passage, how, mixed)
    weight = focal_weight(logs.exp(), how.gamma)
    losses = -(weight.detach() if how.detached else weight) * logs
    return losses.sum() / mean_count(float(len(losses)))


def _compared(query: Tensor, passage: Tensor, negatives: str) -> Tensor:
    """Cosines of each query with its competitors, its own first passage among them."""
    if negatives == "group":
        return torch.einsum("bd,bgd->bg", query, passage)
    return query @ gather(passage[:, 0] if negatives == "in-batch" else passage.flatten(0, 1)).T


def _others(rows: Tensor) -> Tensor:
    """Cosines of each row with all others, of all ranks."""
    everyone, mine = gather(rows), own_rows(len(rows), rows.device)
    itself = torch.arange(len(everyone), device=rows.device)[mine]
    return (rows @ everyone.T).scatter(1, itself[:, None], -torch.inf)


def mix_pairs(
    negatives: Float[Tensor, "B M D"], pairs: Int64[Tensor, "B Y 2"], share: Float[Tensor, "B Y"]
) -> Float[Tensor, "B Y D"]:
    """unit(share a + (1 - share) b) of pairs of a query's own negatives, with gradient to both.

    Args:
        negatives: of each query; they are normalised first.
        pairs: which two of the M are mixed.
        share: of the first of them.
    """
    unit = F.normalize(negatives, dim=-1)
    rows = torch.arange(len(unit), device=unit.device)[:, None]
    first, second = unit[rows, pairs[..., 0]], unit[rows, pairs[..., 1]]
    return F.normalize(share[..., None] * first + (1 - share[..., None]) * second, dim=-1)


def mix_list(
    query: Float[Tensor, "B D"], negatives: Float[Tensor, "B M D"], temperature: float
) -> tuple[Float[Tensor, "B 1 D"], Float[Tensor, "B M"]]:
    """One mix of all of a query's negatives, weighted by the softmax of their cosines with it; and the weights.

    Args:
        query: one vector a query.
        negatives: its own.
        temperature: of the softmax.
    """
    unit = F.normalize(negatives, dim=-1)
    weight = (torch.einsum("bd,bmd->bm", F.normalize(query, dim=-1), unit) / temperature).softmax(1)
    return F.normalize(torch.einsum("bm,bmd->bd", weight, unit), dim=-1)[:, None], weight


def harder_than_positive(
    query: Float[Tensor, "B D"], positive: Float[Tensor, "B D"], mixed: Float[Tensor, "B Y D"]
) -> Bool[Tensor, "B Y"]:
    """Which mixed negatives are nearer to the query than what answers it; they may lie on the answer."""
    query, positive = F.normalize(query, dim=-1), F.normalize(positive, dim=-1)
    return torch.einsum("bd,byd->by", query, mixed) > (query * positive).sum(1, keepdim=True)


def matryoshka(
    loss: Callable[..., Float[Tensor, ""]], dims: Sequence[int], weights: Sequence[float]
) -> Callable[..., Float[Tensor, ""]]:
    """The loss of vectors cut to their first coordinates and normalised again, summed over lengths with weights.

    With the full width alone, and the weight 1, it is the loss.

    Source: Kusupati et al., Matryoshka Representation Learning (2022).

    Args:
        loss: takes vectors, in their last axis.
        dims: lengths to which they are cut.
        weights: of the lengths; they need not sum to 1.

    Raises:
        ValueError: not as many weights as lengths, or a length of 0.
    """
    if len(dims) != len(weights) or not dims or min(dims) < 1:
        raise ValueError(f"{len(weights)} weights for the lengths {tuple(dims)}: give one each, and lengths above 0")

    def summed(*vectors: Float[Tensor, "*_ D"]) -> Float[Tensor, ""]:
        if max(dims) > min(each.shape[-1] for each in vectors):
            raise ValueError(f"a length of {max(dims)}, and vectors of {min(each.shape[-1] for each in vectors)}")
        cut = [loss(*(F.normalize(each[..., :size], dim=-1) for each in vectors)) for size in dims]
        return torch.stack([weight * each for weight, each in zip(weights, cut, strict=True)]).sum()

    return summed


def distil_rows(
    student: tuple[Float[Tensor, "B D"], Float[Tensor, "B G D"]],
    teacher: tuple[Float[Tensor, "B E"], Float[Tensor, "B G E"]],
    temperature: float,
    own_group: bool = False,
) -> Float[Tensor, ""]:
    """The mean over queries of KL(teacher's row || student's row), rows being softmax(cosine / temperature) over the
    passages of the batch.

    Args:
        student: queries and passages.
        teacher: the same of another width, perhaps; no gradient reaches them.
        temperature: of both; the divergence is not multiplied by its square.
        own_group: over a query's own passages alone.
    """
    negatives = "group" if own_group else "batch"
    logs = []
    for query, passage in (student, (teacher[0].detach(), teacher[1].detach())):
        cosines = _compared(F.normalize(query, dim=-1), F.normalize(passage, dim=-1), negatives)
        logs.append(cosines / temperature)
    own, right = (each.log_softmax(1) for each in logs)
    return (right.exp() * (right - own)).sum() / mean_count(float(len(own)))
