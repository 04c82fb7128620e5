"""Searches and pictures to look at, from all divisions: what moved most, and which classes are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.explain.reason import reason
from deixis.apps.explain.targets import words_of
from deixis.apps.report.report import Example
from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.evaluate import Adapters, apply, class_rows
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.features.store import FeatureTable
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.metrics import ranks, retrieval_ranks
from deixis.types import Source

__all__ = ["confusion", "gallery"]

_SHOWN = 8
_TOP = 4

Vectors = tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]
Classified = tuple[Float[Tensor, "B D"], Float[Tensor, "C D"]]


class _Moved(NamedTuple):
    """A query whose rank changed."""

    change: float
    division: int
    place: int
    before: int
    after: int


def gallery(arm: AdaptationArm, experiment: Experiment, source: Source) -> list[Example]:
    """Searches on held-out concepts, of all divisions, whose right answer moved furthest up, and those where it fell
    most; each query once. With labels a query is a picture, and its answers are classes. Where the answer fell, it is
    said which words of the query the picture that comes first instead is near to.

    Args:
        arm: the one that reports.
        experiment: data and measure.
        source: the samples.
    """
    labels = experiment.metric == "accuracy"
    found = [each for result in arm.results for each in (_classes if labels else _searches)(result, experiment)]
    # Every query once, where it moved most.
    best: dict[int, _Moved] = {}
    for each in sorted(found, key=lambda each: (-abs(each.change), each.division)):
        best.setdefault(int(arm.results[each.division].queries[each.place]), each)
    order = sorted(best.values(), key=lambda each: (-each.change, each.division, each.place))
    shown = [each for each in order[:_SHOWN] if each.change > 0]
    shown += [each for each in order[::-1][:_SHOWN] if each.change < 0]
    return [(_class_example if labels else _search_example)(each, arm, experiment, source) for each in shown]


def _vectors(result: SplitResult, part: FeatureTable) -> dict[str, Vectors]:
    return {"before": apply(part, (None, None)), "after": apply(part, result.adapters)}


def _searches(result: SplitResult, experiment: Experiment) -> Iterator[_Moved]:
    """Captions of one picture each: one of several would show another picture than the rank is of."""
    part = experiment.table.take(result.queries)
    old, new = (retrieval_ranks(*pair, part.keys)[1].tolist() for pair in _vectors(result, part).values())
    keys, counts = np.unique(part.keys.numpy(), return_counts=True)
    single = set(keys[counts == 1].tolist())
    for place, key in enumerate(part.keys.tolist()):
        if key in single:
            yield _moved(result.index, place, old[place], new[place])


def _moved(division: int, place: int, before: int, after: int) -> _Moved:
    return _Moved(1.0 / after - 1.0 / before, division, place, before, after)


def _search_example(each: _Moved, arm: AdaptationArm, experiment: Experiment, source: Source) -> Example:
    result = arm.results[each.division]
    part = experiment.table.take(result.queries)
    paths = [source.samples[i].picture for i in result.queries]
    tops = {}
    for which, (image, text) in _vectors(result, part).items():
        best = (image @ text[each.place]).argsort(descending=True)[:_TOP].tolist()
        tops[which], first = tuple(paths[j] for j in best), image[best[0]]
    query = source.samples[result.queries[each.place]].captions[0]
    return Example(
        query=query,
        direction="text_to_image",
        image=paths[each.place],
        rank_before=each.before,
        rank_after=each.after,
        top_before=tops["before"],
        top_after=tops["after"],
        reason=_reason(query, first, result.adapters, experiment.encoder) if each.change < 0 else "",
    )


def _reason(query: str, first: Float[Tensor, " D"], adapters: Adapters, encoder: DualEncoder) -> str:
    """Which words of a query the picture that comes first is near to, by the adapted model; empty where that model
    can't be explained. Of the place in the picture nothing is said: that would take a map a picture."""
    adapted = encoder.with_adapters(*adapters) if isinstance(adapters, tuple) else adapters.encoder()
    try:
        with evaluating(adapted), torch.inference_mode(False):
            ((words,),) = words_of(adapted, [query], first[None], None)
    except DeixisError:  # a layer that relevance has no rule for
        return ""
    return reason(words, None)


def _scores(result: SplitResult, experiment: Experiment) -> dict[str, Classified]:
    """Pictures of the held-out part and the names of all classes, before and after."""
    part, classes = experiment.table.take(result.queries), class_rows(experiment.table)
    texts = _vectors(result, classes)
    return {which: (image, texts[which][1]) for which, (image, _) in _vectors(result, part).items()}


def _classes(result: SplitResult, experiment: Experiment) -> Iterator[_Moved]:
    keys = experiment.table.keys[torch.as_tensor(result.queries)]
    every = torch.arange(int(experiment.table.keys.max()) + 1)
    old, new = (ranks(*pair, keys, every).tolist() for pair in _scores(result, experiment).values())
    for place in range(len(keys)):
        yield _moved(result.index, place, old[place], new[place])


def _names(experiment: Experiment, source: Source) -> list[str]:
    """The classes in the order of their keys."""
    labels = {int(key): str(sample.label) for key, sample in zip(experiment.table.keys, source.samples, strict=True)}
    return [labels[key] for key in sorted(labels)]


def _class_example(each: _Moved, arm: AdaptationArm, experiment: Experiment, source: Source) -> Example:
    result, names = arm.results[each.division], _names(experiment, source)
    sample = source.samples[result.queries[each.place]]
    named = {}
    for which, (image, text) in _scores(result, experiment).items():
        best = (text @ image[each.place]).argsort(descending=True)[:_TOP].tolist()
        named[which] = tuple(names[j] for j in best)
    return Example(
        query=str(sample.label),
        direction="image_to_class",
        image=sample.picture,
        rank_before=each.before,
        rank_after=each.after,
        classes_before=named["before"],
        classes_after=named["after"],
    )


def confusion(arm: AdaptationArm, experiment: Experiment, source: Source) -> dict[str, Any]:
    """Which classes are taken for which on held-out pictures, over all divisions.

    Args:
        arm: the one that reports.
        experiment: data and measure.
        source: the samples.

    Returns:
        `names` of the classes, and `before` and `after`: lists of true class, predicted class (by their places among
        the names) and how often, the most frequent first.
    """
    counts: dict[str, Counter[tuple[int, int]]] = {"before": Counter(), "after": Counter()}
    for result in arm.results:
        true = experiment.table.keys[torch.as_tensor(result.queries)].tolist()
        for which, (image, text) in _scores(result, experiment).items():
            counts[which].update(zip(true, (image @ text.T).argmax(1).tolist(), strict=True))
    listed = {which: [[*pair, number] for pair, number in of.most_common()] for which, of in counts.items()}
    return {"names": _names(experiment, source), **listed}
