"""Pictures compared in one respect, by what a column says of them: in which way is learned, and judged on held-out
concepts.

What towers say of pictures is computed once. Three ways are tried beside the plain vectors:

* span: vectors are projected on the span of the vectors of the values' texts; nothing is trained;
* weights: the entries of vectors are weighed so that they meet the text of their value;
* classifier: a linear classifier of the values reads the tower's features, and its answers are compared.

Which one a division takes is chosen from the others, so that no choice is judged by what it was made on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.data.splits import Split
from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.evaluate import TEST_STATISTIC, Values
from deixis.ops.logistic import linear_layer
from deixis.ops.similarity.identity import identity_ranks
from deixis.ops.similarity.subspaces import span_of
from deixis.types.outputs import ImageStates

__all__ = [
    "ALIKE",
    "FIRST",
    "RESPECT_WAYS",
    "RespectMap",
    "RespectTable",
    "RespectWay",
    "alike_values",
    "fit",
    "respect_arms",
]

RespectWay = Literal["span", "weights", "classifier"]
"""How pictures are compared in one respect."""

RESPECT_WAYS: tuple[RespectWay, ...] = get_args(RespectWay)

ALIKE, FIRST = "alike", 10
"""The metric: how many of the first so many pictures share the value."""

_SCALE, _STEPS, _RATE, _PENALTY = 30.0, 60, 0.05, 1e-4


@dataclasses.dataclass(frozen=True)
class RespectTable:
    """Pictures and what one column says of them.

    Attributes:
        states: what the towers say of the pictures.
        ids: which value each has; -1 where that is not known.
        texts: vectors of the values' words.
    """

    states: ImageStates
    ids: Int64[Tensor, " N"]
    texts: Float[Tensor, "C D"]

    def take(self, rows: Sequence[int]) -> RespectTable:
        """Some of the pictures."""
        index = torch.as_tensor(rows, dtype=torch.long)
        return RespectTable(_some(self.states, index), self.ids[index], self.texts)


def _some(states: ImageStates, index: Tensor) -> ImageStates:
    return ImageStates(*(getattr(states, field.name)[index] for field in dataclasses.fields(states)))


@dataclasses.dataclass(frozen=True)
class RespectMap:
    """One way of comparing, fitted.

    Attributes:
        way: which.
        weight: of `span` the projection [D, D], of `weights` a row [1, D], of `classifier` weights and, in the last
            column, intercepts [C, F + 1].
    """

    way: RespectWay
    weight: Float[Tensor, "R K"]

    @torch.no_grad()
    def __call__(self, states: ImageStates) -> Float[Tensor, "N K"]:
        """Vectors of length 1, to be compared by the cosine.

        Args:
            states: what the towers say of pictures.
        """
        if self.way == "span":
            return F.normalize(states.embedding @ self.weight, dim=1)
        if self.way == "weights":
            return F.normalize(states.embedding * self.weight, dim=1)
        logits = F.normalize(states.features, dim=1) @ self.weight[:, :-1].T + self.weight[:, -1]
        return F.normalize(logits.softmax(1), dim=1)


def fit(way: RespectWay, table: RespectTable) -> RespectMap:
    """Fits one way to pictures whose values are known.

    Args:
        way: which.
        table: pictures; those without a value teach nothing.
    """
    if way == "span":
        return RespectMap(way, span_of(table.texts))
    known = table.take((table.ids >= 0).nonzero()[:, 0].tolist())
    return RespectMap(way, (_weights if way == "weights" else _classifier)(known))


def _classifier(table: RespectTable) -> Float[Tensor, "C K"]:
    weight, intercept = linear_layer(table.states.features, table.ids, len(table.texts), _PENALTY)
    return torch.cat([weight, intercept[:, None]], dim=1).to(table.states.features)


def _weights(table: RespectTable) -> Float[Tensor, "1 D"]:
    images = table.states.embedding.clone()
    shift = torch.zeros(1, images.shape[1], requires_grad=True)
    optimiser = torch.optim.AdamW([shift], lr=_RATE, weight_decay=0.0)
    for _ in range(_STEPS):
        logits = _SCALE * F.normalize(images * (1 + shift), dim=1) @ table.texts.T
        optimiser.zero_grad()
        F.cross_entropy(logits, table.ids).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return (1 + shift).detach()


def alike_values(vectors: Float[Tensor, "N K"], ids: Int64[Tensor, " N"]) -> Values:
    """Of each picture whose value others have, too: how many of the first ten among the others share it (`ALIKE`), and
    the logarithm of the average precision with which it finds them.

    Args:
        vectors: of length 1, of pictures whose value is known.
        ids: their values.
    """
    rows = torch.arange(len(ids))
    shared = ids.bincount(minlength=int(ids.max()) + 1)[ids] > 1
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    first = scores.topk(min(FIRST, len(ids) - 1), dim=1).indices
    alike = (ids[first] == ids[:, None]).double().sum(1)
    found = identity_ranks(vectors, vectors, ids, ids, rows)
    evidence = found.precision.double().clamp(min=1e-9).log()
    return {ALIKE: alike[shared].numpy(), TEST_STATISTIC: evidence[shared].numpy()}


def respect_arms(
    table: RespectTable,
    groups: Sequence[int],
    splits: Sequence[Split],
    on_division: Callable[[int], None] | None = None,
) -> dict[str, AdaptationArm]:
    """What each way reaches on the held-out part of each division, beside the plain vectors.

    Args:
        table: all pictures.
        groups: their concepts.
        splits: divisions of the pictures; those without a value count on neither side.
        on_division: called with the index of each when it is measured.
    """
    results: Mapping[RespectWay, list[SplitResult]] = {way: [] for way in RESPECT_WAYS}
    for index, each in enumerate(splits):
        held = [row for row in each.test if table.ids[row] >= 0]
        test = table.take(held)
        measure = functools.partial(alike_values, ids=test.ids)
        shared = (test.ids.bincount(minlength=len(table.texts))[test.ids] > 1).tolist()
        queries = tuple(row for row, is_shared in zip(held, shared, strict=True) if is_shared)
        before = measure(F.normalize(test.states.embedding, dim=1))
        for way in RESPECT_WAYS:
            after = measure(fit(way, table.take(each.train))(test.states))
            results[way].append(SplitResult(index, queries, before, after, (None, None), None))
        if on_division:
            on_division(index)
    return {way: AdaptationArm(tuple(each), tuple(groups)) for way, each in results.items()}
