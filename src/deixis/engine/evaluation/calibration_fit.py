"""Fits and measures a calibration on searches whose answers are known and whose model did not see them.

Such searches are the texts of held-out concepts among pictures. Of each, the first ten results say how often a picture
of such a score is right; and its best score, with its concept in the gallery and with all pictures of it taken out,
says whether anything is there at all. Every figure is cross-validated, a concept being fitted on or measured on.

A picture counts as right where its caption, or its group, is the query's. Others may show the same without being
captioned so, or nearly the same: chances are rather too low than too high, and "nothing" harder to see than it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deixis.data.splits import LARGEST_SHARE, folds
from deixis.engine.evaluation.calibration import Calibration, QueryStats, inputs
from deixis.ops.calibration import (
    Isotonic,
    Logistic,
    brier,
    calibration_error,
    isotonic,
    log_loss,
    logistic,
    reliability,
)
from deixis.ops.stats import Interval, cluster_bootstrap

__all__ = [
    "FALSE_ANSWERS",
    "MIN_CONCEPTS",
    "TOP",
    "CalibrationPoint",
    "CalibrationResult",
    "LabelledQueries",
    "Presence",
    "ask",
    "fit",
]

TOP = 10
"""Results of each search that are looked at."""

MIN_CONCEPTS = 20
"""Concepts below which nothing is fitted: with fewer, one more or less decides the result."""

FALSE_ANSWERS = 0.1
"""Share of searches for what is not there that may be answered, if few enough of the others fall silent with them."""

MOST_MISSED = 0.5
"""Share of searches for what is there that "nothing here matches" may be said to."""

WORTH = 0.6
"""The mean of both shares that are classified correctly, there or not, below which "nothing here matches" is not
said: at half, the sentence would be a coin's."""

_FOLDS, _BLOCK, _HALVES, _DRAWS = 5, 256, 4, 1000


@dataclasses.dataclass(frozen=True)
class LabelledQueries:
    """Searches whose answers are known, each once with its concept in the gallery and once without.

    Attributes:
        top: [Q k 2] inputs of the first results, best first.
        match: [Q k] whether each is of the query's concept.
        concepts: [Q].
        present: [Q 2] inputs of the best result.
        absent: [Q 2] inputs of the best result, all pictures of the concept being taken out.
        halved: [Q 2] the same in a random half of the gallery, on average.
        count: pictures in the gallery.
    """

    top: Float[np.ndarray, "Q k 2"]
    match: Bool[np.ndarray, "Q k"]
    concepts: Int[np.ndarray, " Q"]
    present: Float[np.ndarray, "Q 2"]
    absent: Float[np.ndarray, "Q 2"]
    halved: Float[np.ndarray, "Q 2"]
    count: float

    def __len__(self) -> int:
        return len(self.concepts)

    def take(self, index: Sequence[int]) -> LabelledQueries:
        """The searches at `index`."""
        parts = {f.name: getattr(self, f.name)[list(index)] for f in dataclasses.fields(self) if f.name != "count"}
        return LabelledQueries(**parts, count=self.count)

    @classmethod
    def join(cls, parts: Sequence[LabelledQueries]) -> LabelledQueries:
        """All searches of several galleries; their `count` is the mean."""
        k = min(each.top.shape[1] for each in parts)
        cut = [dataclasses.replace(each, top=each.top[:, :k], match=each.match[:, :k]) for each in parts]
        names = [f.name for f in dataclasses.fields(cls) if f.name != "count"]
        joined = {name: np.concatenate([getattr(each, name) for each in cut]) for name in names}
        return cls(**joined, count=float(np.average([each.count for each in parts], weights=[len(e) for e in parts])))


def ask(
    queries: Float[np.ndarray, "Q D"],
    gallery: Float[np.ndarray, "G D"],
    concepts: Int[np.ndarray, " Q"],
    gallery_concepts: Int[np.ndarray, " G"],
    seed: int = 0,
) -> LabelledQueries:
    """Searches a gallery for each query; queries whose concept it lacks, or holds nothing else, are left out.

    Args:
        queries: unit vectors of texts.
        gallery: unit vectors of pictures.
        concepts: of each query.
        gallery_concepts: of each picture.
        seed: of the halves.
    """
    halves = np.random.default_rng(seed).random((_HALVES, len(gallery))) < 0.5
    parts = []
    for start in range(0, len(queries), _BLOCK):
        queried, scores = concepts[start : start + _BLOCK], queries[start : start + _BLOCK] @ gallery.T
        match = queried[:, None] == gallery_concepts[None, :]
        usable = match.any(1) & ~match.all(1)
        if usable.any():
            parts.append(_labelled(scores[usable].astype(np.float64), match[usable], queried[usable], halves))
    if not parts:
        none = np.zeros((0, 2))
        return LabelledQueries(
            np.zeros((0, 1, 2)), np.zeros((0, 1), bool), concepts[:0], none, none, none, float(len(gallery))
        )
    return LabelledQueries.join(parts)


def _labelled(scores: np.ndarray, match: np.ndarray, concepts: np.ndarray, halves: np.ndarray) -> LabelledQueries:
    k = min(TOP, scores.shape[1])
    rows = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    rows = np.take_along_axis(rows, np.argsort(-np.take_along_axis(scores, rows, 1), axis=1, kind="stable"), 1)
    rest = QueryStats.of(scores)
    top = inputs(np.take_along_axis(scores, rows, 1), rest.mean[:, None], rest.deviation[:, None])  # type: ignore[index]
    others = np.where(match, np.nan, scores)
    mean, deviation = np.nanmean(others, 1), np.nanstd(others, 1)
    without = np.where(match, -np.inf, scores)
    best = without.max(1)
    half = [np.where(each, without, -np.inf).max(1) for each in halves]
    half = [np.where(np.isfinite(each), each, best) for each in half]  # a half without any of them
    absent, halved = inputs(best, mean, deviation), inputs(np.mean(half, axis=0), mean, deviation)
    return LabelledQueries(
        top, np.take_along_axis(match, rows, 1), concepts, top[:, 0], absent, halved, float(scores.shape[1])
    )


# --- fitting ----------------------------------------------------------------------------------------------------------


class CalibrationPoint(NamedTuple):
    """Of results whose reported chance was `told`, the share that matched, with its 95 % interval."""

    told: float
    came: float
    low: float
    high: float
    pairs: int


class Presence(NamedTuple):
    """What a threshold does to queries of concepts that it was not chosen on.

    Attributes:
        threshold: the chance below which nothing is said to match.
        rule: how it was chosen: `false answers` (few of them), or `balanced`.
        false_answers: share of queries that are answered although their concept is absent.
        misses: share of queries to which nothing is said although it is there.
        auc: chance that a query whose concept is there has the better best result than one whose concept is not.
    """

    threshold: float
    rule: str
    false_answers: Interval
    misses: Interval
    auc: float

    @property
    def worth(self) -> bool:
        """Whether enough queries are classified correctly for the threshold to be used."""
        return 1 - (self.false_answers.value + self.misses.value) / 2 >= WORTH


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """A calibration and what it is worth, on concepts that it was not fitted on.

    Attributes:
        calibration: fitted on all.
        queries: how many searches.
        concepts: of how many concepts.
        matched: share of the results at the top that match.
        log_loss: by kind of curve, of which the better was taken.
        brier: of the reported chances.
        error: their expected calibration error.
        points: of the reliability diagram.
        presence: of the threshold, whether or not it is worth using.
    """

    calibration: Calibration
    queries: int
    concepts: int
    matched: float
    log_loss: Mapping[str, float]
    brier: float
    error: float
    points: tuple[CalibrationPoint, ...]
    presence: Presence


def fit(searches: LabelledQueries, count: int | None = None, seed: int = 0) -> CalibrationResult | None:
    """Fits a calibration and measures it; None where there are too few concepts, or nearly all queries are of one.

    Args:
        searches: by a model that was not trained on their concepts.
        count: pictures that matches are as common among as in the galleries, where these are a random sample of it
            with all concepts; None: those of the galleries.
        seed: of the folds.
    """
    counts = np.unique(searches.concepts, return_counts=True)[1]
    if len(counts) < MIN_CONCEPTS or counts.max() > LARGEST_SHARE * len(searches):
        return None
    predicted, there, gone = _cross_validated(searches, seed)
    right, clusters = searches.match.ravel(), np.repeat(searches.concepts, searches.match.shape[1])
    losses = {kind: log_loss(each.ravel(), right) for kind, each in predicted.items()}
    kind = min(losses, key=losses.__getitem__)
    chances = predicted[kind].ravel()
    parts = _Parts.of(searches)
    presence = _presence(searches, parts, there, gone)
    calibration = Calibration(
        evidence=parts.evidence,
        curve=parts.curve if kind == "isotonic" else None,
        presence=parts.presence,
        count=count or round(searches.count),
        searched=round(searches.count),
        growth=parts.growth,
        threshold=presence.threshold if presence.worth else 0.0,
    )
    return CalibrationResult(
        calibration=calibration,
        queries=len(searches),
        concepts=len(counts),
        matched=float(right.mean()),
        log_loss=losses,
        brier=brier(chances, right),
        error=calibration_error(chances, right),
        points=_points(chances, right, clusters),
        presence=presence,
    )


class _Parts(NamedTuple):
    """What is fitted to some searches."""

    evidence: Logistic
    curve: Isotonic
    presence: Logistic
    growth: float

    @classmethod
    def of(cls, searches: LabelledQueries) -> _Parts:
        """The best fit."""
        right = searches.match.ravel()
        evidence = logistic(searches.top.reshape(-1, 2), right)
        there, gone, halved = (evidence.log_odds(each) for each in (searches.present, searches.absent, searches.halved))
        presence = logistic(np.concatenate([there, gone])[:, None], np.repeat([True, False], len(searches)))
        growth = float(np.clip((gone - halved).mean() / math.log(2), 0, 1))
        return cls(evidence, isotonic(evidence.log_odds(searches.top).ravel(), right), presence, growth)


_Predicted = dict[str, Float[np.ndarray, "Q k"]]
_Checks = dict[str, Float[np.ndarray, " Q"]]


def _cross_validated(searches: LabelledQueries, seed: int) -> tuple[_Predicted, _Checks, _Checks]:
    """Chances of results, by kind of curve; and of queries with their concept there, and gone, the chance that it is
    there and whether they are answered: each by what was fitted to other concepts."""
    predicted: _Predicted = {kind: np.zeros(searches.match.shape) for kind in ("logistic", "isotonic")}
    there, gone = ({name: np.zeros(len(searches)) for name in ("chance", "answered")} for _ in range(2))
    for part in folds(searches.concepts.tolist(), _FOLDS, seed):
        fitted, held, test = searches.take(part.train), searches.take(part.test), list(part.test)
        parts = _Parts.of(fitted)
        odds = parts.evidence.log_odds(held.top)
        predicted["logistic"][test], predicted["isotonic"][test] = parts.evidence(held.top), parts.curve(odds)
        threshold, _ = _threshold(*(_present(parts, each) for each in (fitted.present, fitted.absent)))
        for values, best in ((there, held.present), (gone, held.absent)):
            values["chance"][test] = _present(parts, best)
            values["answered"][test] = values["chance"][test] >= threshold
    return predicted, there, gone


def _present(parts: _Parts, best: Float[np.ndarray, "Q 2"]) -> Float[np.ndarray, " Q"]:
    return parts.presence(parts.evidence.log_odds(best)[:, None])


def _threshold(there: Float[np.ndarray, " Q"], gone: Float[np.ndarray, " Q"]) -> tuple[float, str]:
    """The lowest chance at which few enough are answered in vain, or else the one that is right most often; at neither
    may too many be missed."""
    values = np.unique(np.concatenate([there, gone]))
    places = np.append(values[0], (values[1:] + values[:-1]) / 2)
    false = 1 - np.searchsorted(np.sort(gone), places) / len(gone)
    misses = np.searchsorted(np.sort(there), places) / len(there)
    few = (false <= FALSE_ANSWERS) & (misses <= MOST_MISSED)
    if few.any():
        return float(places[np.argmax(few)]), "false answers"
    wrong = np.where(misses <= MOST_MISSED, false + misses, np.inf)
    return float(places[np.argmin(wrong)]), "balanced"


def _presence(searches: LabelledQueries, parts: _Parts, there: _Checks, gone: _Checks) -> Presence:
    threshold, rule = _threshold(*(_present(parts, each) for each in (searches.present, searches.absent)))
    false = _interval(gone["answered"] > 0, searches.concepts)
    misses = _interval(there["answered"] == 0, searches.concepts)
    ordered = np.sort(gone["chance"])
    below = sum(np.searchsorted(ordered, there["chance"], side) for side in ("left", "right"))
    return Presence(threshold, rule, false, misses, float(np.mean(below) / (2 * len(ordered))))


def _points(
    chances: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> tuple[CalibrationPoint, ...]:
    found = []
    for each in reliability(chances, right):
        came, low, high = _interval(right[each.members], clusters[each.members])
        found.append(CalibrationPoint(each.told, came, low, high, len(each.members)))
    return tuple(found)


def _interval(values: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]) -> Interval:
    """A share with its interval over concepts, no narrower than independent cases would have it: where none or all are
    right, resampling finds no uncertainty."""
    share = float(values.mean())
    low, high = _wilson(share, len(values))
    if len(np.unique(clusters)) > 1:
        around = cluster_bootstrap(values.astype(np.float64), clusters, draws=_DRAWS)
        low, high = min(low, around.low), max(high, around.high)
    return Interval(share, low, high)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of independent cases (Wilson, 1927)."""
    z = 1.96
    middle, wide = share + z**2 / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return max(0.0, (middle - wide) / (1 + z**2 / count)), min(1.0, (middle + wide) / (1 + z**2 / count))
