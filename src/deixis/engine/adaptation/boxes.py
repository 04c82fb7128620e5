"""Whether one's own boxes teach a ranker of proposals to find what phrases name: cross-validation over pictures.

Each division holds out a fifth of the groups of pictures. On the others the penalty is chosen by cross-validation,
again over groups, among some and an infinite one, with which nothing is learned; or another method, that needs nothing
learned, is chosen in their place. What is measured on the held-out phrases is judged as adapting to captions is
(`engine.adaptation.verdict`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.data.splits import folds
from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.divisions import division_seed
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.grounders import TextRow, run_on_texts
from deixis.engine.evaluation.grounding import IOU, PhraseAnswer, PhraseQuery
from deixis.ops.regions.boxes import pairwise_iou
from deixis.ops.regions.ranking import rank_weights
from deixis.types.outputs import RankedBoxes
from deixis.types.protocols import HasCandidates

__all__ = [
    "PENALTIES",
    "BoxDivision",
    "BoxTable",
    "Values",
    "answer_values",
    "choose",
    "cross_validate",
    "phrase_values",
    "table_of",
    "weights_of",
]

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""That are compared, beside an infinite one."""

_FOLDS, _INNER = 5, 3

Values = Mapping[str, Float[np.ndarray, " N"]]
"""What was measured of each phrase, by name."""


@dataclasses.dataclass(frozen=True)
class BoxTable:
    """Phrases about pictures, and the candidates of each.

    Attributes:
        rows: the candidates.
        overlaps: IoU of each candidate with the nearest box that the phrase names.
        hits: whether the middle of a candidate lies in one.
        groups: of the picture of each phrase; equal ones stay on one side.
        kinds: how many features there are of each kind.
        overlap: the IoU from which a candidate is right.
    """

    rows: tuple[RankedBoxes, ...]
    overlaps: tuple[Float[Tensor, " _"], ...]
    hits: tuple[Bool[Tensor, " _"], ...]
    groups: tuple[int, ...]
    kinds: tuple[int, ...]
    overlap: float

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Sequence[int]) -> BoxTable:
        """The phrases at `index`."""
        columns = (self.rows, self.overlaps, self.hits, self.groups)
        rows, overlaps, hits, groups = (tuple(column[i] for i in index) for column in columns)
        return BoxTable(rows, overlaps, hits, groups, self.kinds, self.overlap)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class BoxDivision:
    """What a division chose.

    Attributes:
        index: of the division.
        penalty: infinite where nothing was learned; None where the other method was chosen.
    """

    index: int
    penalty: float | None


def table_of(
    method: HasCandidates, data: EvalSet, queries: Sequence[PhraseQuery], progress: Callable[[int, int], None]
) -> BoxTable:
    """The candidates of each phrase, by the detector and the encoder of a method.

    Args:
        method: whose parts see the pictures.
        data: the pictures.
        queries: phrases about them, with the boxes that they name.
        progress: receives how many phrases are done.
    """

    def run(pixels: Tensor, tokens: Tensor, real: Tensor, rows: Sequence[TextRow]) -> Iterable[RankedBoxes]:
        for each, row in zip(method.candidates(pixels, tokens, real), rows, strict=True):
            start, stop = each.boxes.new_tensor(row.window[:2] * 2), each.boxes.new_tensor(row.window[2:] * 2)
            yield RankedBoxes(
                (start + each.boxes.float() * (stop - start)).clamp(0, 1).cpu(),
                each.features.float().cpu(),
                each.offsets.float().cpu(),
            )

    rows = run_on_texts(method, data, [(query.picture, query.phrase) for query in queries], run, progress)
    return BoxTable(
        tuple(rows),
        tuple(pairwise_iou(row.boxes, query.boxes).amax(1) for row, query in zip(rows, queries, strict=True)),
        tuple(_hits(row.boxes, query.boxes) for row, query in zip(rows, queries, strict=True)),
        tuple(data.groups[query.picture] for query in queries),
        method.feature_groups(),
        IOU,
    )


def _hits(boxes: Float[Tensor, "Q 4"], named: Float[Tensor, "N 4"]) -> Bool[Tensor, " Q"]:
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return ((middle >= named[:, :2]) & (middle <= named[:, 2:])).all(2).any(1)


def weights_of(table: BoxTable, penalties: Sequence[float]) -> list[Float[Tensor, " F"]]:
    """The weights that a table teaches, for each penalty; zeros for an infinite one."""
    finite = [each for each in penalties if each != float("inf")]
    features, offsets = [row.features for row in table.rows], [row.offsets for row in table.rows]
    found = rank_weights(features, offsets, table.overlaps, table.kinds, finite, table.overlap) if finite else []
    known = dict(zip(finite, found, strict=True))
    nothing = torch.zeros(sum(table.kinds), dtype=torch.float64)
    return [known.get(each, nothing) for each in penalties]


def phrase_values(table: BoxTable, weight: Float[Tensor, " F"]) -> dict[str, Float[np.ndarray, " N"]]:
    """Of each phrase: whether its best candidate is right, whether the middle of it lies in a box that is named, and
    minus the logarithm of the place of the first right candidate; where none is right, the place behind all of them."""
    scores = (row.offsets.double() + row.features.double() @ weight for row in table.rows)
    return _values(scores, table.overlaps, table.hits, table.overlap)


def answer_values(
    answers: Sequence[PhraseAnswer], queries: Sequence[PhraseQuery]
) -> dict[str, Float[np.ndarray, " N"]]:
    """The same of the boxes that a method gives itself.

    Args:
        answers: what it gives for each phrase.
        queries: the phrases, with the boxes that they name.
    """
    pairs = list(zip(answers, queries, strict=True))
    return _values(
        (answer.scores.double() for answer in answers),
        [pairwise_iou(answer.boxes, query.boxes).amax(1) for answer, query in pairs],
        [_hits(answer.boxes, query.boxes) for answer, query in pairs],
        IOU,
    )


def _values(
    scores: Iterable[Float[Tensor, " _"]],
    overlaps: Sequence[Float[Tensor, " _"]],
    hits: Sequence[Bool[Tensor, " _"]],
    overlap: float,
) -> dict[str, Float[np.ndarray, " N"]]:
    right, hit, place = np.zeros(len(overlaps)), np.zeros(len(overlaps)), np.ones(len(overlaps))
    for number, (values, near, inside) in enumerate(zip(scores, overlaps, hits, strict=True)):
        if not len(values):
            continue
        good, best = near >= overlap, int(values.argmax())
        right[number], hit[number] = bool(good[best]), bool(inside[best])
        ahead = int((values > values[good].amax()).sum()) if bool(good.any()) else len(values)
        place[number] = ahead + 1
    return {"box_accuracy": right, "box_pointing": hit, TEST_STATISTIC: -np.log(place)}


def choose(table: BoxTable, seed: int, other: Values | None = None) -> float | None:
    """What puts right boxes of pictures that were not learned from first, by `TEST_STATISTIC`.

    Args:
        table: phrases.
        seed: of the folds.
        other: what was measured of another method on the same phrases, from none of which it learned.

    Returns:
        One of `PENALTIES`, or infinity where none is better than learning nothing; None for the other method, where it
        is better than all of these.
    """
    candidates = (float("inf"), *PENALTIES)
    values = np.zeros(len(candidates))
    if len(set(table.groups)) >= _INNER:
        for each in folds(table.groups, _INNER, seed):
            weights, test = weights_of(table.take(each.train), candidates), table.take(each.test)
            values += [phrase_values(test, weight)[TEST_STATISTIC].sum() for weight in weights]
        if other is not None and other[TEST_STATISTIC].sum() > values.max():
            return None
    return candidates[int(values.argmax())]


def cross_validate(
    table: BoxTable,
    seed: int,
    repeats: int = 2,
    progress: Callable[[int, int], None] | None = None,
    other: Values | None = None,
) -> tuple[AdaptationArm, list[BoxDivision]]:
    """Values of each phrase before, and after learning from other groups; each is held out once a repeat.

    Args:
        table: phrases.
        seed: of the folds.
        repeats: how often all phrases are dealt out.
        progress: receives how many divisions are done.
        other: as for `choose`.

    Raises:
        DeixisError: there are too few groups, or one that holds nearly all.
    """
    nothing = torch.zeros(sum(table.kinds), dtype=torch.float64)
    before = phrase_values(table, nothing)
    results, chosen = list[SplitResult](), list[BoxDivision]()
    for repeat in range(repeats):
        for each in folds(table.groups, _FOLDS, division_seed(seed, repeat)):
            index, train, held = len(results), table.take(each.train), list(each.test)
            known = None if other is None else {name: values[list(each.train)] for name, values in other.items()}
            penalty = choose(train, division_seed(seed, repeat), known)
            if penalty is not None:
                after = phrase_values(table.take(held), weights_of(train, (penalty,))[0])
            else:
                assert other is not None
                after = {name: values[held] for name, values in other.items()}
            own = {name: values[held] for name, values in before.items()}
            results.append(SplitResult(index, each.test, own, after, (None, None), None))
            chosen.append(BoxDivision(index, penalty))
            if progress is not None:
                progress(index + 1, repeats * _FOLDS)
    return AdaptationArm(tuple(results), table.groups), chosen
