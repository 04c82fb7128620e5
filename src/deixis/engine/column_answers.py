"""What a method answers about columns of a table, measured on pictures of concepts that it did not learn from.

Beside it stand the commonest value of what was learned from, which looks at no picture, and a linear classifier of the
embeddings of the same pictures, which reads no words.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deixis import zoo
from deixis.data.splits import MIN_GROUPS, concept_groups, split
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.probes import LinearProbe, ProbeSplit, linear_probe
from deixis.engine.evaluation.protocols.answer import given_answers, most_common, same_answers
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.nn.modes import evaluating
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Sample, Source, place

__all__ = ["LEARNED", "MOST", "ColumnAnswers", "column_answers", "hold_out_answers"]

MOST, LEARNED = 200, 1000
"""Pictures of which each question is asked at the most, and of which the classifier learns: more take minutes."""

_VALIDATION = 0.2


class ColumnAnswers(NamedTuple):
    """What came of one question.

    Attributes:
        question: that was asked.
        pictures: of which it was asked.
        right: share of answers that are what stands in the column, see `same_answers`.
        commonest: the same of the commonest value, and that value.
        value: see `commonest`.
        classifier: the same of it; None where it had fewer than two values to tell apart.
        difference: by how much the answers are ahead of the classifier; as `classifier`.
    """

    question: str
    pictures: int
    right: Interval
    commonest: Interval
    value: str
    classifier: Interval | None
    difference: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        plain = {
            key: value._asdict() if isinstance(value, Interval) else value for key, value in self._asdict().items()
        }
        return {key: value for key, value in plain.items() if value is not None}


def hold_out_answers(source: Source, share: float, seed: int) -> tuple[Source, Source | None, list[str]]:
    """What is learned from, what answers are measured on, and why nothing is where nothing is. All questions about a
    concept are on one side.

    Args:
        source: a sample for each question, with the columns `question` and `answer`.
        share: of the concepts, that is held out.
        seed: of the division.
    """
    samples = source.samples
    if not share:
        return source, None, []
    if any(sample.image is None for sample in samples):
        return source, None, ["How many answers are right is not measured: the data has texts alone, and no pictures."]
    of_picture: dict[str, list[int]] = collections.defaultdict(list)
    for number, sample in enumerate(samples):
        of_picture[place(sample.picture)].append(number)
    groups = concept_groups(samples, of_picture.values())
    if len(set(groups)) < MIN_GROUPS:
        few = f"there are {len(set(groups))} concepts, and {MIN_GROUPS} are needed"
        return source, None, [f"How many answers are right is not measured: {few}."]
    parts = split(groups, seed, 1 - min(share, MOST / len(of_picture)))
    sides = (dataclasses.replace(source, samples=tuple(samples[i] for i in part)) for part in (parts.train, parts.test))
    return next(sides), next(sides), []


def column_answers(
    method: Any, learned: Source, held: Source, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, ColumnAnswers]:
    """Column -> what came of the question about it. Pictures that can't be read are passed over; a question is left out
    that fewer than two concepts are left for.

    Args:
        method: that offers `answer`, and holds an encoder of images.
        learned: the samples it learned from.
        held: others, of concepts that are not among them.
        progress: receives questions done and in all.
    """
    tower, seen = _tower(method), dict[str, Tensor | None]()
    found = {}
    questions = dict.fromkeys((_column(each), str(each.extra["question"])) for each in held.samples)
    with evaluating(method):
        for done, (column, question) in enumerate(questions):
            mine = [_labelled(each) for each in held.samples if _column(each) == column]
            known = [_labelled(each) for each in learned.samples if _column(each) == column][:LEARNED]
            asked = _readable(mine, tower, seen)
            groups = np.array(concept_groups(asked), dtype=np.int64)
            if len(set(groups.tolist())) > 1 and known:
                found[column] = _measured(method, question, (asked, groups), _readable(known, tower, seen), seen)
            progress(done + 1, len(questions))
    return found


def _tower(method: Any) -> Any:
    """What sees images, before any projection."""
    parts = {part.kind: getattr(method, part.name, None) for part in card_of(method).parts}
    return zoo.load_part("image_tower", parts.get("dual_encoder") or parts["image_tower"])


def _column(sample: Sample) -> str:
    return sample.id.rpartition("?")[2]


def _labelled(sample: Sample) -> Sample:
    return dataclasses.replace(sample, label=str(sample.extra["answer"]).strip())


def _readable(samples: Sequence[Sample], tower: Any, seen: dict[str, Tensor | None]) -> list[Sample]:
    """Those whose picture can be read; `seen` keeps the embedding of each picture, once for all questions."""
    for sample in samples:
        name = place(sample.picture)
        if name not in seen:
            try:
                images = tower.preprocess.batch([load_image(sample.picture)])
            except (OSError, DeixisError):
                seen[name] = None
            else:
                with torch.no_grad():
                    seen[name] = tower(images)[0].detach().cpu()
    return [sample for sample in samples if seen[place(sample.picture)] is not None]


def _measured(
    method: Any,
    question: str,
    asked: tuple[Sequence[Sample], np.ndarray],
    known: Sequence[Sample],
    seen: Mapping[str, Tensor | None],
) -> ColumnAnswers:
    samples, groups = asked
    data = _set(samples, groups.tolist())
    pairs = [(number, question) for number in range(len(samples))]
    value, labels = most_common([str(each.label) for each in known]), [str(each.label) for each in samples]
    right = same_answers(given_answers(method, data, pairs, lambda done, total: None), labels)
    common = same_answers([value] * len(samples), labels)
    chosen = _by_classifier(known, samples, seen)
    linear = None if chosen is None else same_answers(chosen, labels)
    return ColumnAnswers(
        question,
        len(samples),
        cluster_bootstrap(right, groups),
        cluster_bootstrap(common, groups),
        value,
        None if linear is None else cluster_bootstrap(linear, groups),
        None if linear is None else cluster_bootstrap(right - linear, groups),
    )


def _by_classifier(
    known: Sequence[Sample], samples: Sequence[Sample], seen: Mapping[str, Tensor | None]
) -> list[str] | None:
    """What a linear classifier of the pictures' embeddings says, its penalty chosen on a part of what was learned from;
    None where there are fewer than two values on both sides of that."""
    groups = concept_groups(known, captions=False)  # which may be the answers
    if len(set(groups)) < MIN_GROUPS:
        return None
    parts = split(groups, 0, 1 - _VALIDATION)
    both = {str(known[i].label) for i in parts.train} & {str(known[i].label) for i in parts.test}
    if len(both) < 2:
        return None
    classes = tuple(sorted(both))
    train, validation = ([i for i in part if known[i].label in both] for part in (parts.train, parts.test))
    rows = [seen[place(each.picture)] for each in known]
    features = torch.stack([row for row in rows if row is not None])
    probe: LinearProbe = linear_probe(
        features, _set(known, groups), ProbeSplit(tuple(train), tuple(validation), tuple(validation), classes)
    )
    asked = torch.stack([row for each in samples if (row := seen[place(each.picture)]) is not None])
    return [classes[int(number)] for number in probe.scores(asked).argmax(1)]


def _set(samples: Sequence[Sample], groups: Sequence[int]) -> EvalSet:
    return EvalSet(
        Source("", Path(), "labels", "a table", tuple(samples)),
        tuple(sample.id for sample in samples),
        tuple(groups),
        "",
    )
