"""A language model that reads images learns what they show, answers questions, and leaves the rest as it was."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.training.checkpoint import state
from deixis.engine.training.train import train
from deixis.methods.baselines import prefix
from deixis.nn.language.sequences import ended, words_of
from deixis.types import Batch, OptimSpec, Progress
from tests.support import texts

SOURCE = texts("a red cup", "a blue hat", "which colour", "red", "blue", "what thing", "cup", "hat")
COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


def built(**overrides: object) -> prefix.Method:
    fast = {"lm": "scratch:tiny", "optim": dataclasses.asdict(OptimSpec(learning_rate=1e-2))}
    return engine.build("prefix", "tiny", {**fast, **overrides}, seed=1, source=SOURCE)


def image(colour: str) -> Tensor:
    return torch.tensor(COLOURS[colour])[:, None, None].expand(3, 32, 32)


def batch(method: prefix.Method, rows: list[tuple[str, str, str]]) -> Batch:
    """Of colour, question and what is to be said."""
    tokens, mask = method.lm.tokenizer([said for _, _, said in rows], 12)
    asked, known = method.lm.tokenizer([question for _, question, _ in rows], 12)
    more = {"question_tokens": asked[:, None]} if method.config.questions else {}
    return Batch(
        tuple(str(row) for row in range(len(rows))),
        torch.stack([image(colour) for colour, _, _ in rows]),
        tokens=tokens[:, None],
        valid={"L": mask[:, None], "M": known[:, None]},
        extra=more,
        specs={"question_tokens": prefix.QUESTION},
    )


def test_the_loss_is_the_mean_over_captions_of_the_mean_over_their_tokens_and_the_end() -> None:
    method = built()
    rows = batch(method, [("red", "", "a red cup"), ("blue", "", "hat")])
    assert rows.images is not None
    with torch.no_grad():
        target = ended(method.lm, words_of(method.lm, *rows.caption()))
        each = method.speaker.token_loss(method.speaker.prefix(rows.images), target)
        expected = (each[0, :4].mean() + each[1, :2].mean()) / 2
        torch.testing.assert_close(method(rows, Progress()).total, expected)


@pytest.mark.slow
def test_captions_that_were_learned_are_said() -> None:
    method = built()
    learned = batch(method, [("red", "", "a red cup"), ("blue", "", "hat")])
    train(method, iter([learned] * 60), 60)
    method.eval()
    assert learned.images is not None
    assert method.caption(learned.images) == ["a red cup", "hat"]


@pytest.mark.slow
def test_without_an_encoder_the_answer_depends_on_the_question_and_on_the_image() -> None:
    method = built(questions=True, tower="patches:16:32", projector="linear", grid=0)
    rows = [
        ("red", "which colour", "red"),
        ("red", "what thing", "cup"),
        ("blue", "which colour", "blue"),
        ("blue", "what thing", "hat"),
    ]
    learned = batch(method, rows)
    train(method, iter([learned] * 50), 50)
    method.eval()
    tokens, mask = method.lm.tokenizer([question for _, question, _ in rows], 12)
    assert learned.images is not None
    assert method.answer(learned.images, tokens, mask) == [said for _, _, said in rows]


@pytest.mark.parametrize(("trains", "stored"), [("projector", "speaker.projector."), ("lora", "speaker.")])
def test_a_run_stores_what_trains_and_nothing_frozen(trains: str, stored: str) -> None:
    method = built(trains=trains)
    names = set(state(method))
    assert names
    assert all(name.startswith(stored) for name in names)
    assert all(".change." in name or ".projector." in name for name in names)


def test_the_image_may_be_one_vector_that_becomes_several() -> None:
    method = built(projector="prefix", embedding=True, vectors=3)
    assert method.speaker.prefix(torch.rand(2, 3, 32, 32)).shape == (2, 3, method.lm.width)
