"""Classes by their descriptions: names, texts or both, averaged by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.dual import DualEncoder

NAMES = ("heron", "lettuce", "farm_tractor")
TEXTS = (("heron", "a tall bird"), ("heron", "it wades"), ("farm tractor", "a vehicle"), ("okapi", "a forest animal"))


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


def built(encoder: DualEncoder, **settings: Any) -> Any:
    return engine.build("described", "tiny", {"names": NAMES, "knowledge": TEXTS, **settings}, {"encoder": encoder})


def test_a_class_is_the_mean_of_its_texts_beside_its_name_and_without_a_text_its_name(encoder: DualEncoder) -> None:
    named = class_vectors(encoder, NAMES, ("a photo of a {}.",))
    tall, wades, vehicle = encoder.encode_text(["a tall bird", "it wades", "a vehicle"])
    texts = torch.stack([F.normalize(tall + wades, dim=0), named[1], vehicle])
    torch.testing.assert_close(built(encoder, by="texts").classes, texts)
    torch.testing.assert_close(built(encoder, by="both").classes, F.normalize(named + texts, dim=1))
    torch.testing.assert_close(built(encoder, by="name").classes, named)


def test_averaged_scores_are_the_mean_of_the_scores_of_single_texts(encoder: DualEncoder) -> None:
    images = F.normalize(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    whole = built(encoder, by="texts", mean="scores").scores(images)[:, 0]
    single = [built(encoder, by="texts", knowledge=(each,)).scores(images)[:, 0] for each in TEXTS[:2]]
    torch.testing.assert_close(whole, (single[0] + single[1]) / 2)


def test_without_any_text_it_is_zero_shot(encoder: DualEncoder) -> None:
    plain = engine.build("zero_shot", "tiny", {"names": NAMES}, {"encoder": encoder})
    assert torch.equal(built(encoder, knowledge=()).classes, plain.classes)
