"""What is asked: read to the length that the method has for questions, and what is left out is said."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from PIL import Image
from tokenizers import models, pre_tokenizers
from torch import Tensor

import deixis
from deixis.apps.answer.answer import answer_with
from deixis.apps.common.console import Reporter
from deixis.apps.predict.pictures import predict, with_names
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.protocols import answer as protocol
from deixis.engine.training.batching import QUESTION, tokenized
from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.types import Part, Question, Sample, SampleSpec, Source
from tests.capable import Answerer
from tests.toys import carded

SILENT = Reporter(quiet=True)
PICTURE = Image.new("RGB", (32, 32), (220, 20, 20))
WORDS = ("[UNKNOWN]", "is", "there", "anything", "red", "?")


@dataclasses.dataclass(frozen=True)
class Config:
    sample: SampleSpec = SampleSpec(tokenizer="words", length=4)
    question: SampleSpec = SampleSpec(tokenizer="words", length=6, field="question_tokens", column="question")


class Listener(Answerer):
    """Knows five words, reads four tokens of a caption and six of a question, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        rules = tokenizers.Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNKNOWN]"))
        rules.pre_tokenizer = pre_tokenizers.Whitespace()
        self.config = Config()
        self.words: Any = types.SimpleNamespace(tokenizer=Tokenizer(rules), context_length=16)
        self.heard: list[str] = []

    def answer(self, images: Tensor, tokens: Tensor, mask: Tensor | None = None) -> list[str]:
        assert mask is not None
        self.heard = [
            " ".join(WORDS[int(number)] for number in row[real]) for row, real in zip(tokens, mask, strict=True)
        ]
        return ["yes"] * len(images)


carded(Listener, kind="training-free", needs=(), parts=(Part("words", "text_encoder"),), capabilities=("answer",))


def test_a_question_is_as_long_as_questions_may_be_and_not_captions() -> None:
    method = Listener()
    assert deixis.answer(method, PICTURE, "is there anything red?") == ["yes"]
    assert method.heard == ["is there anything red ?"]


def test_a_question_of_5000_words_is_answered_and_what_is_cut_is_said_once() -> None:
    said: list[str] = []
    answer_with(Listener(), ["is it red?", "red " * 5000], say=said.append)
    assert len(said) == 1
    assert said[0].startswith("1 of 2 questions is longer than the 6 tokens that ")
    assert said[0].endswith(" reads, and is cut: 'red red red red red red red red red red red red red red...'.")
    with pytest.warns(UserWarning, match=r"1 of 1 question is longer than the 6 tokens"):
        deixis.answer(Listener(), PICTURE, "red " * 5000)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "no text, or an empty one"),
        (" \n", "no text, or an empty one"),
        ("quo vadis", "No word of 'quo vadis' is one that the model knows"),
        ("هل هناك شيء أحمر؟", "is one that the model knows"),
    ],
)
def test_what_says_nothing_to_the_method_is_refused(question: str, message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        answer_with(Listener(), [question])


def test_a_question_from_right_to_left_is_put_as_it_stands() -> None:
    """Of a method that reads bytes."""
    question = "هل هناك red؟"
    method = Answerer()
    found = predict(method, with_names([PICTURE]), answer_with(method, [question]))
    assert [line for each in found for line in each.lines()] == [f"{question} yes"]


def test_measured_questions_are_as_long_and_what_is_cut_is_noted(tmp_path: Path) -> None:
    asked = (
        Question("is there anything red?", "yes", ""),
        Question("is there anything red anything there?", "yes", ""),
    )
    PICTURE.save(tmp_path / "one.png")
    sample = Sample("one", tmp_path / "one.png", questions=asked)
    source = Source("made", Path(), "images", "made", (sample,))
    plan = protocol.prepare(EvalData(source, lambda some: EvalSet.of(some, ["one"])), EvalOptions(), SILENT)
    method = Listener()
    output = protocol.measure(plan, EvalModel("toy", method), EvalOptions(), SILENT)
    assert method.heard == ["is there anything red anything there"]
    assert any(note.startswith("1 of 2 questions is longer than the 6 tokens") for note in output.notes)


def test_rows_are_those_of_the_tokenizer_of_the_part() -> None:
    (tokens, real) = tokenized(Listener(), ["is it red?"], QUESTION)[0]
    assert torch.equal(tokens, torch.tensor([[1, 0, 4, 5]]))
    assert real.all()
