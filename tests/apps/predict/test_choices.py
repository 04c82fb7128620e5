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
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.nn.language.sequences import ended, words_of
from deixis.types.outputs import Tokens
from tests.capable import Answerer
from tests.support import texts

VIEW = PictureView("a.png", Image.new("RGB", (8, 8)), WHOLE, (8, 8))


def chooser(*shares: float) -> Any:
    method: Any = Answerer()
    method.answer_scores = lambda images, tokens, mask, answers: torch.tensor([shares] * len(images)).log()
    return method


def predicted(method: Any, answers: tuple[str, ...]) -> Any:
    pixels: Tensor = torch.zeros(1, 3, 32, 32)
    return answer_with(method, ["which colour?"], answers)(pixels, [VIEW])[0]


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


def test_a_language_model_that_sees_chooses_what_it_is_likeliest_to_say() -> None:
    texts_ = texts("which colour is it?", "red", "dark blue")
    method: Any = build("prefix", "tiny", {"lm": "scratch:tiny", "questions": True}, seed=1, source=texts_).eval()
    answers, question = ("red", "dark blue"), "which colour is it?"
    found = answer_with(method, [question], answers)(torch.ones(1, 3, 32, 32), [VIEW])[0]
    chances = dict(found.choices[0])
    said = Tokens(*method.lm.tokenizer(list(answers), 48))
    asked = [words_of(method.lm, *method.lm.tokenizer([question], 48))] * 2
    both = Tokens(*(torch.cat(each) for each in zip(*asked, strict=True)))
    with torch.no_grad():
        target = ended(method.lm, words_of(method.lm, *said))
        loss = method.speaker.token_loss(method.speaker.prefix(torch.ones(2, 3, 32, 32)), target, both).sum(1)
    assert [chances[each] for each in answers] == pytest.approx((-loss).softmax(0).tolist(), abs=1e-5)
    with pytest.raises(DeixisError, match="No word of 'grün' is one that the model knows"):
        answer_with(method, [question], ("red", "grün"))


def test_a_method_that_can_not_choose_says_so() -> None:
    with pytest.raises(DeixisError, match="can't choose"):
        predicted(Answerer(), ("red", "green"))
