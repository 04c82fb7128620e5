"""Runs of methods with a language model: what they store, and that they are opened again with its words."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

import deixis
from deixis import engine
from deixis.apps.train.captions import cut_notes
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from tests.pictures import captioned
from tests.support import texts

SETTINGS = TrainSettings(
    config="tiny", precision="float32", steps=3, batch_size=8, workers=0, set=("lm=scratch:tiny", "words=4")
)


def test_a_new_language_model_that_would_not_train_is_refused_before_any_work(tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 4)
    changed = TrainSettings(config="tiny", workers=0, set=("lm=scratch:tiny", "trains=lora"))
    with pytest.raises(DeixisError, match="does not train all of its language model, and 'scratch:tiny' has random"):
        train("prefix", str(tmp_path / "pictures"), tmp_path / "run", changed, quiet=True)
    assert not (tmp_path / "run").exists()


def test_captions_that_are_longer_than_what_is_read_are_counted() -> None:
    method = engine.build("prefix", "tiny", {"sample.length": 8})
    said = texts("a red bird", "cat")
    assert cut_notes(method, said) == ["1 caption is longer than the 8 tokens that are read."]
    assert not cut_notes(method, texts("cat"))


@pytest.mark.slow
def test_a_run_captions_and_answers_with_the_words_of_its_captions_and_stores_no_tower(tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 24)
    pictures = sorted((tmp_path / "pictures").glob("*.png"))[:2]
    train("prefix", str(tmp_path / "pictures"), tmp_path / "run", SETTINGS, quiet=True)
    assert not any("tower" in name for name in load_file(tmp_path / "run" / "method.safetensors"))
    words = {word for each in (tmp_path / "pictures").glob("*.txt") for word in each.read_text().split()}
    for said in (
        *deixis.caption(tmp_path / "run", pictures),
        *deixis.answer(tmp_path / "run", pictures, "what is it?"),
    ):
        assert set(said.split()) <= words | {"[UNK]"}
