"""Classes that are known by what is said of them: whose sentences are right is told from whose are exchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.protocols import described
from deixis.engine.evaluation.selection import select
from deixis.errors import DeixisError
from tests.engine.evaluation.test_protocols import CLASSES, LABELLED, SILENT, data_of, mean, run
from tests.planted import tiny

VECTORS = F.normalize(torch.randn(len(CLASSES), 8, generator=torch.Generator().manual_seed(0)), dim=-1)


def knowing(monkeypatch: pytest.MonkeyPatch, read: list[str]) -> EvalModel:
    """A model whose images lie at the vectors of their classes, and that reads sentences by a sound in them."""
    model = EvalModel("tiny", tiny())

    def vector(text: str) -> Tensor:
        place = next((i for i, name in enumerate(CLASSES) if f"sound of {name[::-1]}" in text), None)
        return VECTORS[0] if place is None else VECTORS[place]

    def texts(encoder: Any, own: Sequence[Sequence[str]], normalised: bool = True) -> Tensor:
        read.extend(text for each in own for text in each)
        return torch.stack([F.normalize(torch.stack([vector(text) for text in each]).mean(0), dim=-1) for each in own])

    def images(data: Any, talk: Any) -> Tensor:
        return VECTORS[[CLASSES.index(str(sample.label)) for sample in data.samples]]

    monkeypatch.setattr(described, "text_vectors", texts)
    monkeypatch.setattr(model, "image_embeddings", images)
    return model


def table(path: Path, names: Sequence[str] = CLASSES) -> EvalOptions:
    lines = [f"{name},An {name} makes the sound of {name[::-1]}" for name in names]
    lines += [f"{name},{name.title()}s are seen at night" for name in names[:2]]
    path.write_text("\n".join(["class,text", *lines]), encoding="utf-8")
    return EvalOptions(knowledge=str(path), seeds=2)


def test_right_sentences_tell_classes_and_exchanged_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    found = run("described", knowing(monkeypatch, read), data_of(LABELLED), table(tmp_path / "texts.csv"))
    assert mean(found, "top1", "one sentence") == 1
    assert mean(found, "top1", "exchanged") == 0, "each class has the sentences of another"
    assert mean(found, "top1", "name") == 0, "names are all one to this model, and a tie is not right"
    assert mean(found, "top1", "name and sentences") > 0.8


def test_the_name_of_a_class_is_withheld_from_its_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    run("described", knowing(monkeypatch, read), data_of(LABELLED), table(tmp_path / "texts.csv"))
    assert "it makes the sound of tna" in read
    assert "it are seen at night" in read
    assert described.withheld("The snow leopards of Asia", "snow leopard") == "it of Asia"
    assert described.withheld("A cat catches ants", "cat") == "it catches ants"


def test_classes_of_which_nothing_is_said_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("described", knowing(monkeypatch, []), data_of(LABELLED), table(tmp_path / "texts.csv", CLASSES[:3]))
    assert found.facts["classes"] == 3
    assert found.facts["images"] == sum(sample.label in CLASSES[:3] for sample in LABELLED)
    assert any("4 classes of which nothing is said are left out" in note for note in found.notes)


def test_a_table_beside_the_data_comes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    data = data_of(LABELLED)
    data.source = dataclasses.replace(data.source, root=tmp_path / "photos")
    given = table(tmp_path / "texts.csv")
    found = run("described", knowing(monkeypatch, []), data, dataclasses.replace(given, knowledge=""))
    assert found.facts["knowledge"] == given.knowledge
    assert mean(found, "top1", "one sentence") == 1


def test_what_can_not_be_measured_is_said_before_anything_is_embedded(tmp_path: Path) -> None:
    data = data_of(LABELLED)
    with pytest.raises(DeixisError, match=r"No sentences about the classes are given.*--knowledge"):
        described.prepare(data, EvalOptions(), SILENT)
    with pytest.raises(DeixisError, match=r"nowhere\.csv"):
        described.prepare(data, EvalOptions(knowledge=str(tmp_path / "nowhere.csv")), SILENT)
    model = EvalModel("tiny", tiny())
    with pytest.raises(DeixisError, match="says something of 1"):
        run("described", model, data, table(tmp_path / "texts.csv", CLASSES[:1]))
    chosen = select(data, [model])
    assert "described" in chosen.models, "it is refused when it is prepared, with the cure"
