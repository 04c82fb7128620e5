"""Runs of methods with a language model: what they store, and that they are opened again with its words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from safetensors.torch import load_file

import deixis
from deixis import engine
from deixis.apps.train.captions import cut_notes
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.types import Region, Sample
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


def test_regions_whose_words_are_cut_off_are_counted_where_words_are_tied_to_boxes() -> None:
    method = engine.build("mdetr", "tiny", {"sample.length": 6})
    said = "a red bird, a cat and a very small dog"
    places = ((0, 10), (12, 17), (22, 38))
    regions = tuple(Region((0.1, 0.1, 0.5, 0.5), spans=(place,)) for place in places)
    source = dataclasses.replace(texts(said), samples=(Sample("0", None, (said,), regions=regions),))
    assert cut_notes(method, source) == [
        "1 caption is longer than the 6 tokens that are read.",
        "2 regions have no word among these tokens.",
    ]
    short = dataclasses.replace(source, samples=(Sample("0", None, ("cat",), regions=regions[:0]),))
    assert cut_notes(method, short) == []


@pytest.mark.slow
def test_a_run_captions_and_answers_with_the_words_of_its_captions_and_stores_no_tower(tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 24)
    pictures = sorted((tmp_path / "pictures").glob("*.png"))[:2]
    train("prefix", str(tmp_path / "pictures"), tmp_path / "run", SETTINGS, quiet=True)
    assert not any("tower" in name for name in load_file(tmp_path / "run" / "method.safetensors"))
    words = {word for each in (tmp_path / "pictures").glob("*.txt") for word in each.read_text().split()}
    known = " ".join(sorted(words)[:3])
    for said in (
        *deixis.caption(tmp_path / "run", pictures),
        *deixis.answer(tmp_path / "run", pictures, f"what is it: {known}?"),
    ):
        assert set(said.split()) <= words | {"[UNK]"}
    with pytest.raises(deixis.DeixisError, match="No word of 'what is it"):
        deixis.answer(tmp_path / "run", pictures, "what is it?")
