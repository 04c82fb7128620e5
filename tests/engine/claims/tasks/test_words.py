"""The task of words: unseen fonts and words, texts without what is to be read, a dual encoder once a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deixis.data import catalogue
from deixis.data.synthetic import scene_text
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.claims.tasks import words
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.types import Source
from deixis.zoo import starter

SMALL = {"count": 8, "held": 6, "texts": 60, "pairs": 128, "steps": 1, "size": "tiny", "batch_size": 4}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingTask:
    monkeypatch.setattr(scene_text, "faces", lambda: {name: (None,) for name in "abcdefgh"})
    monkeypatch.setattr(catalogue, "read", lambda name: Source(name, tmp_path, "images", "none", ()))
    known = (*scene_text.vocabulary(), "zymurgy", "quixotic", "an unusual phrase")
    monkeypatch.setattr(starter, "class_prompts", lambda: list(known))
    task = make_task("words", SMALL, 0)
    assert isinstance(task, TrainingTask)
    return task


def test_no_word_and_no_font_of_the_test_is_seen_before_not_even_as_text(made: TrainingTask) -> None:
    def shown(source: Source) -> set[str]:
        return {each.captions[0].lower() for each in source.samples if each.extra["kind"] == "word"}

    for side in (made.validation, made.test):
        assert not shown(side) & (shown(made.train) | shown(made.sources["words"]))
        families = {each.extra["family"] for each in side.samples}
        assert not families & {each.extra["family"] for each in made.train.samples}
    assert all(each.image is None for each in made.sources["words"].samples)
    with pytest.raises(DeixisError, match="8 pictures and 60 texts"):
        make_task("words", {**SMALL, "batch_size": 9}, 0)


@pytest.mark.slow
def test_the_dual_encoder_of_a_seed_is_trained_once_and_starts_the_image_tower(
    made: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made.encoder(3)
    monkeypatch.setattr(words, "_trained", lambda *_: pytest.fail("trained twice"))
    assert made.encoder(3).fingerprint() == first.fingerprint()
    settings = {"alphabet": "36", "view.size": 16, "view.width": 64, "patch": (4, 8), "width": 32, "heads": 1}
    method = build("dptr", "tiny", {**settings, "depth": 1, "vision": "encoder"}, {"encoder": made.encoder(3)})
    values = words.word_accuracy(method, made.test)
    assert values.shape == (6,)
    assert ((values == 0) | (values == 1)).all()


def test_a_word_counts_as_read_whatever_its_case(made: TrainingTask, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build("parseq", "tiny")
    answers = [each.captions[0].swapcase() for each in made.test.samples]
    answers[1] += "x"
    monkeypatch.setattr(method, "read", lambda images: answers)
    assert torch.equal(words.word_accuracy(method, made.test), torch.tensor([1.0, 0, 1, 1, 1, 1]).double())
