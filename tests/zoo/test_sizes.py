"""Other sizes than a model's own: positions are interpolated, and the model says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.layers.positions import resize_grid, resize_length
from tests.zoo.checkpoints import RESNET, TEXTS, VIT, open_clip_config, open_clip_folder


def folder(path: Path, vision: dict[str, object]) -> Path:
    open_clip_folder(path, open_clip_config(vision))
    return path


def test_its_own_size_is_the_model_itself(tmp_path: Path) -> None:
    plain = zoo.load(folder(tmp_path / "clip", VIT))
    same = zoo.load(tmp_path / "clip", image_size=32, context_length=16)
    assert same.fingerprint() == plain.fingerprint()
    assert same.name == plain.name


@pytest.mark.parametrize(("vision", "size"), [(VIT, 48), (VIT, 16), pytest.param(RESNET, 96, marks=pytest.mark.slow)])
def test_another_size_interpolates_the_positions_and_nothing_else(
    tmp_path: Path, vision: dict[str, object], size: int
) -> None:
    plain = zoo.load(folder(tmp_path / "clip", vision))
    other = zoo.load(tmp_path / "clip", image_size=size)
    assert f"{size} pixels instead of" in other.name
    assert other.preprocess.size == size
    assert torch.isfinite(other.encode_image(torch.rand(2, 3, size, size))).all()
    changed = different(plain, other)
    assert len(changed) == 1
    assert changed[0].endswith("positions")
    old, new = (model.state_dict()[changed[0]] for model in (plain, other))
    side = int(len(new) ** 0.5)
    torch.testing.assert_close(new, resize_grid(old, (side, side)))
    assert torch.equal(plain.encode_text(TEXTS), other.encode_text(TEXTS))


@pytest.mark.slow
def test_texts_may_be_longer(tmp_path: Path) -> None:
    plain = zoo.load(folder(tmp_path / "clip", VIT))
    other = zoo.load(tmp_path / "clip", context_length=40)
    assert "40 tokens instead of 16" in other.name
    assert other.tokenize(["the " * 60]).ids.shape[1] == 40
    (changed,) = different(plain, other)
    torch.testing.assert_close(other.state_dict()[changed], resize_length(plain.state_dict()[changed], 40))


def test_sizes_that_a_tower_cannot_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="no positions to interpolate"):
        zoo.load("tiny", image_size=64)
    folder(tmp_path / "clip", RESNET)
    with pytest.raises(DeixisError, match="multiple of 32"):
        zoo.load(tmp_path / "clip", image_size=70)


def different(left: DualEncoder, right: DualEncoder) -> list[str]:
    """Names of the tensors that differ."""
    a, b = left.state_dict(), right.state_dict()
    assert a.keys() == b.keys()
    return [name for name in a if a[name].shape != b[name].shape or not torch.equal(a[name], b[name])]
