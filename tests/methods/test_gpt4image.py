"""The projections and the losses of images and captions are the authors'; with weight 0 it is the classifier."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import gpt4image
from deixis.methods.gpt4image import TextProjection, text_loss
from deixis.types import Batch, Progress
from tests.support import load_golden

PROJECTIONS, LOSSES = ("mlp_bn", "mlp_nobn", "linear"), ("byol", "ctr", "clip")


def built(**overrides: Any) -> gpt4image.Method:
    return engine.build("gpt4image", "tiny", overrides, seed=3)


def equals(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.golden
@pytest.mark.parametrize(("kind", "loss"), list(itertools.product(PROJECTIONS, LOSSES)))
def test_projection_losses_and_gradients_are_those_of_the_authors_code(kind: Any, loss: Any) -> None:
    golden = load_golden("gpt4image_losses")
    features, logits = golden["in.features"].requires_grad_(), golden["in.logits"].requires_grad_()
    projection = TextProjection(features.shape[1], golden["in.text"].shape[1], kind).double()
    weights = {name.removeprefix(f"param.{kind}."): each for name, each in golden.items() if f"param.{kind}." in name}
    projection.load_state_dict(weights, strict=False)
    assert {name for name, _ in projection.named_parameters()} == set(weights)
    projected = projection(features)
    equals(projected, golden[f"out.{kind}.projected"])
    text = text_loss(projected, golden["in.text"], kind=loss, temperature=float(golden["cfg.tau"]))
    equals(text, golden[f"out.{kind}.{loss}"])
    labels = F.cross_entropy(logits, golden["in.labels"])
    equals(labels, golden["out.ce"])
    total = labels + float(golden["cfg.lambda"]) * text
    equals(total, golden[f"out.{kind}.{loss}_total"])
    inputs = {"features": features, "logits": logits, **dict(projection.named_parameters())}
    for name, gradient in zip(inputs, torch.autograd.grad(total, list(inputs.values())), strict=True):
        expected = golden.get("grad.logits" if name == "logits" else f"grad.{kind}.{loss}.{name}")
        assert (expected is None) == (name not in ("features", "logits") and loss != "clip"), name
        if expected is not None:
            equals(gradient, expected)


def test_equal_captions_share_the_mass_only_where_that_is_wished() -> None:
    images = torch.randn(3, 4, dtype=torch.float64)
    texts = torch.randn(3, 4, dtype=torch.float64)
    texts[1] = texts[0]
    v, t = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    logs = (v @ t.T / 0.2).log_softmax(dim=1)
    shared = -torch.stack([logs[0, :2].mean(), logs[1, :2].mean(), logs[2, 2]]).mean()
    equals(text_loss(images, texts, kind="ctr", temperature=0.2, share_repeats=True), shared)
    equals(text_loss(images, texts, kind="ctr", temperature=0.2), -logs.diagonal().mean())


def test_equal_captions_everywhere_give_the_logarithm_of_their_number_and_no_captions_give_nothing() -> None:
    loss = text_loss(torch.ones(5, 3), torch.ones(5, 3), kind="clip", temperature=0.2)
    assert float(loss) == pytest.approx(math.log(5))
    images = torch.randn(0, 3, requires_grad=True)
    assert float(text_loss(images, torch.zeros(0, 3), kind="clip", temperature=0.2).detach()) == 0.0


def batch_of(method: gpt4image.Method, captions: list[str]) -> Batch:
    batch = Batch.synthetic(gpt4image.CARD.needs, method.config.view, method.config.sample, len(captions), C=5, D=16)
    fields = {"images": batch.images, "extra": batch.extra, "specs": batch.specs}
    return Batch(batch.ids, labels=torch.arange(4), captions=tuple((each,) for each in captions), **fields)


def test_images_without_a_caption_of_their_own_teach_the_classifier_alone_unless_class_names_count() -> None:
    method, names = built(), built(class_names=True)
    half = batch_of(method, ["a", "b", "a bird", "a frog"])
    found = method(half, Progress())
    assert float(found.metrics["captioned"]) == 0.5
    rows = method.projection(method.encoder(half.images))
    text = half.extra["text_embedding"]
    two = text_loss(rows[2:], text[2:], kind="clip", temperature=0.2, share_repeats=True)
    torch.testing.assert_close(found.parts["text"], 0.3 * two)
    assert float(names(half, Progress()).metrics["captioned"]) == 1.0
    said = method.warnings({"captioned": 0.25}, Progress())["few captions"]
    assert "25% of the images have a caption other than the name of their class" in said


def test_without_a_weight_it_is_the_classifier_and_reads_no_text() -> None:
    method = built(weight=0.0)
    assert [each.name for each in method.stages()[0].needs or ()] == ["images", "labels"]
    batch = batch_of(method, ["x"] * 4)
    losses = method(Batch(batch.ids, images=batch.images, labels=batch.labels), Progress())
    assert list(losses.parts) == ["labels"]
    assert batch.images is not None
    torch.testing.assert_close(losses.total, F.cross_entropy(method.classify(batch.images), torch.arange(4)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"weight": -0.1}, "weight is -0.1 and temperature 0.2"), ({"temperature": 0.0}, "temperature 0.0")],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        built(**settings)
