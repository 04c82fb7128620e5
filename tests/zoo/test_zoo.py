"""Models by name, and what is said where a name leads nowhere; the tiny model."""

from __future__ import annotations

import time

import pytest
import torch

from deixis import zoo
from deixis.errors import DeixisError


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(DeixisError, match=r"Did you mean 'starter'.*starter, desk-clip, tiny"):
        zoo.load("startr")


def test_a_picture_given_as_a_model_is_called_a_file(tmp_path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(DeixisError, match=r"cat\.jpg' is a file, and not a model"):
        zoo.load(tmp_path / "cat.jpg")


def test_the_tiny_model_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model = zoo.load("tiny")
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(model.encode_text("a red bird"), zoo.load("tiny").encode_text("a red bird"))


def test_the_tiny_model_is_there_at_once() -> None:
    zoo.load("tiny")
    start = time.process_time()
    zoo.load("tiny")
    assert time.process_time() - start < 0.2


def test_the_tiny_model_tells_pictures_and_texts_apart() -> None:
    model = zoo.load("tiny")
    images = model.image_states(torch.randn(6, 3, 32, 32))
    texts = model.encode_text(["a red bird", "a blue car", "three green boats", "night"])
    for rows in (images.embedding, texts):
        cosines = rows @ rows.T - torch.eye(len(rows))
        assert cosines.max() < 0.999
    assert images.doubt.std() > 0.01
