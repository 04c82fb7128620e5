"""Model folders: what is written comes back bit for bit, and what is damaged does not come back at all."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.adaptation.adapters import ImageResidual, TextResidual
from deixis.nn.dual import DualEncoder
from deixis.zoo import folder as folders
from deixis.zoo import scratch

TEXTS = ["a red bird", "", "ein Vogel, 鳥 🐦"]


def encoder(image: bool = True, text: bool = True, gated: bool = True) -> DualEncoder:
    base = zoo.load("tiny")
    image_adapter = ImageResidual(base.feature_width, base.width, gated=gated) if image else None
    text_adapter = TextResidual(base.width) if text else None
    for adapter in (image_adapter, text_adapter):
        if adapter is not None:
            for value in adapter.parameters():
                torch.nn.init.normal_(value, std=0.1)
            adapter.strength.fill_(0.375)
            adapter.requires_grad_(False)
    return base.with_adapters(image_adapter, text_adapter).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    zoo.save(encoder(), tmp_path / "model")
    return tmp_path / "model"


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **values}))


# round trip


@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("gated", [True, False])
def test_a_model_comes_back_bit_for_bit(sides: tuple[bool, bool], gated: bool, tmp_path: Path) -> None:
    model = encoder(*sides, gated=gated)
    zoo.save(model, tmp_path / "model")
    back = zoo.load(tmp_path / "model")
    images = torch.rand(3, 3, 32, 32)
    assert back.fingerprint() == model.fingerprint()
    assert torch.equal(back.encode_image(images), model.encode_image(images))
    assert torch.equal(back.encode_text(TEXTS), model.encode_text(TEXTS))
    assert not back.training
    assert not any(value.requires_grad for side in (back.image_adapter, back.text_adapter) if side is not None
                   for value in side.parameters())  # fmt: skip


def test_the_folder_holds_the_adapters_and_not_the_towers(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["adapters.safetensors", "config.json"]
    assert {name.split(".")[0] for name in load_file(folder / "adapters.safetensors")} == {"image", "text"}
    zoo.save(encoder(False, False), folder.parent / "bare")
    assert os.listdir(folder.parent / "bare") == ["config.json"]


def test_a_run_folder_stands_for_the_model_in_it(folder: Path) -> None:
    assert zoo.load(folder.parent).fingerprint() == zoo.load(folder).fingerprint()


def test_saving_again_replaces_the_model_whole(folder: Path) -> None:
    zoo.save(encoder(False, False), folder)
    assert os.listdir(folder) == ["config.json"]
    assert zoo.load(folder).image_adapter is None


def test_a_moved_folder_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    before = zoo.load(folder).fingerprint()
    shutil.move(folder, tmp_path / "elsewhere")
    assert zoo.load(tmp_path / "elsewhere").fingerprint() == before


def test_towers_that_were_tuned_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = encoder(text=False)
    with torch.no_grad():
        model.text_tower.get_parameter(next(name for name, _ in model.text_tower.named_parameters())).add_(0.25)
    zoo.save(model, tmp_path / "model")
    back = zoo.load(tmp_path / "model")
    assert back.fingerprint() == model.fingerprint()
    assert torch.equal(back.encode_text(TEXTS), model.encode_text(TEXTS))
    assert not torch.equal(back.encode_text(TEXTS), zoo.load("tiny").encode_text(TEXTS))
    assert len(load_file(tmp_path / "model" / "towers.safetensors")) == 1


# a model that stands on no other


def new(adapted: bool = False) -> DualEncoder:
    model = scratch.build(["a red bird", "ein Vogel"], "tiny", 32)
    model.traits = dataclasses.replace(model.traits, scale=33.25)
    return model.with_adapters(None, TextResidual(model.width)).eval() if adapted else model


@pytest.mark.parametrize("adapted", [False, True])
def test_a_new_model_comes_back_whole_words_and_scale_among_it(tmp_path: Path, adapted: bool) -> None:
    zoo.save(new(adapted), tmp_path / "model")
    back = zoo.load(tmp_path / "model")
    assert back.fingerprint() == new(adapted).fingerprint()
    assert torch.equal(back.encode_text(TEXTS), new(adapted).encode_text(TEXTS))
    assert back.scale == 33.25
    zoo.save(back, tmp_path / "copy")
    assert zoo.load(tmp_path / "copy").fingerprint() == back.fingerprint()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer that can be read"),
        (lambda folder: (folder / "towers.safetensors").unlink(), "does not hold the towers"),
        (lambda folder: save_file({}, folder / "towers.safetensors"), "does not hold the towers"),
        (lambda folder: changed(folder, whole={}), r"config\.json is damaged"),
        (lambda folder: changed(folder, whole=3), r"config\.json is damaged"),
        (lambda folder: changed(folder, whole={"image_tower": {"kind": "Rnn"}}), r"config\.json is damaged"),
    ],
)
def test_a_new_model_that_is_damaged_is_refused_by_name(tmp_path: Path, spoil: Any, said: str) -> None:
    zoo.save(new(), tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(DeixisError, match=said):
        zoo.load(tmp_path / "model")


def test_other_words_are_another_model(tmp_path: Path) -> None:
    zoo.save(new(), tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"bird"', '"bard"'), encoding="utf-8")
    with pytest.raises(DeixisError, match="damaged: its fingerprint is another"):
        zoo.load(tmp_path / "model")


# damage


def test_the_scale_that_was_trained_comes_back(tmp_path: Path) -> None:
    model = zoo.load("tiny")
    model.traits = dataclasses.replace(model.traits, scale=33.25)
    zoo.save(model, tmp_path / "model")
    again = zoo.load(tmp_path / "model")
    assert again.scale == 33.25
    assert again.fingerprint() == model.fingerprint()
    zoo.save(again, tmp_path / "copy")
    assert zoo.load(tmp_path / "copy").scale == 33.25


def test_a_changed_weight_is_seen(folder: Path) -> None:
    tensors = load_file(folder / "adapters.safetensors")
    tensors["image.linear.weight"][0, 0] += 1e-6
    save_file(tensors, folder / "adapters.safetensors")
    with pytest.raises(DeixisError, match=r"damaged: its fingerprint is another"):
        zoo.load(folder)


def spoiled(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "adapters.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapters.safetensors")

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "adapters.safetensors").unlink(),
        lambda folder: (folder / "adapters.safetensors").write_bytes(b""),
        lambda folder: (folder / "adapters.safetensors").write_bytes(b"PK\x03\x04" + bytes(500)),
        lambda folder: os.truncate(folder / "adapters.safetensors", 300),
        spoiled(lambda tensors: tensors.pop("text.linear.bias")),
        spoiled(lambda tensors: tensors.update({"text.more": torch.ones(1)})),
        spoiled(lambda tensors: tensors.update({"text.linear.bias": torch.ones(3)})),
        spoiled(lambda tensors: tensors["image.linear.bias"].fill_(torch.nan)),
    ],
    ids=["gone", "empty", "something else", "cut", "one missing", "one too many", "another shape", "not a number"],
)
def test_damaged_tensors_are_refused_by_name(spoil: Callable[[Path], object], folder: Path) -> None:
    spoil(folder)
    with pytest.raises(DeixisError, match=r"adapters\.safetensors"):
        zoo.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"model"', "null", '{"format": 1}', '{"format": "\\ud800"}'])
def test_a_config_that_is_none_is_refused_by_name(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(DeixisError, match=r"config\.json"):
        zoo.load(folder)


@pytest.mark.parametrize("adapter", [3, "ImageResidual", {}, {"kind": "Unknown"}, {"kind": "TextResidual", "x": 1}])
def test_adapters_of_an_unknown_kind_are_refused(adapter: object, folder: Path) -> None:
    changed(folder, text_adapter=adapter)
    with pytest.raises(DeixisError, match="does not hold the adapters of this model"):
        zoo.load(folder)


def test_a_newer_format_is_told_as_such(folder: Path) -> None:
    changed(folder, format=2)
    with pytest.raises(DeixisError, match=r"has format 2, and this version reads 1\. Upgrade deixis"):
        zoo.load(folder)


def test_a_base_that_is_another_model_by_now_is_refused(folder: Path) -> None:
    changed(folder, base_fingerprint="0" * 64)
    with pytest.raises(DeixisError, match=r"is built on 'tiny' with fingerprint 000000000000, and the one here has"):
        zoo.load(folder)


@pytest.mark.parametrize("base", ["gone", 7, None, ["tiny"]])
def test_a_base_that_is_not_there_is_refused(base: object, folder: Path) -> None:
    changed(folder, base=base)
    with pytest.raises(DeixisError):
        zoo.load(folder)


def test_a_folder_that_stands_on_itself_is_refused(folder: Path) -> None:
    changed(folder, base=str(folder))
    with pytest.raises(DeixisError, match="as its base model, which does not exist"):
        zoo.load(folder)


def test_what_fails_while_saving_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = zoo.load(folder).fingerprint()

    def fail(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deixis.zoo.folder.write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        zoo.save(encoder(False), folder)
    assert os.listdir(folder.parent) == ["model"]
    assert zoo.load(folder).fingerprint() == before


@pytest.mark.parametrize("adapted", [False, True])
def test_tuned_towers_come_back_bit_for_bit_and_only_they_are_stored(tmp_path: Path, adapted: bool) -> None:
    model = zoo.load("tiny")
    name = next(name for name, _ in model.named_parameters() if name.startswith("text_tower"))
    with torch.no_grad():
        model.get_parameter(name).add_(0.01)
    if adapted:
        model = model.with_adapters(None, TextResidual(model.width)).eval()
    zoo.save(model, tmp_path / "model")
    again = zoo.load(tmp_path / "model")
    assert again.fingerprint() == model.fingerprint() != zoo.load("tiny").fingerprint()
    assert set(load_file(tmp_path / "model" / "towers.safetensors")) == {name}


def test_towers_that_are_damaged_are_named(tmp_path: Path) -> None:
    model = zoo.load("tiny")
    with torch.no_grad():
        next(model.parameters()).add_(0.01)
    zoo.save(model, tmp_path / "model")
    path = tmp_path / "model" / "towers.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DeixisError, match=r"towers\.safetensors does not hold the towers"):
        zoo.load(tmp_path / "model")


# one side


@pytest.mark.parametrize("adapted", [False, True])
def test_the_text_side_alone_says_the_same_of_words(adapted: bool, tmp_path: Path) -> None:
    for name, model in (("new", new(adapted)), ("named", encoder(text=adapted))):
        zoo.save(model, tmp_path / name)
        side = folders.load_text(tmp_path / name)
        assert torch.equal(side.encode_text(TEXTS), model.encode_text(TEXTS)), name
        assert side.fingerprint() == model.text_side().fingerprint() != model.fingerprint()
        assert folders.recorded(tmp_path / name) == model.fingerprint()
        with pytest.raises(DeixisError, match="Only the text side"):
            side.encode_image(torch.rand(1, 3, 32, 32))
        with pytest.raises(DeixisError, match="Only the text side"):
            side.image_tokens(torch.rand(1, 3, 32, 32))


def test_the_weights_of_images_are_not_read_for_words(tmp_path: Path) -> None:
    zoo.save(new(), tmp_path / "model")
    path = tmp_path / "model" / "towers.safetensors"
    tensors = load_file(path)
    spoilt = {n: torch.zeros_like(v) if n.startswith("image_tower.") else v for n, v in tensors.items()}
    save_file(spoilt, path)
    assert folders.load_text(tmp_path / "model").encode_text("a red bird").shape == (1, 16)
    with pytest.raises(DeixisError, match="its fingerprint is another"):
        zoo.load(tmp_path / "model")


def test_changed_weights_of_words_are_seen_by_the_text_side(tmp_path: Path) -> None:
    zoo.save(new(), tmp_path / "model")
    path = tmp_path / "model" / "towers.safetensors"
    save_file({n: v + 1 if n.startswith("text_tower.") else v for n, v in load_file(path).items()}, path)
    with pytest.raises(DeixisError, match="its fingerprint is another"):
        folders.load_text(tmp_path / "model")
