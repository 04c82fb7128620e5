"""Answers to questions about pictures: whether they are the expected ones, by kind of question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.grounders import TextRow, run_on_texts
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

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
    test="the split `test` if the data has one, else all images; an answer counts word by word, but for capitals",
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The pictures with questions."""
    return on_test(data.questioned(options.limit, talk.say))


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Of each question whether the answer is the expected one; beside it the commonest answer of its kind, which looks
    at no picture (and knows the answers that it is measured on)."""
    asked = [(place, each) for place, sample in enumerate(plan.samples) for each in sample.questions if each.answer]

    def run(pixels: Tensor, tokens: Tensor, real: Tensor, rows: Sequence[TextRow]) -> Iterable[str]:
        found: list[str] = model.model.answer(pixels, tokens, real)
        return found

    pairs = [(place, each.question) for place, each in asked]
    with talk.step("answer"), talk.bar("answer questions") as bar:
        given = [_plain(each) for each in run_on_texts(model.model, plan, pairs, run, bar)]
    expected, kinds = [_plain(each.answer) for _, each in asked], np.array([each.kind for _, each in asked])
    right = np.array([float(one == other) for one, other in zip(given, expected, strict=True)])
    blind = np.zeros(len(asked))
    for kind in set(kinds.tolist()):
        own = [answer for answer, each in zip(expected, kinds.tolist(), strict=True) if each == kind]
        common = max(sorted(set(own)), key=own.count)
        blind[kinds == kind] = [float(answer == common) for answer in own]
    names = np.array([f"{plan.ids[place]}: {each.question}" for place, each in asked], dtype=object)
    pictures = np.array([place for place, _ in asked], dtype=np.int64)
    columns = {}
    for metric, values in (("accuracy", right), ("commonest", blind)):
        for kind in ("", *sorted(set(kinds.tolist()) - {""})):
            some = kinds == kind if kind else np.ones(len(kinds), dtype=bool)
            columns[Column(metric, kind)] = QueryValues(values[some], tuple(names[some]), pictures[some])
    return EvalOutput({"": columns}, (), {"images": len(plan.samples), "questions": len(asked)})


def _plain(answer: str) -> str:
    return " ".join(answer.casefold().strip(" .!").split())
