"""Answers about columns of a table, measured on pictures of concepts that were not learned from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.data.column_questions import answers_as_captions, asked_one_by_one
from deixis.engine.column_answers import column_answers, hold_out_answers
from deixis.methods.close import Method
from deixis.types import Sample, Source
from tests.pictures import labelled

ASKED = ("colour=What colour is it?", "place=Where is it?")


def spelled(digits: str) -> str:
    """As letters, since captions that differ in digits alone are of one concept."""
    return "".join("bdfgklmnpr"[int(digit)] for digit in digits)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Pictures of six colours, each with two columns; where it is is always the same but once."""
    folder = labelled(tmp_path_factory.mktemp("table") / "pictures", 48)
    samples = tuple(
        Sample(path.stem, path, (f"thing {spelled(path.stem)}",), extra={"colour": path.parent.name, "place": "here"})
        for path in sorted(folder.rglob("*.png"))
    )
    moved = dataclasses.replace(samples[0], extra={**samples[0].extra, "place": "there"})
    return asked_one_by_one(Source("table", folder, "captions", "made", (moved, *samples[1:])), ASKED)


class Saying(Method):
    """Says the same, whatever it sees and is asked."""

    __module__ = Method.__module__  # whose card is its own
    said = "HERE"

    def answer(self, images: Tensor, tokens: Tensor, mask: Tensor | None = None) -> list[str]:
        return [self.said] * len(images)


@pytest.fixture(scope="module")
def method() -> Any:
    built = engine.build("close", "tiny", {"task": "answer"}).eval()
    built.__class__ = Saying
    return built


def test_all_questions_of_a_picture_are_on_one_side(table: Source) -> None:
    learned, held, notes = hold_out_answers(table, 0.25, 0)
    assert held is not None
    assert not notes
    sides = [{sample.id.partition("?")[0] for sample in part.samples} for part in (learned, held)]
    assert not sides[0] & sides[1]
    assert len(learned.samples) + len(held.samples) == len(table.samples) == 96
    assert all(sum(each.id.startswith(name) for each in held.samples) == 2 for name in sides[1])


def test_where_nothing_can_be_measured_it_is_said_why(table: Source) -> None:
    blind = dataclasses.replace(table, samples=tuple(dataclasses.replace(s, image=None) for s in table.samples))
    few = dataclasses.replace(table, samples=table.samples[:4])
    for source, reason in ((blind, "texts alone"), (few, "concepts, and")):
        learned, held, [note] = hold_out_answers(source, 0.25, 0)
        assert (learned, held) == (source, None)
        assert reason in note
    assert hold_out_answers(table, 0.0, 0) == (table, None, [])


def test_what_looks_at_nothing_is_as_good_as_the_commonest_value_and_a_classifier_sees_colours(
    table: Source, method: Any
) -> None:
    learned, held, _ = hold_out_answers(table, 0.25, 0)
    assert held is not None
    found = column_answers(method, learned, held)
    assert set(found) == {"colour", "place"}
    place, colour = found["place"], found["colour"]
    assert place.value == "here"
    assert place.right == place.commonest
    assert place.classifier is None, "there are no two values to tell apart"
    assert colour.right.value == 0
    assert colour.classifier is not None
    assert colour.difference is not None
    assert colour.classifier.value > 2 * colour.commonest.value
    assert colour.difference.value == pytest.approx(-colour.classifier.value)
    assert colour.pictures == len(held.samples) // 2
    again = column_answers(method, answers_as_captions(learned), held)
    assert again["colour"].classifier == colour.classifier, "captions have no part in it"


def test_of_few_pictures_no_classifier_is_learned(table: Source, method: Any) -> None:
    learned, held, _ = hold_out_answers(table, 0.25, 0)
    assert held is not None
    few = dataclasses.replace(learned, samples=learned.samples[:12])
    assert all(each.classifier is None for each in column_answers(method, few, held).values())


def test_a_picture_that_cannot_be_read_is_passed_over(table: Source, method: Any, tmp_path: Path) -> None:
    learned, held, _ = hold_out_answers(table, 0.25, 0)
    assert held is not None
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = [dataclasses.replace(held.samples[0], image=tmp_path / "broken.png"), *held.samples[1:]]
    with torch.no_grad():
        found = column_answers(method, learned, dataclasses.replace(held, samples=tuple(broken)))
    column = held.samples[0].id.rpartition("?")[2]
    assert found[column].pictures == len(held.samples) // 2 - 1
