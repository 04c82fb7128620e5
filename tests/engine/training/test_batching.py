"""From a method's config to its batches: views, several fields of tokens, groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deixis import zoo
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.engine.training.batching import collate_for
from deixis.engine.training.stages import group_size
from deixis.errors import DeixisError
from deixis.nn.frozen import freeze
from deixis.types import Augment, FieldSpec, Made, Part, Sample, SampleSpec, Source, ViewSpec
from tests.toys import carded


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A grey image."""

    name: str = "a sheet"

    def draw(self) -> Any:
        return np.full((30, 40, 3), 128, dtype=np.uint8)


VIEW = ViewSpec(size=0, augment=Augment(scale=(0.5, 1.0)))
CAPTIONS, LONG = SampleSpec(group=2, length=9), SampleSpec(field="stories", column="story", length=40)


@dataclasses.dataclass(frozen=True)
class Config:
    view: ViewSpec = VIEW
    captions: SampleSpec = CAPTIONS
    stories: SampleSpec = LONG


class Pairs(nn.Module):
    """Two samples of an identity side by side, each with a short and a long text."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.encoder = Config(), freeze(zoo.load("tiny"))


IMAGES, TOKENS = FieldSpec("images", "B 3 H W"), FieldSpec("tokens", "B K L", "long", ragged="L")
STORIES, GROUPS = FieldSpec("stories", "B K G", "long", ragged="G"), FieldSpec("groups", "B", "long")
PARTS = (Part("encoder", "dual_encoder", frozen=True),)
carded(Pairs, needs=(IMAGES, TOKENS, STORIES, GROUPS), parts=PARTS)


class OfRegions(Pairs):
    """Regions that a frozen part makes of whole images."""


REGIONS = FieldSpec("cells", "B T D", ragged="T", made=Made("encoder", "image_tokens", "states"))
carded(OfRegions, needs=(IMAGES, REGIONS), parts=PARTS)


def source() -> Source:
    samples = [
        Sample(f"{i}", Sheet(), (f"a dog {i}",), groups=(f"{i % 3}",), extra={"story": "a dog runs " * (i + 1)})
        for i in range(6)
    ]
    return Source("toy", Path("."), "captions", "list", tuple(samples))


def test_a_method_is_fed_groups_with_all_the_tokens_that_its_config_asks_for() -> None:
    method = Pairs()
    order = SampleOrder(4, group=group_size(method))
    with Loader(source(), collate_for(method, source()), order) as loader:
        batch = next(iter(loader))
    assert batch.images.shape == (4, 3, 32, 32), "the size of the encoder's own preprocessing"
    assert batch.images.dtype == torch.float32
    assert batch.groups[0] == batch.groups[1] != batch.groups[2] == batch.groups[3]
    assert batch.tokens.shape[2] <= 9
    assert 9 < batch.extra["stories"].shape[2] <= 40
    assert batch.valid["L"].shape == batch.tokens.shape
    assert batch.valid["G"].shape == batch.extra["stories"].shape
    assert [len(piece) for piece in batch.split(3, group_size(method))] == [2, 2]


def test_regions_of_whole_images_are_not_put_beside_crops() -> None:
    with pytest.raises(DeixisError, match="'cells' is made of the regions of whole images"):
        collate_for(OfRegions(), source())
