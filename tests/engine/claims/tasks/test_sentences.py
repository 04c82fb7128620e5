"""The task of long texts: all arms see the same pictures, and what they read is all that differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.claims.tasks import sentences
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from tests.toy_clothes import toy_clothes

SMALL = {"count": 24, "held": 6, "batch_size": 8, "size": "tiny"}


@pytest.fixture(autouse=True)
def clothes(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_clothes(monkeypatch, labels=4)


def made(**options: Any) -> TrainingTask:
    task = make_task("sentences", {**SMALL, **options}, 0)
    assert isinstance(task, TrainingTask)
    return task


@pytest.mark.parametrize("world", ["scenes", "outfits"])
def test_arms_read_the_caption_all_sentences_or_one_long_text_of_the_same_pictures(world: str) -> None:
    told = ("short", "long", "sentences")
    caption, whole, parts = (made(captions=each, world=world).train.samples for each in told)
    for one, long, several in zip(caption, whole, parts, strict=True):
        assert one.id == long.id == several.id
        assert one.captions == several.captions[:1]
        assert long.captions == (" ".join(several.captions),)
    said = [sentence["true"] for each in parts for sentence in each.extra["sentences"]]
    assert 0.1 < 1 - sum(said) / len(said) < 0.3, "a fifth is invented"
    assert sum(bool(each.extra["noisy"]) for each in parts) > 2
    task = made()
    assert task.encoder(0).context_length == 96
    assert not any(each.extra["noisy"] for each in task.test.samples)
    with pytest.raises(DeixisError, match="no more than there are pictures"):
        made(batch_size=25)


@pytest.mark.parametrize("world", ["scenes", "outfits"])
def test_patches_that_are_named_rightly_have_an_overlap_of_one(world: str) -> None:
    task = made(world=world)
    method = build("dreamlip", "tiny", {}, {"encoder": task.encoder(0)})
    values = sentences.patch_iou(method, task.test)
    assert values.shape == (6,)
    assert ((values >= 0) & (values <= 1)).all()
    found, shown = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, -1])
    assert float(sentences._mean_iou(found, shown)) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert float(sentences._mean_iou(shown, shown)) == 1
