"""Support pictures out of data: found by the words, pasted with their pixels known, none where the words are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis import zoo
from deixis.data.samplers import cutout_sampler
from deixis.data.samplers.class_nouns import class_noun
from deixis.data.samplers.cutout_sampler import CutoutSampler
from deixis.errors import DeixisError
from deixis.types import Sample


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    monkeypatch.setattr(cutout_sampler, "_photographs", tuple)
    cut = np.zeros((20, 30, 4), np.uint8)
    cut[5:15, 5:25] = (250, 10, 10, 255)
    Image.fromarray(cut).save(tmp_path / "dog.png")
    Image.new("RGB", (40, 20), (10, 10, 250)).save(tmp_path / "sky.png")
    captions = {"dog.png": "A red dog.", "sky.png": "The blue sky over a dog house."}
    return [Sample(name, tmp_path / name, captions=(text,)) for name, text in captions.items()]


def test_a_cut_out_is_pasted_and_its_pixels_are_due_to_the_text(samples: list[Sample]) -> None:
    sampler = CutoutSampler(samples, 64)
    drawn = sampler("a dog", 3, torch.Generator().manual_seed(0))
    assert drawn.images.shape == (3, 3, 64, 64)
    for image, covered in zip(drawn.images, drawn.attribution, strict=True):
        inside = covered > 0.9
        assert 0.05 < float(inside.float().mean()) < 0.6
        assert (image[0, inside] > 200).all()
        assert (image[2, inside] < 60).all()
    again = sampler("a dog", 3, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.images, again.images)
    assert not torch.equal(drawn.attribution[0], drawn.attribution[1]), "one picture, at another place"


def test_captions_about_a_noun_come_before_those_that_only_hold_it(samples: list[Sample]) -> None:
    sampler = CutoutSampler(samples, 64)
    assert [each.id for each in sampler.matching("Dogs")] == ["dog.png"]
    assert [each.id for each in sampler.matching("a house")] == ["sky.png"]
    assert sampler.matching("a zebra") == []
    assert len(sampler("a zebra", 3, torch.Generator()).images) == 0


def test_a_picture_that_fills_its_frame_counts_as_a_whole(samples: list[Sample]) -> None:
    drawn = CutoutSampler(samples, 64)("the sky", 1, torch.Generator())
    assert (drawn.attribution == 1).all()
    assert drawn.images[0].float().mean((1, 2)).tolist() == pytest.approx([10, 10, 250], abs=2)


def test_a_folder_is_named_by_its_path_and_pictures_without_words_are_refused(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sample in samples:
        (tmp_path / sample.id).with_suffix(".txt").write_text(sample.captions[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path.parent)
    for name in (str(tmp_path), f"./{tmp_path.name}", tmp_path.name):  # with a separator, or without
        sampler = zoo.load_part("sampler", name)
        assert len(sampler("dog", 2, torch.Generator()).images) == 2
    bare = tmp_path / "bare"
    bare.mkdir()
    (tmp_path / "dog.png").rename(bare / "one.png")
    with pytest.raises(DeixisError, match="have no words"):
        zoo.load_part("sampler", f"{bare}/")


def test_classes_are_called_as_captions_call_them() -> None:
    assert [class_noun(each) for each in ("a dog", "The Cats", "traffic lights", "a", "")] == [
        "dog",
        "cat",
        "traffic light",
        "a",
        "",
    ]
