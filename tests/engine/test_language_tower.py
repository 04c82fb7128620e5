"""A text tower for a language meets the vectors of a frozen one, and stands in front of a model's adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from deixis import zoo
from deixis.engine.language_tower import (
    TowerReader,
    TowerRecipe,
    english_ranks,
    load_tower,
    save_tower,
    teacher_digest,
    train_tower,
)
from deixis.errors import DeixisError
from deixis.nn.language.ngrams import NgramText

PAIRS = [("Hund", "dog"), ("Katze", "cat"), ("Haus", "house"), ("Baum", "tree"), ("rot", "red"), ("blau", "blue")]
RECIPE = TowerRecipe("kalm", steps=30, batch_size=6, buckets=256, inner=16, learning_rate=3e-2)


def test_words_find_their_english_among_all_after_training_and_hardly_before() -> None:
    teacher = zoo.load("tiny")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    tower = train_tower(teacher, PAIRS, RECIPE)
    english = teacher.encode_text([text for _, text in PAIRS])
    words = [word for word, _ in PAIRS]
    learned = english_ranks(TowerReader(tower, teacher).encode_text(words), english, torch.arange(6))
    assert learned.tolist() == [1] * 6
    new = NgramText(teacher.width, RECIPE.inner, RECIPE.buckets)
    assert english_ranks(TowerReader(new, teacher).encode_text(words), english, torch.arange(6)).tolist() != [1] * 6
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items()), "the teacher rests"


def test_an_entry_without_a_letter_teaches_nothing_and_does_not_end_the_training() -> None:
    teacher = zoo.load("tiny")
    plain, odd = (train_tower(teacher, [*PAIRS, *more], RECIPE) for more in ([], [("...", "ago")]))
    for one, other in zip(plain.parameters(), odd.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_tower_is_read_as_it_was_written_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    tower, path = NgramText(16, 4, 32), tmp_path / "tower.safetensors"
    save_tower(tower, path)
    again = load_tower(path)
    tokens = tower.tokenizer(["ein Hund"], 64)
    assert torch.equal(again(*tokens), tower.eval()(*tokens))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DeixisError, match="can't be read"):
        load_tower(path)


def test_the_adapter_of_a_models_texts_stands_behind_the_tower_and_does_not_count_as_its_text_tower() -> None:
    encoder = zoo.load("tiny")
    turned = encoder.with_adapters(None, nn.Linear(encoder.width, encoder.width, bias=False))
    tower = NgramText(encoder.width, 4, 32)
    plain, adapted = (TowerReader(tower, each).encode_text(["ein Hund"]) for each in (encoder, turned))
    torch.testing.assert_close(adapted, turned.text_adapter(plain))
    assert teacher_digest(turned) == teacher_digest(encoder) != teacher_digest(zoo.load("tiny", seed=1))
