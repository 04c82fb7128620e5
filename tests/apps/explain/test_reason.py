"""The reason in the words of a language model: taken where it quotes rightly, else the template's, which is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.apps.explain.overlays import Share
from deixis.apps.explain.reason import ReasonWriter, reason
from deixis.engine.chat_writer import ChatWriter
from deixis.errors import DeixisError
from tests import commands
from tests.pictures import picture

WORDS = (Share("red", 0.2), Share("bird", 0.8))
RIGHT, WRONG = 'The word "bird" (0.80) was most important.', 'The word "sea" (0.52) was most important.'


def written(answers: Sequence[str]) -> ReasonWriter:
    """A writer that says these, one after the other."""
    some = iter(answers)
    return ReasonWriter(lambda messages: next(some))


def test_what_fails_gives_way_to_the_template_and_the_share_that_held_is_told() -> None:
    writer = written([RIGHT, WRONG, ""])
    template = reason(WORDS, None)
    assert [reason(WORDS, None, writer) for _ in range(3)] == [RIGHT, template, template]
    assert writer.sentence == (
        "1 of 3 sentences of the language model quote words and numbers rightly; the others are the template's."
    )


def test_the_sentence_is_of_the_score_with_shares_or_as_published() -> None:
    assert reason(WORDS, None).startswith("The phrase » red bird « is most important for the score (100 %).")
    assert reason(WORDS, None, form="paper") == "The phrase » red bird « is most important for the prediction"


def test_of_a_text_of_one_word_nothing_is_asked() -> None:
    writer = written([])
    assert reason(WORDS[:1], torch.eye(9), writer).startswith("In the picture:")
    assert writer.sentence == ""


def test_a_language_model_that_follows_no_instructions_is_refused_at_once() -> None:
    with pytest.raises(DeixisError, match=r"has no chat template\. Take one that follows instructions"):
        ChatWriter(zoo.load_part("lm", "tiny"))


def test_where_the_language_model_was_not_fetched_it_is_said_how_before_anything_is_written(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", (200, 30, 30), random.Random(0))
    with commands.own_cache(tmp_path / "cache"):
        answer = commands.deixis(
            "explain", photo, "a red bird", "--model", "tiny", "--say", "lm", "--out", tmp_path / "x.png"
        )
    assert answer.code == 2
    assert "Run: deixis data get smollm2" in answer.err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_smollm2_is_asked_and_read(fetched: Callable[[str], Path], tmp_path: Path) -> None:
    fetched("smollm2")
    writer = ReasonWriter(ChatWriter(zoo.load_part("lm", "smollm2")))
    said = reason(WORDS, None, writer)
    assert "bird" in said
    assert writer.sentence.startswith(("0 of 1", "1 of 1"))
