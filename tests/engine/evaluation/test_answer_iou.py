"""The protocol of answer masks: overlap at each picture's own size, empty masks included."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.apps.common.console import Reporter
from deixis.data.grounding import answer_masks
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.protocols import answer_iou
from deixis.errors import DeixisError
from deixis.types import Mask, Question, Region, Sample, Source
from tests.capable import AnswerShower

SILENT = Reporter(quiet=True)


@dataclasses.dataclass(frozen=True)
class RedSquare:
    """Grey, 80 x 40, with a red square of 20 pixels."""

    name: str = "red square"

    def draw(self) -> Any:
        pixels = np.full((40, 80, 3), 128, dtype=np.uint8)
        pixels[10:30, 50:70] = (220, 20, 20)
        return pixels


def measured(*regions: Region, questions: tuple[Question, ...]) -> EvalOutput:
    sample = Sample("one", RedSquare(), regions=regions, questions=questions)
    source = Source("made", Path(), "images", "made", (sample,))
    data = EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))
    plan = answer_iou.prepare(data, EvalOptions(), SILENT)
    return answer_iou.measure(plan, EvalModel("toy", AnswerShower()), EvalOptions(), SILENT)


def shape(right: float) -> Region:
    """The red square, or the part of it that ends there."""
    corners = (50.0, 10.0, right, 10.0, right, 30.0, 50.0, 30.0)
    return Region((50 / 80, 0.25, right / 80, 0.75), "square", mask=Mask(80, 40, polygons=(corners,)))


SQUARE, HALF = shape(70.0), shape(60.0)


def test_overlap_is_of_the_pictures_own_pixels_and_1_where_nothing_is_expected_and_nothing_shown() -> None:
    questions = (
        Question("what is red?", "the square", "object", (0,)),
        Question("where is half of the red?", "left", "object", (1,)),
        Question("is there anything blue?", "no", "yes/no", ()),
        Question("is there no red?", "yes", "yes/no", ()),
    )
    output = measured(SQUARE, HALF, questions=questions)
    values = output.arms[""][Column("iou")].values
    assert values[0] > 0.7  # the model sees 32 pixels
    assert values[1] == pytest.approx(values[0] / 2, abs=0.1)
    assert values[2:].tolist() == [1.0, 0.0]
    assert output.facts == {"images": 1, "questions": 4, "empty": 2}
    everything = output.arms[""][Column("everything")].values
    assert everything[0] == pytest.approx(1.0)
    assert set(output.arms[""]) == {Column(m, k) for m in ("iou", "everything") for k in ("", "object", "yes/no")}


def test_questions_without_masks_are_refused_before_a_model_is_asked() -> None:
    box = dataclasses.replace(SQUARE, mask=None)
    with pytest.raises(DeixisError, match="which masks"):
        measured(box, questions=(Question("what is red?", "the square", "object", (0,)),))


def test_each_question_becomes_a_sample_with_what_its_answer_rests_on() -> None:
    source = scenes(0, 6, side=48, config=SceneConfig(cast="shapes", unseen="nothing"))
    asked = answer_masks(source).samples
    assert len(asked) == sum(len(sample.questions) for sample in source.samples)
    first = source.samples[0]
    for question, sample in zip(first.questions, asked, strict=False):
        assert sample.captions == (question.question,)
        assert [r.box for r in sample.regions] == [first.regions[n].box for n in question.regions]
        assert (sample.extra["kind"], sample.extra["answer"]) == (question.kind, question.answer)
