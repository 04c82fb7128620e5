"""Encoders of images compared at the end of a training run: whether altered copies find their originals, and whether
labels are predicted by neighbours; of images that were trained on, and of images that were held back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.common.console import Reporter
from deixis.apps.train.image_division import ImageDivision, QueryParts
from deixis.data.quality.altered_copies import EDITS
from deixis.data.quality.reduced_image import ReducedImage
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import QueryValues, difference
from deixis.engine.evaluation.protocols.copies import edited
from deixis.engine.evaluation.protocols.knn import neighbour_scores
from deixis.ops.similarity.copies import copy_matches
from deixis.ops.stats import cluster_t_interval

__all__ = ["SCOPES", "compare_encoders"]

SCOPES = ("trained_on", "held_back")
"""Of which images: those that were trained on, and others."""

_LONGEST = 384
"""Pixels of the longer side from which images are altered."""

_EDITS_EACH, _NEIGHBOURS = 3, 20
_QUIET = Reporter(quiet=True)
_LEVEL, _FEWEST = 0.95, 10
"""Of the choice, over all rivals together; and concepts below which nothing is chosen."""


def compare_encoders(
    division: ImageDivision, models: Mapping[str, EvalModel], start: str, talk: Reporter
) -> dict[str, Any]:
    """What stands under `encoders` in `result.json`: means with intervals, paired differences to the start, and of each
    purpose the encoder to use.

    Each query is altered by `_EDITS_EACH` edits, all edits equally often; its copies look among all images of the
    division. Labels are predicted by the nearest labelled images that were trained on.

    Args:
        division: of the images.
        models: name -> encoder.
        start: which of them stays where no other is proven better on validation images.
        talk: receives the progress.
    """
    originals = _reduced(division.data)  # decoded once for all encoders
    measured: dict[str, dict[str, dict[int, float]]] = {"copies": {}, "labels": {}}
    with talk.bar("compare encoders") as bar:
        for number, (name, model) in enumerate(models.items()):
            bar(number, len(models))
            measured["copies"][name] = _copies(division, originals, model)
            measured["labels"][name] = _labels(division, model)
        bar(len(models), len(models))
    found: dict[str, Any] = {}
    for purpose, values in measured.items():
        scopes = {scope: _scope(division, getattr(division, scope), values, start) for scope in SCOPES}
        if all(scopes.values()):
            found[purpose] = scopes
    return {
        "start": start,
        "names": list(models),
        "images": {
            "compared": len(division.data.samples),
            "not_trained_on": division.withheld,
            **{scope: {part: len(i) for part, i in getattr(division, scope)._asdict().items()} for scope in SCOPES},
        },
        **found,
    }


def _scope(
    division: ImageDivision, parts: QueryParts, values: Mapping[str, Mapping[int, float]], start: str
) -> dict[str, Any] | None:
    """Of one purpose and some queries: what each encoder comes to on the test part, and which is chosen by the
    validation part. None where there is nothing to report on."""
    validation = {name: _queries(division.data, parts.validation, each) for name, each in values.items()}
    test = {name: _queries(division.data, parts.test, each) for name, each in values.items()}
    if not len(test[start].values):
        return None
    level = 1 - (1 - _LEVEL) / max(1, len(values) - 1)
    return {
        "encoders": {
            name: {**each.estimate()._asdict(), "difference": difference(each, test[start])._asdict()}
            for name, each in test.items()
        },
        "validation": {name: float(each.values.mean()) for name, each in validation.items() if len(each.values)},
        "use": _chosen(validation, start, level),
    }


def _queries(data: EvalSet, part: Sequence[int], values: Mapping[int, float]) -> QueryValues:
    those = [i for i in part if i in values]
    return QueryValues(
        np.array([values[i] for i in those], np.float64),
        tuple(data.samples[i].id for i in those),
        data.clusters[those],
    )


def _chosen(validation: Mapping[str, QueryValues], start: str, level: float) -> str:
    """The best of those that are proven better than the start; the start where none is."""
    base = validation[start]
    if len(np.unique(base.clusters)) < _FEWEST:
        return start
    better = {
        name: float(each.values.mean())
        for name, each in validation.items()
        if name != start and cluster_t_interval(each.values - base.values, base.clusters, level).low > 0
    }
    return max(better, key=lambda name: better[name], default=start)


def _copies(division: ImageDivision, originals: EvalSet, model: EvalModel) -> dict[int, float]:
    """Query -> the share of its copies that find it, or a near-duplicate of it."""
    data = division.data
    # What is fitted on the first images that it is given is fitted on images that were trained on.
    model.image_features(data.take(division.gallery), _QUIET)
    images, groups = _unit(model.image_features(data, _QUIET)), torch.tensor(data.groups)
    queries = [i for scope in SCOPES for part in getattr(division, scope) for i in part]
    found: dict[int, list[float]] = {i: [] for i in queries}
    step = len(EDITS) // _EDITS_EACH
    for turn, edit in enumerate(EDITS):
        own = [i for place, i in enumerate(queries) if place % step == turn % step]
        if own:
            copies = _unit(model.image_features(edited(originals.take(own), edit), _QUIET))
            matches = copy_matches(copies, images, groups, groups[own])
            for i, first in zip(own, matches.first.tolist(), strict=True):
                found[i].append(float(first))
    return {i: float(np.mean(each)) for i, each in found.items()}


def _reduced(data: EvalSet) -> EvalSet:
    samples = tuple(dataclasses.replace(each, image=ReducedImage(each.picture, _LONGEST)) for each in data.samples)
    return dataclasses.replace(data, source=dataclasses.replace(data.source, samples=samples))


def _labels(division: ImageDivision, model: EvalModel) -> dict[int, float]:
    """Query -> whether its label is predicted; of labels that some image of the gallery has, where there are two."""
    samples = division.data.samples
    gallery = [i for i in division.gallery if samples[i].label]
    classes = sorted({str(samples[i].label) for i in gallery})
    queries = [
        i
        for scope in SCOPES
        for part in getattr(division, scope)
        for i in part
        if samples[i].label and str(samples[i].label) in classes
    ]
    if len(classes) < 2 or not queries:
        return {}
    rows, place = model.image_features(division.data, _QUIET), {name: n for n, name in enumerate(classes)}
    labels = torch.tensor([place[str(samples[i].label)] for i in gallery])
    votes = neighbour_scores(rows[queries], rows[gallery], labels, len(classes), _NEIGHBOURS)
    return {
        i: float(classes[best] == samples[i].label) for i, best in zip(queries, votes.argmax(1).tolist(), strict=True)
    }


def _unit(rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    return F.normalize(rows.double(), dim=1)
