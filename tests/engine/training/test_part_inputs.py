"""What a batch's images and tokens are made with: the preprocessing and the tokenizer of the method's own parts."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deixis import zoo
from deixis.engine.training.batching import collate_for
from deixis.types import Card, FieldSpec, Part, Sample, Source
from tests.pictures import captioned
from tests.support import texts

IMAGES, TOKENS = FieldSpec("images", "B 3 H W"), FieldSpec("tokens", "B K L", "long", ragged="L")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., nn.Module]:
    """Gives a method with a card and these parts."""

    def make(needs: tuple[FieldSpec, ...], *parts: Part, **loaded: Any) -> nn.Module:
        file: Any = types.ModuleType("toy_of_parts")
        file.CARD = Card("Toy", 2026, "trained", needs=needs, parts=parts)
        monkeypatch.setitem(sys.modules, "toy_of_parts", file)
        method = type("Method", (nn.Module,), {"__module__": "toy_of_parts"})()
        for name, part in loaded.items():
            setattr(method, name, part)
        return method

    return make


def pictures(folder: Path) -> Source:
    paths = sorted(captioned(folder, 2).glob("*.png"))
    samples = tuple(Sample(path.stem, image=path, captions=("a red bird",)) for path in paths)
    return Source("two", folder, "captions", "by hand", samples)


def test_images_are_preprocessed_as_the_image_tower_asks(toy: Callable[..., nn.Module], tmp_path: Path) -> None:
    tower = zoo.load_part("image_tower", "scratch:vit:tiny:24")
    source = pictures(tmp_path)
    batch = collate_for(toy((IMAGES,), Part("tower", "image_tower"), tower=tower), source)(source.samples[0])
    assert batch.images is not None
    torch.testing.assert_close(batch.images, tower.preprocess.read([source.samples[0].image]))


def test_of_several_parts_the_first_that_sees_images_says_how(toy: Callable[..., nn.Module], tmp_path: Path) -> None:
    towers = nn.ModuleList(zoo.load_part("image_tower", f"scratch:vit:tiny:{side}") for side in (16, 24))
    parts = (Part("text", "text_encoder"), Part("towers", "image_tower", many=True), Part("encoder", "dual_encoder"))
    loaded = {"text": zoo.load_part("text_encoder", "tiny"), "towers": towers, "encoder": zoo.load("tiny")}
    source = pictures(tmp_path)
    batch = collate_for(toy((IMAGES, TOKENS), *parts, **loaded), source)(source.samples[0])
    assert batch.images is not None
    assert batch.images.shape[-1] == 16


def test_tokens_are_those_of_the_text_encoder_where_there_is_no_dual_encoder(
    toy: Callable[..., nn.Module], tmp_path: Path
) -> None:
    text = zoo.load_part("text_encoder", "scratch:bag:tiny", source=texts("a red bird"))
    source = pictures(tmp_path)
    batch = collate_for(toy((TOKENS,), Part("text", "text_encoder"), text=text), source)(source.samples[0])
    assert batch.tokens is not None
    assert torch.equal(batch.tokens[0], text.tokenizer(["a red bird"], text.context_length).ids)
