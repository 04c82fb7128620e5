"""The protocols of captions and answers: the model beside what needs no model of words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deixis.apps.common.console import Reporter
from deixis.engine.evaluation.captions.sources import nearest_other, typical
from deixis.engine.evaluation.captions.values import caption_values, names_same_thing
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.protocols import answer, caption
from deixis.errors import DeixisError
from deixis.types import Question, Region, Sample, Source
from tests.capable import COLOURS, Answerer, Captioner

SILENT = Reporter(quiet=True)
VALUES = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


@dataclasses.dataclass(frozen=True)
class Plain:
    """A picture of one colour; a number makes it a picture of its own."""

    colour: str
    number: int = 0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.number}"

    def draw(self) -> Any:
        return np.full((32, 32, 3), VALUES[self.colour], dtype=np.uint8) - self.number


def data_of(samples: list[Sample]) -> EvalData:
    source = Source("made", Path(), "captions", "made", tuple(samples))
    return EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))


def sample(colour: str, number: int, split: str = "", questions: tuple[Question, ...] = ()) -> Sample:
    looks = {"colour": colour, "size": "small"}
    region = Region((0.0, 0.0, 1.0, 1.0), "square", attributes=looks)
    caption_ = f"A {colour} square."
    return Sample(
        f"{colour}{number}", Plain(colour, number), (caption_,), split=split, regions=(region,), questions=questions,
        groups=(f"{colour}{number}",),
    )  # fmt: skip


def measured(protocol: Any, model: Any, data: EvalData) -> EvalOutput:
    plan = protocol.prepare(data, EvalOptions(), SILENT)
    found: EvalOutput = protocol.measure(plan, EvalModel("toy", model), EvalOptions(), SILENT)
    return found


def test_a_models_captions_stand_beside_the_nearest_and_one_for_all() -> None:
    samples = [sample(colour, number, "test" if number else "train") for colour in COLOURS for number in (0, 1)]
    output = measured(caption, Captioner(), data_of(samples))
    means = {arm: {c.metric: v.values.mean() for c, v in columns.items()} for arm, columns in output.arms.items()}
    assert set(means) == {"", caption.NEAREST, caption.ONE_FOR_ALL}
    assert means["nearest"]["facts"] == 1.0
    assert means["nearest"]["cider"] == pytest.approx(7.5)  # captions of three words have no four in a row
    assert means["one caption for all"]["facts"] == pytest.approx(1 / 3)
    assert means["one caption for all"]["different"] == pytest.approx(1 / 3)
    assert means[""]["facts"] == 0.0  # "mostly red" names no thing that is there
    assert means[""]["well_formed"] == 0.0
    assert output.facts["invented_at_equal_recall"]["nearest"] == 0.0
    assert set(means[""]) == {metric.name for metric in caption.PROTOCOL.metrics}
    assert len(set(output.arms[""][Column("facts")].clusters.tolist())) == 3


def test_answers_stand_beside_those_of_the_nearest_picture_and_of_the_question_alone() -> None:
    def asked(colour: str) -> tuple[Question, ...]:
        is_red = Question("is anything red?", "yes" if colour == "red" else "no", "yes/no")
        return (is_red, Question("which colour is it?", colour, "colour"))

    samples = [
        sample(colour, number, "test" if number else "train", asked(colour)) for colour in COLOURS for number in (0, 1)
    ]
    output = measured(answer, Answerer(), data_of(samples))
    right = {arm: columns[Column("accuracy")].values for arm, columns in output.arms.items()}
    assert right["nearest"].tolist() == [1.0] * 6
    assert right["question alone"].tolist() == [0, 0, 1, 0, 1, 1]  # no, and blue
    assert right[""].sum() == 3  # it knows nothing but yes and no
    assert Column("commonest") in output.arms[""]
    assert set(output.arms["nearest"]) == {Column("accuracy", kind) for kind in ("", "yes/no", "colour")}


def test_without_splits_nothing_is_copied_from_a_picture_of_the_same_concept() -> None:
    rows = torch.eye(3)
    assert nearest_other(rows, rows).tolist() == [0, 1, 2]
    assert nearest_other(rows + 0.1, rows, [0, 0, 1], [0, 0, 1]).tolist() == [2, 2, 0]
    assert nearest_other(rows, rows, [0, 0, 0], [0, 0, 0]).tolist() == [-1, -1, -1]


def test_the_caption_for_all_shares_most_words_with_the_others() -> None:
    assert typical(["a red car", "a red bus", "a blue bus", "two cats"]) == "a red bus"


def test_measures_of_scenes_are_left_out_where_nothing_is_known_of_the_things() -> None:
    samples = [Sample("one", None, ("A red bird.",)), Sample("two", None, ("Cats.",))]
    found = caption_values(["A blue bird.", "A blue bird."], samples, [each.captions for each in samples])
    assert set(found) == {"cider", "head_noun", "different"}
    assert found["head_noun"].tolist() == [1.0, 0.0]
    assert not names_same_thing("", ["A bird."])


def test_one_captioned_picture_is_refused() -> None:
    with pytest.raises(DeixisError, match="one captioned picture"):
        caption.prepare(data_of([sample("red", 0)]), EvalOptions(), SILENT)
