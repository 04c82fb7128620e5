"""In which languages a model reads, as far as that can be told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deixis import zoo
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.zoo import languages as module


def reads(name: str, tokenizer: Any = None) -> str:
    unchecked: Any = getattr(module.languages, "__wrapped__", module.languages)  # a stand-in is no DualEncoder
    return str(unchecked(SimpleNamespace(name=name, tokenizer=tokenizer)))


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("starter", "English"),
        ("xlm-roberta-base-ViT-B-32", "many languages"),
        ("google/siglip2-base-patch16-224", "many languages"),
        ("OFA-Sys/chinese-clip-vit-base-patch16", "Chinese"),
        ("BAAI/AltCLIP", "English and Chinese"),
        ("a-model-of-my-own", ""),
    ],
)
def test_a_name_tells_the_languages_or_nothing_is_said(name: str, language: str) -> None:
    assert reads(name) == language


def test_clips_own_encoding_is_read_as_english() -> None:
    assert reads("a-model-of-my-own", ClipTokenizer([("a", "b")])) == "English"


def test_what_is_not_known_of_a_model_is_not_said() -> None:
    assert module.languages(zoo.load("tiny")) == ""
