"""Boxes, spans, questions and pointers that can't be right are found and named."""

from __future__ import annotations

import math

import pytest

from deixis.data.quality.region_checks import check_regions
from deixis.types.samples import Phrase, Question, Region, Sample

BOX = (0.25, 0.25, 0.75, 0.75)


def told(sample: Sample) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.examples for finding in check_regions([sample])}


@pytest.mark.parametrize("box", [BOX, (0.0, 0.0, 1.0, 1.0), (-0.0005, 0.0, 1.0005, 1.0)])
def test_a_box_within_the_image_is_right_rounding_included(box: tuple[float, float, float, float]) -> None:
    assert told(Sample("a", None, regions=(Region(box),))) == {}


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((-0.1, 0.0, 0.5, 0.5), "box_outside"),
        ((0.5, 0.5, 20.0, 30.0), "box_outside"),  # pixels
        ((0.1, 0.1, math.nan, 0.5), "box_outside"),
        ((0.1, 0.1, math.inf, 0.5), "box_outside"),
        ((0.5, 0.5, 0.5, 0.9), "box_empty"),
        ((0.9, 0.1, 0.5, 0.5), "box_empty"),  # x1 before x0
    ],
)
def test_a_box_that_cannot_be_right_is_named(box: tuple[float, float, float, float], fault: str) -> None:
    found = told(Sample("a", None, regions=(Region(BOX), Region(box, "cat"))))
    assert list(found) == [fault]
    assert found[fault][0].startswith("a: region 1 (cat) at ")


@pytest.mark.parametrize("span", [(0, 9), (-1, 3), (3, 3), (5, 2)])
def test_a_span_must_lie_in_the_first_caption(span: tuple[int, int]) -> None:
    found = told(
        Sample("a", None, ("two cats", "and another, longer one"), regions=(Region(BOX, spans=((0, 8), span)),))
    )
    assert found == {"span_outside": (f"a: region 0 refers to characters {span[0]} to {span[1]} of 8",)}


def test_a_span_without_a_caption_lies_outside() -> None:
    assert list(told(Sample("a", None, regions=(Region(BOX, spans=((0, 1),)),)))) == ["span_outside"]


def test_pointers_must_lead_to_a_region() -> None:
    regions = (Region(BOX, phrases=(Phrase("left of it", relates=(0, 1)),)),)
    questions = (Question("Where?", "there", regions=(0,)), Question("Who?", "you", regions=(-1,)))
    assert told(Sample("a", None, regions=regions, questions=questions)) == {
        "region_unknown": (
            "a: phrase 'left of it' points to region 1 of 1",
            "a: question 'Who?' points to region -1 of 1",
        )
    }


def test_questions_want_an_answer_and_answers_a_question() -> None:
    questions = (Question("What?", "that"), Question("Which?", " "), Question("", "yes"))
    assert told(Sample("a", None, questions=questions)) == {"answer_missing": ("a: Which?", "a: (no question)")}
