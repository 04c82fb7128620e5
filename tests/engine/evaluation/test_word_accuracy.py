"""The protocol word-accuracy: words read right, exactly, and by how many letters wrong, by length and kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import word_accuracy
from deixis.engine.training.build import build
from deixis.types import Sample, Source

WORDS = {"No-Parking!": "NoParking", "tea": "tee", "42": "42", "aqX7": "aqx7"}


def test_a_word_counts_but_for_case_and_signs_and_letters_that_are_wrong_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds, samples = ("word", "word", "number", "random"), []
    for number, (written, kind) in enumerate(zip(WORDS, kinds, strict=True)):
        Image.new("RGB", (64, 16)).save(tmp_path / f"{number}.png")
        samples.append(Sample(written, tmp_path / f"{number}.png", (written,), extra={"kind": kind}))
    source = Source("words", tmp_path, "captions", "png", tuple(samples))
    data = EvalData(source, lambda each: EvalSet.of(each, tuple("abcd")))
    plan = word_accuracy.prepare(data, EvalOptions(), Reporter(quiet=True))
    method = build("ppocr", "tiny")
    monkeypatch.setattr(method, "read_lines", lambda pictures: (list(WORDS.values()), [1.0] * 4))
    model = EvalModel("reader", method)
    found = word_accuracy.measure(plan, model, EvalOptions(), Reporter(quiet=True)).arms[""]
    means = {column: float(each.values.mean()) for column, each in found.items()}
    assert means[Column("accuracy")] == 0.75
    assert means[Column("exact")] == 0.25
    assert means[Column("edits")] == pytest.approx(1 / 3 / 4)
    assert means[Column("accuracy", "1 to 3 letters")] == 0.5
    assert means[Column("edits", "word")] == pytest.approx(1 / 3 / 2)
    assert Column("accuracy", "10 letters or more") not in means
    trained = build("parseq", "tiny")
    monkeypatch.setattr(trained, "read", lambda images: [f"{len(images)}{tuple(images.shape[1:])}"] * len(images))
    again = word_accuracy.measure(
        dataclasses.replace(plan), EvalModel("run", trained), EvalOptions(), Reporter(quiet=True)
    )
    assert float(again.arms[""][Column("accuracy")].values.sum()) == 0


@pytest.mark.parametrize("read", ["NO PARKING", "NOPARKING", " NO  PARKING "])
def test_blanks_between_words_of_a_sign_count_in_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """PP-OCR reads blanks, a reader of single words has none: both read the sign as it is."""
    Image.new("RGB", (64, 16)).save(tmp_path / "sign.png")
    sample = Sample("sign", tmp_path / "sign.png", ("NO PARKING",))
    plan = EvalSet.of(Source("signs", tmp_path, "captions", "png", (sample,)), ("a",))
    method = build("ppocr", "tiny")
    monkeypatch.setattr(method, "read_lines", lambda pictures: ([read], [1.0]))
    found = word_accuracy.measure(plan, EvalModel("reader", method), EvalOptions(), Reporter(quiet=True)).arms[""]
    assert [float(found[Column(metric)].values.sum()) for metric in ("accuracy", "exact", "edits")] == [1, 1, 0]
