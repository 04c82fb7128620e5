"""Answers from a closed list: the likeliest with its chance, and none where all others together are likelier."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from deixis.apps.answer.answer import answer, answer_with
from deixis.apps.predict.pictures import PictureView
from deixis.data.loading.crops import WHOLE
from deixis.errors import DeixisError
from tests.capable import Answerer


def chooser(*shares: float) -> Any:
    method: Any = Answerer()
    method.answer_scores = lambda images, tokens, mask, answers: torch.tensor([shares] * len(images)).log()
    return method


def predicted(method: Any, answers: tuple[str, ...]) -> Any:
    view = PictureView("a.png", Image.new("RGB", (8, 8)), WHOLE, (8, 8))
    pixels: Tensor = torch.zeros(1, 3, 32, 32)
    return answer_with(method, ["which colour?"], answers)(pixels, [view])[0]


def test_the_likeliest_answer_is_given_with_its_chance_and_the_next_two() -> None:
    found = predicted(chooser(0.1, 0.6, 0.05, 0.25), ("red", "green", "blue", "grey"))
    assert found.lines() == ["which colour? green 60%, grey 25%, red 10%"]
    assert found.rows() == [{"question": "which colour?", "answer": "green", "sure": "0.60"}]
    assert answer(chooser(0.1, 0.9), [Image.new("RGB", (32, 32))], "which?", answers=("a", "b")) == ["b"]


def test_in_a_table_an_answer_that_is_less_likely_than_all_others_is_empty() -> None:
    assert predicted(chooser(0.4, 0.3, 0.3), ("a", "b", "c")).rows()[0]["answer"] == ""


@pytest.mark.parametrize("answers", [("red",), ("red", "red"), ("red", " ")])
def test_answers_that_are_repeated_or_empty_are_refused(answers: tuple[str, ...]) -> None:
    with pytest.raises(DeixisError, match="none twice"):
        predicted(chooser(0.5, 0.5), answers)


def test_a_method_that_can_not_choose_says_so() -> None:
    with pytest.raises(DeixisError, match="can't choose"):
        predicted(Answerer(), ("red", "green"))
