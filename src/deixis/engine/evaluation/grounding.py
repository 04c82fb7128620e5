"""Phrases about pictures, what models say of them, and what that is measured by: boxes, where they are right, and
whether anything is there at all."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.data.loading.crops import WHOLE, Window, region_mask
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.output import Column, QueryValues
from deixis.errors import DeixisError
from deixis.inputs.phrases import parse_phrase
from deixis.ops.regions.boxes import box_area, box_union, giou, pairwise_iou
from deixis.types import Region, Sample

__all__ = [
    "FAMILIES",
    "GroundingResult",
    "PhraseAnswer",
    "PhraseQuery",
    "grounding_values",
    "is_right",
    "phrase_family",
    "phrase_queries",
]

IOU = 0.5
"""A box is right from this overlap on, as in all benchmarks of phrases."""

FALSE_ANSWERS = 0.05
"""The share of absent phrases that may be answered where thresholds are compared."""

FAMILIES = ("noun", "plural", "place", "size", "colour", "relation", "other")
"""What tells the thing that is meant from others; `other` are phrases without a noun."""

_PLACES = ("leftmost", "rightmost", "topmost", "lowest")
_SIZES = {"small": 0.05, "medium": 0.25}
"""Boxes up to these shares of the picture; above, they are large."""


@dataclasses.dataclass(frozen=True)
class PhraseQuery:
    """A phrase about a picture.

    Attributes:
        picture: by its place.
        phrase: in words.
        family: one of `FAMILIES`.
        regions: those that the phrase names; none where the picture shows no such thing.
    """

    picture: int
    phrase: str
    family: str
    regions: tuple[Region, ...]

    @property
    def boxes(self) -> Float[Tensor, "N 4"]:
        """Of its regions."""
        return torch.tensor([region.box for region in self.regions], dtype=torch.float32).reshape(-1, 4)


@dataclasses.dataclass(frozen=True)
class PhraseAnswer:
    """What a model says of a phrase.

    Attributes:
        boxes: the best first, in shares of the picture.
        scores: of the boxes; one without area is a point, which no overlap is measured of.
        given: the boxes that are its answer; none where nothing there is what the phrase names; None: it never says so.
        threshold: the score that an answer needs, where the model has one for the phrase.
        source: what the best box rests on, where the model says so.
        mask: the pixels of what is named; None where the model makes no masks.
        window: the part of the picture that the mask covers.
    """

    boxes: Float[Tensor, "K 4"]
    scores: Float[Tensor, " K"]
    given: Float[Tensor, "M 4"] | None = None
    threshold: float = 1.0
    source: str = ""
    mask: Bool[Tensor, "H W"] | None = None
    window: Window = WHOLE

    @property
    def confidence(self) -> float:
        """The highest score as a multiple of what this phrase needs; minus infinity where there is no box."""
        return float(self.scores[0]) / self.threshold if len(self.scores) else -float("inf")

    @property
    def is_point(self) -> bool:
        """Whether it says where, but not how large."""
        return len(self.boxes) > 0 and not bool(box_area(self.boxes).any())


class GroundingResult(NamedTuple):
    """All that was measured of one model.

    Attributes:
        data: the pictures.
        queries: phrases about them.
        answers: one each.
    """

    data: EvalSet
    queries: Sequence[PhraseQuery]
    answers: Sequence[PhraseAnswer]


def is_right(query: PhraseQuery, answer: PhraseAnswer) -> bool:
    """Whether the best box that is the answer is one of a thing named, or nothing is answered where nothing is."""
    if answer.given is not None and not len(answer.given):
        return not query.regions
    first = answer.boxes[:1] if answer.given is None else answer.given[:1]
    return bool((pairwise_iou(first, query.boxes) >= IOU).any())


def phrase_queries(samples: Sequence[Sample]) -> list[PhraseQuery]:
    """The phrases of samples, each once a picture, and those that stand in `extra["absent"]`.

    Regions of one picture that have a phrase in common are all meant by it.
    """
    found = []
    for place, sample in enumerate(samples):
        named: dict[str, list[Region]] = collections.defaultdict(list)
        relates: dict[str, bool] = collections.defaultdict(bool)
        for region in sample.regions:
            for phrase in region.phrases:
                named[phrase.text].append(region)
                relates[phrase.text] |= bool(phrase.relates)
        for text, regions in named.items():
            found.append(PhraseQuery(place, text, phrase_family(text, len(regions), relates[text]), tuple(regions)))
        for text in dict.fromkeys(sample.extra.get("absent") or ()):
            if text not in named:
                found.append(PhraseQuery(place, text, phrase_family(text), ()))
    return found


def phrase_family(text: str, regions: int = 1, relates: bool = False) -> str:
    """Which of `FAMILIES` a phrase is of.

    Args:
        text: the phrase.
        regions: how many it names.
        relates: whether it speaks of another thing.

    >>> [phrase_family(each) for each in ("a dog", "the red car", "the car on the left", "the car left of a bus")]
    ['noun', 'colour', 'place', 'relation']
    """
    try:
        said = parse_phrase(text)
    except DeixisError:  # it names nothing
        return "other"
    if relates or said.anchor is not None:
        return "relation"
    if said.sides or said.extreme in _PLACES:
        return "place"
    if said.size or said.extreme:
        return "size"
    if said.colours:
        return "colour"
    return "plural" if regions > 1 and said.count != 1 else "noun"


# --- one value a phrase -----------------------------------------------------------------------------------------------


def grounding_values(
    data: EvalSet, queries: Sequence[PhraseQuery], answers: Sequence[PhraseAnswer], conditions: bool = True
) -> dict[Column, QueryValues]:
    """All that can be measured of answers: overlap and pointing of the phrases of things that are there, by family,
    size of the box and source; how well these are told from absent ones; masks, where there are any on both sides.

    Args:
        data: the pictures.
        queries: phrases about them.
        answers: one each.
        conditions: whether values stand by family, size and source, too.
    """
    pairs = list(zip(queries, answers, strict=True))
    there = [(query, answer) for query, answer in pairs if query.regions]
    gone = [(query, answer) for query, answer in pairs if not query.regions]
    columns = {name: [(pair[0], measure(*pair)) for pair in there] for name, measure in _MEASURES.items()}
    found = {Column(name): column for name, column in columns.items()}
    for name in _BY_CONDITION if conditions else ():
        for condition, places in _conditions(there).items():
            found[Column(name, condition)] = [columns[name][place] for place in places]
    found |= {Column(name): column for name, column in _absent(there, gone).items()}
    found |= {Column(name): column for name, column in _masks(there).items()}
    return {column: _collected(data, values) for column, values in found.items() if _known(values)}


_Values = list[tuple[PhraseQuery, float]]
_Pairs = list[tuple[PhraseQuery, PhraseAnswer]]


def _known(values: _Values) -> bool:
    return any(np.isfinite(value) for _, value in values)


def _collected(data: EvalSet, values: _Values) -> QueryValues:
    """Those that are known; what is of one picture, or of a copy of it, errs together."""
    known = [(query, value) for query, value in values if np.isfinite(value)]
    first = {digest: number for number, digest in reversed(list(enumerate(data.hashes)))}
    return QueryValues(
        np.array([value for _, value in known], dtype=np.float64),
        tuple(f"{data.ids[query.picture]}: {query.phrase}" for query, _ in known),
        np.array([first[data.hashes[query.picture]] for query, _ in known], dtype=np.int64),
    )


def _any(query: PhraseQuery, answer: PhraseAnswer, count: int) -> float:
    """Whether one of the first boxes is right about one of the things named."""
    if answer.is_point:
        return np.nan
    return float(bool((pairwise_iou(answer.boxes[:count], query.boxes) >= IOU).any()))


def _merged(query: PhraseQuery, answer: PhraseAnswer, count: int) -> float:
    """The same with all things named inside one box."""
    if answer.is_point:
        return np.nan
    return float(bool((pairwise_iou(answer.boxes[:count], box_union(query.boxes)[None]) >= IOU).any()))


def _accuracy(query: PhraseQuery, answer: PhraseAnswer) -> float:
    """Of phrases that name one thing; else NaN."""
    return _any(query, answer, 1) if len(query.regions) == 1 else np.nan


def _accuracy_giou(query: PhraseQuery, answer: PhraseAnswer) -> float:
    if len(query.regions) != 1 or answer.is_point:
        return np.nan
    return float(bool(len(answer.boxes)) and bool(giou(answer.boxes[:1], query.boxes)[0] >= IOU))


def _pointing(query: PhraseQuery, answer: PhraseAnswer) -> float:
    """Whether the middle of the best box lies in the box of a thing named."""
    if not len(answer.boxes):
        return 0.0
    middle = (answer.boxes[0, :2] + answer.boxes[0, 2:]) / 2
    inside = (query.boxes[:, :2] <= middle) & (middle <= query.boxes[:, 2:])
    return float(bool(inside.all(1).any()))


def _f1(query: PhraseQuery, answer: PhraseAnswer) -> float:
    """Of the boxes that are the answer, each of them right about one thing at the most."""
    if len(query.regions) < 2 or answer.given is None:
        return np.nan
    left = pairwise_iou(answer.given, query.boxes)
    right = 0
    while left.numel() and float(left.max()) >= IOU:
        row, column = divmod(int(left.argmax()), left.shape[1])
        left[row], left[:, column] = -1.0, -1.0
        right += 1
    return 2 * right / (len(answer.given) + len(query.regions))


_MEASURES: Mapping[str, Callable[[PhraseQuery, PhraseAnswer], float]] = {
    **{f"any_r{k}": functools.partial(_any, count=k) for k in (1, 5, 10)},
    **{f"merged_r{k}": functools.partial(_merged, count=k) for k in (1, 5, 10)},
    "accuracy": _accuracy,
    "accuracy_giou": _accuracy_giou,
    "pointing": _pointing,
    "several_f1": _f1,
}
_BY_CONDITION = ("accuracy", "pointing")


def _conditions(pairs: _Pairs) -> dict[str, list[int]]:
    """Condition -> the places of the phrases under it."""
    found: dict[str, list[int]] = {}
    for place, (query, answer) in enumerate(pairs):
        area = float(box_area(query.boxes).max())
        size = next((name for name, most in _SIZES.items() if area <= most), "large")
        sources = [f"source {answer.source}"] if answer.source else []
        for condition in (f"family {query.family}", f"size {size}", *sources):
            found.setdefault(condition, []).append(place)
    return dict(sorted(found.items()))


def _absent(there: _Pairs, gone: _Pairs) -> dict[str, _Values]:
    """How phrases of things that are there, and of others, are told apart by the confidence: `auroc` (the share of
    absent phrases with less of it, half of those with the same), answers given to both at the model's own threshold,
    and, with thresholds that `FALSE_ANSWERS` of the absent ones pass, which of the others pass them and are pointed at
    rightly."""
    if not gone or not there:
        return {}
    levels = np.sort([answer.confidence for _, answer in gone])
    bar = levels[::-1][int(FALSE_ANSWERS * len(levels))]
    return {
        "auroc": [(query, _share_below(levels, answer.confidence)) for query, answer in there],
        "false_answers": [(query, _is_given(answer)) for query, answer in gone],
        "answered": [(query, _is_given(answer)) for query, answer in there],
        "found_at_5": [(query, float(answer.confidence > bar) * _pointing(query, answer)) for query, answer in there],
    }


def _is_given(answer: PhraseAnswer) -> float:
    return np.nan if answer.given is None else float(len(answer.given) > 0)


def _share_below(ordered: Float[np.ndarray, " N"], score: float) -> float:
    low, high = np.searchsorted(ordered, score, "left"), np.searchsorted(ordered, score, "right")
    return float(low + high) / 2 / len(ordered)


def _masks(pairs: _Pairs) -> dict[str, _Values]:
    """IoU of masks with those of all things named; `mask_overall` has the pixels of all phrases in one fraction."""
    rows = list(_mask_pixels(pairs))
    whole = sum(either for _, _, either in rows) / max(1, len(rows))
    return {
        "mask_iou": [(query, both / either) for query, both, either in rows],
        "mask_overall": [(query, both / whole) for query, both, _ in rows],
    }


def _mask_pixels(pairs: _Pairs) -> Iterator[tuple[PhraseQuery, float, float]]:
    """Pixels that both masks hold, and that either does; nothing of phrases that either side has no mask of."""
    for query, answer in pairs:
        if answer.mask is not None and all(region.mask is not None for region in query.regions):
            size = (answer.mask.shape[0], answer.mask.shape[1])
            truth = torch.stack([region_mask(region, answer.window, size) for region in query.regions]).any(0)
            if truth.any():
                yield query, float((truth & answer.mask).sum()), float((truth | answer.mask).sum())
