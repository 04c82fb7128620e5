"""Questions whose answers stand in columns of the data: `colour=What colour is it?`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deixis.errors import DeixisError
from deixis.types import Question, Sample, Source

__all__ = ["answers_as_captions", "asked_one_by_one", "with_column_questions"]


def asked_one_by_one(source: Source, asked: Sequence[str]) -> Source:
    """One sample for each question and each sample that has the answer: the columns `question` and `answer`.

    Args:
        source: with further columns.
        asked: each `COLUMN=QUESTION`; the answer to the question is what stands in the column.

    Raises:
        DeixisError: a question names no column, or one that is empty everywhere.
    """
    found = tuple(
        dataclasses.replace(
            sample,
            id=f"{sample.id}?{each.kind}",
            extra={**sample.extra, "question": each.question, "answer": each.answer},
        )
        for sample in with_column_questions(dataclasses.replace(source, samples=_bare(source)), asked).samples
        for each in sample.questions
    )
    return dataclasses.replace(source, samples=found)


def answers_as_captions(source: Source) -> Source:
    """The answer to each question as the caption, for methods that say captions in answer to questions.

    Args:
        source: what `asked_one_by_one` gave.
    """
    samples = tuple(dataclasses.replace(each, captions=(str(each.extra["answer"]),)) for each in source.samples)
    return dataclasses.replace(source, samples=samples)


def with_column_questions(source: Source, asked: Sequence[str]) -> Source:
    """The samples with questions about their columns; the kind of a question is the column.

    Args:
        source: with further columns.
        asked: as for `asked_one_by_one`.

    Raises:
        DeixisError: as `asked_one_by_one`.
    """
    if not asked:
        return source
    pairs = []
    for each in asked:
        column, mark, question = (part.strip() for part in each.partition("="))
        if not mark or not question or not any(_cell(sample, column) for sample in source.samples):
            raise DeixisError(
                f"--ask {each!r} names no column of {source.name!r} with answers.",
                "Write it as COLUMN=QUESTION, such as colour='What colour is it?'.",
            )
        pairs.append((column, question))
    samples = tuple(
        dataclasses.replace(
            sample,
            questions=(
                *sample.questions,
                *(Question(question, cell, column) for column, question in pairs if (cell := _cell(sample, column))),
            ),
        )
        for sample in source.samples
    )
    return dataclasses.replace(source, samples=samples)


def _bare(source: Source) -> tuple[Sample, ...]:
    return tuple(dataclasses.replace(sample, questions=()) for sample in source.samples)


def _cell(sample: Sample, column: str) -> str:
    value = sample.label if column == "label" else sample.extra.get(column)
    return "" if value is None else str(value).strip()
