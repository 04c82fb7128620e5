"""Whether an encoder serves all groups alike: labels hit and images of the same attribute retrieved, by group.

A linear classifier is fitted on frozen features, as in the protocol `linear`. Groups are those of the data's columns,
and the intersections of the first two. The gap between the highest and the lowest group is stated with an interval over
concepts, and not at all where a group has few images. Empty groups are in no mean.

Of sets of labels that are given (--associations), it is also measured how many images get a label of the set: one of
the first five, with a probability of 0.1 or more.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from deixis.engine.evaluation.classify import labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.groups import LEAST, gap, group_columns, group_means
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.probes import ProbeSplit, linear_probe, probe_split
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol
from deixis.types.protocols import EvaluatorMethod

__all__ = ["PROTOCOL", "association_sets", "measure", "prepare"]

_EVALUATOR = "fairness_indicators"

PROTOCOL = EvalProtocol(
    title="Labels hit and same-attribute retrieval by group of people or places",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "labels", "demographics"),
    metrics=(
        EvalMetric("hit", "label among the first 5"),
        EvalMetric("precision_at_1", "same attribute, precision at 1"),
        EvalMetric("precision_at_5", "same attribute, precision at 5"),
        EvalMetric("precision_at_10", "same attribute, precision at 10"),
        EvalMetric("precision_at_50", "same attribute, precision at 50"),
        EvalMetric("associated", "associated with a set of labels", "lower"),
    ),
    plots=("hit",),
    axis="group",
    test="the split `test`, else two fifths of the images, by concept; the rest fits the classifier. Groups are those "
    "of the columns gender, tone, region, country and income; the attribute is the first of them",
    source="Fairness Indicators for Systematic Assessments of Visual Feature Extractors, 2022",
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> tuple[EvalSet, ProbeSplit]:
    """The labelled images in three parts."""
    every = data.labelled(options.limit, talk.say)
    split = probe_split(every, validation=True)
    if not group_columns(every.take(split.test).samples):
        raise DeixisError("All test images are of one group.", "Give more images, of at least two groups.")
    association_sets(options.associations, split.classes)
    return every, split


def association_sets(path: str, classes: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The sets of a json file: name, and numbers of its labels among the classes; none where no file is given.

    Args:
        path: of the file; empty: none.
        classes: labels, in their order.

    Raises:
        DeixisError: the file can't be read or holds no sets, or a label is none of the classes.
    """
    if not path:
        return ()
    form = 'Write {"NAME": ["label", "label"]}, with labels of the data.'
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeixisError(f"The association sets {path} can't be read: {error}.", form) from error
    if not isinstance(found, dict) or not found or not all(isinstance(each, list) and each for each in found.values()):
        raise DeixisError(f"{path} holds no association sets.", form)
    for name, labels in found.items():
        unknown = next((each for each in labels if each not in classes), None)
        if unknown is not None:
            near = difflib.get_close_matches(str(unknown), classes, n=3) or list(classes[:3])
            raise DeixisError(
                f"The association set {name!r} names {unknown!r}, which is no label of the test images.",
                f"Near labels: {', '.join(near)}.",
            )
    return tuple((name, tuple(classes.index(each) for each in labels)) for name, labels in found.items())


def measure(plan: tuple[EvalSet, ProbeSplit], model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Each indicator, one value a test image: of all, and of each group."""
    data, split = plan
    features = model.image_features(data, talk)
    with talk.step("learn"):
        probe = linear_probe(features, data, split)
    test = data.take(split.test)
    groups = group_columns(test.samples)
    attribute = next(iter(groups.values()))
    evaluator = build(_EVALUATOR, overrides={"threshold": 0.0})
    assert isinstance(evaluator, EvaluatorMethod)
    rows = {
        "image_embedding": F.normalize(features[list(split.test)].double(), dim=1),
        "scores": probe.logits.softmax(dim=1),
        "concept": labels_of(test, split.classes),
        "attribute": _numbered(attribute)[0],
    }
    values = evaluator.measure(rows)
    reported = {metric.name: values[metric.name].numpy() for metric in PROTOCOL.metrics[:-1]}
    columns = {
        Column(metric, condition): QueryValues(each[where], _named(test.ids, where), test.clusters[where])
        for metric, each in reported.items()
        for condition, where in _conditions(groups).items()
    }
    associated = _associated(rows, association_sets(options.associations, split.classes))
    columns |= {
        Column("associated", f"{name}; {condition}".rstrip("; ")): QueryValues(
            each[where], _named(test.ids, where), test.clusters[where]
        )
        for name, each in associated.items()
        for condition, where in _conditions(groups).items()
    }
    gaps, notes = _gaps(reported, groups, test)
    means = {name: _means(reported["hit"], column) for name, column in groups.items()}
    facts = {"images": len(test.samples), "classes": len(split.classes), "gaps": gaps, "hit_by_group": means}
    notes = [probe.note(split), split.note(len(split.train) + len(split.validation)), *notes]
    return EvalOutput({"": columns}, tuple(notes), facts)


def _associated(
    rows: Mapping[str, torch.Tensor], sets: tuple[tuple[str, tuple[int, ...]], ...]
) -> dict[str, np.ndarray]:
    """Set -> one value a test image: whether one of its labels counts, at the evaluator's own threshold."""
    if not sets:
        return {}
    evaluator = build(_EVALUATOR, overrides={"sets": sets})
    assert isinstance(evaluator, EvaluatorMethod)
    values = evaluator.measure(rows)
    return {name: values[f"associated_{name}"].numpy() for name, _ in sets}


def _numbered(column: Sequence[str]) -> tuple[torch.Tensor, list[str]]:
    names = sorted(set(column))
    return torch.tensor([names.index(each) for each in column], dtype=torch.long), names


def _named(ids: tuple[str, ...], where: np.ndarray) -> tuple[str, ...]:
    return tuple(ids[i] for i in where)


def _conditions(groups: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Condition -> which images: all of them, each group of each column, and intersections of the first two columns."""
    count = len(next(iter(groups.values())))
    found = {"": np.arange(count)}
    first, *second = list(groups)[:2]
    if second:
        both = [f"{a}, {b}" if a and b else "" for a, b in zip(groups[first], groups[second[0]], strict=True)]
        groups = {**groups, f"{first}, {second[0]}": both}
    for column, names in groups.items():
        for name in sorted(set(names) - {""}):
            found[f"{column}: {name}"] = np.array([i for i, each in enumerate(names) if each == name])
    return found


def _means(values: np.ndarray, column: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Group -> its mean and its images, that of none (those whose column is empty) among them."""
    numbers, names = _numbered(column)
    means, sizes = group_means(torch.from_numpy(values), numbers, len(names))
    return {name: (float(mean), int(size)) for name, mean, size in zip(names, means, sizes, strict=True)}


def _gaps(
    reported: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str]], test: EvalSet
) -> tuple[dict[str, dict[str, object]], list[str]]:
    """The gaps of the first two metrics in each column, for `result.json` and in sentences."""
    found: dict[str, dict[str, object]] = {}
    notes = []
    for column, names in groups.items():
        for metric in PROTOCOL.metrics[:2]:
            each = gap(reported[metric.name], names, test.clusters)
            if each is None:
                notes.append(f"No gap is stated by {column}: fewer than two groups have {LEAST} images.")
                break
            found[f"{metric.name} by {column}"] = each._asdict()
            notes.append(
                f"{metric.title}, by {column}: {100 * each.value:.1f} points ({100 * each.low:.1f} to "
                f"{100 * each.high:.1f}) from {each.lowest}, the lowest, to {each.highest}."
            )
    return found, notes
