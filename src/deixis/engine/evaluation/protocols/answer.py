"""Answers to questions about pictures: whether they are the expected ones, by kind of question.

Beside the model's answers stand what needs no model of words: the answer of the nearest other picture of which the same
was asked, and the commonest answer to the question, whatever the picture.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from deixis.engine.evaluation.captions.sources import image_rows, nearest_other
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.grounders import TextRow, run_on_texts
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.training.batching import QUESTION, cut_note
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol, Question

__all__ = [
    "NEAREST",
    "PROTOCOL",
    "QUESTION_ALONE",
    "AnswerPlan",
    "given_answers",
    "measure",
    "most_common",
    "prepare",
    "same_answers",
]

PROTOCOL = EvalProtocol(
    title="Answers to questions about pictures",
    capabilities=(("answer",),),
    fields=("images", "questions"),
    metrics=(
        EvalMetric("accuracy", "accuracy"),
        EvalMetric("commonest", "the commonest answer of each kind of question"),
    ),
    plots=("accuracy", "commonest"),
    axis="kind of question",
    test="the split `test` if the data has one, else all images; an answer counts word by word, but for capitals; the "
    "nearest picture is one of the other splits, or of another concept where there are none",
)

NEAREST, QUESTION_ALONE = "nearest", "question alone"


class AnswerPlan(NamedTuple):
    """The pictures that questions are put about, and those whose answers may be copied."""

    data: EvalSet
    bank: EvalSet


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> AnswerPlan:
    """The pictures with questions of the split `test` and the others; all, where there are no splits."""
    every = data.questioned(options.limit, talk.say)
    test = [i for i, sample in enumerate(every.samples) if sample.split == "test"]
    rest = [i for i in range(len(every.samples)) if i not in set(test)]
    return AnswerPlan(every.take(test), every.take(rest)) if test and rest else AnswerPlan(every, every)


def measure(plan: AnswerPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Of each question whether the answer is the expected one; beside it the commonest answer of its kind, which looks
    at no picture (and knows the answers that it is measured on), and the answers of other pictures."""
    data = plan.data
    asked = [_Asked(place, each.question, each.answer, each.kind) for place, each in _questions(data)]

    pairs = [(each.picture, each.question) for each in asked]
    with talk.step("answer"), talk.bar("answer questions") as bar:
        given = {"": given_answers(model.model, data, pairs, bar)}
    copied, notes = _copied(plan, asked, model, talk)
    cut = cut_note(model.model, list(dict.fromkeys(each.question for each in asked)), QUESTION)
    notes = (*notes, cut) if cut else notes
    arms = {arm: _columns(asked, answers, data) for arm, answers in (given | copied).items()}
    arms[""] |= _commonest(asked, data)
    return EvalOutput(arms, notes, {"images": len(data.samples), "questions": len(asked)})


def given_answers(
    method: Any, data: EvalSet, pairs: Sequence[tuple[int, str]], progress: Callable[[int, int], None]
) -> list[str]:
    """What a method answers to questions about pictures.

    Args:
        method: that offers `answer`.
        data: the pictures.
        pairs: a picture, by its place, and a question.
        progress: receives how many are done.
    """

    def run(pixels: Tensor, tokens: Tensor, real: Tensor, rows: Sequence[TextRow]) -> Iterable[str]:
        found: list[str] = method.answer(pixels, tokens, real)
        return found

    return run_on_texts(method, data, pairs, run, progress, QUESTION)


class _Asked(NamedTuple):
    picture: int
    question: str
    answer: str
    kind: str


def _questions(data: EvalSet) -> Iterable[tuple[int, Question]]:
    for place, sample in enumerate(data.samples):
        yield from ((place, each) for each in sample.questions if each.answer)


def _copied(
    plan: AnswerPlan, asked: Sequence[_Asked], model: EvalModel, talk: EvalReporter
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The commonest answer to the same question, and that of the nearest other picture; empty where none was asked."""
    answers: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for place, each in _questions(plan.bank):
        answers[each.question].append((place, each.answer))
    groups, own = plan.bank.groups, plan.data.groups if plan.data is plan.bank else [-1] * len(plan.data.ids)
    others = [
        [(place, answer) for place, answer in answers[each.question] if groups[place] != own[each.picture]]
        for each in asked
    ]
    # The own answer counts where there are no splits: without it, of two answers that are equally common none is right.
    common = {question: most_common([answer for _, answer in known]) for question, known in answers.items()}
    found = {QUESTION_ALONE: [common.get(each.question, "") for each in asked]}
    try:
        queries, rows = image_rows((plan.data, plan.bank), model, talk)
    except DeixisError as error:  # the starter is not in the cache
        return found, (f"{NEAREST} is left out: {error}",)
    found[NEAREST] = [
        known[int(nearest_other(queries[each.picture, None], rows[[place for place, _ in known]])[0])][1]
        if known
        else ""
        for each, known in zip(asked, others, strict=True)
    ]
    return found, ()


def most_common(answers: Sequence[str]) -> str:
    """The answer that is given most often, of several the first in alphabetical order; empty without any."""
    return max(sorted(set(answers)), key=answers.count, default="")


def _commonest(asked: Sequence[_Asked], data: EvalSet) -> dict[Column, QueryValues]:
    of_kind: dict[str, list[str]] = collections.defaultdict(list)
    for each in asked:
        of_kind[each.kind].append(_plain(each.answer))
    common = {kind: most_common(answers) for kind, answers in of_kind.items()}
    return _columns(asked, [common[each.kind] for each in asked], data, "commonest")


def _columns(
    asked: Sequence[_Asked], answers: Sequence[str], data: EvalSet, metric: str = "accuracy"
) -> dict[Column, QueryValues]:
    """Whether each answer is right, of all questions and of each kind."""
    right = same_answers(answers, [each.answer for each in asked])
    kinds = np.array([each.kind for each in asked])
    names = np.array([f"{data.ids[each.picture]}: {each.question}" for each in asked], dtype=object)
    pictures = np.array([each.picture for each in asked], dtype=np.int64)
    columns = {}
    for kind in ("", *sorted(set(kinds.tolist()) - {""})):
        some = kinds == kind if kind else np.ones(len(kinds), dtype=bool)
        columns[Column(metric, kind)] = QueryValues(right[some], tuple(names[some]), pictures[some])
    return columns


def same_answers(answers: Sequence[str], expected: Sequence[str]) -> Float[np.ndarray, " N"]:
    """1 where an answer is the expected one word by word, but for capitals and marks around it, else 0."""
    pairs = zip(answers, expected, strict=True)
    return np.array([_plain(one) == _plain(other) for one, other in pairs], dtype=np.float64)


def _plain(answer: str) -> str:
    return " ".join(answer.casefold().strip(" .!").split())
