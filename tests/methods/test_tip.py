"""Tip-Adapter is its equation, and chooses by what each kept image would have been told by the others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.methods.baselines import tip
from deixis.types import Batch, FieldSpec, Progress


def labelled(image: Tensor, labels: Tensor, ids: tuple[str, ...] = ()) -> Batch:
    specs = {"image_embedding": FieldSpec("image_embedding", "B D")}
    names = ids or tuple(f"{i:03}" for i in range(len(labels)))
    return Batch(names, labels=labels, extra={"image_embedding": image}, specs=specs)


def fitted(batch: Batch, **settings: Any) -> tip.Method:
    method = engine.build("tip", "tiny", settings)
    with torch.no_grad():
        method.observe(batch, Progress())
        method.finish(Progress())
    return method


def some(count: int = 15) -> tuple[Tensor, Tensor]:
    return F.normalize(torch.randn(count, 16), dim=-1), torch.arange(count) % 5


def test_the_say_of_kept_images_is_the_sum_over_each_class() -> None:
    keys, labels = some()
    image = F.normalize(torch.randn(4, 16), dim=-1)
    found = tip.votes(image, keys, labels, 5, 2.5)
    for i in range(4):
        for c in range(5):
            near = [float(image[i] @ key) for key, label in zip(keys, labels, strict=True) if label == c]
            assert float(found[i, c]) == pytest.approx(sum(math.exp(-2.5 * (1 - n)) for n in near), rel=1e-4)


def test_logits_are_those_of_the_words_and_the_weighted_say() -> None:
    method = fitted(labelled(*some()), alphas=(2.0,), betas=(3.0,))
    pixels = torch.rand(3, 3, 32, 32)
    image = method.encoder.encode_image(pixels)
    said = tip.votes(image, method.keys, method.labels, 5, 3.0)
    torch.testing.assert_close(method.classify(pixels), 20 * image @ method.classes.T + 2 * said)


def test_the_pair_is_chosen_by_leaving_each_image_out() -> None:
    image, labels = some()
    alphas, betas = (1.0, 0.2, 5.0), (5.5, 1.0)
    method = fitted(labelled(image, labels), alphas=alphas, betas=betas)
    losses = {}
    for alpha in alphas:
        for beta in betas:
            total = 0.0
            for i in range(len(image)):
                rest = torch.arange(len(image)) != i
                said = tip.votes(image[i : i + 1], image[rest], labels[rest], 5, beta)
                logits = 20 * image[i] @ method.classes.T + alpha * said[0]
                total += float(F.cross_entropy(logits, labels[i]))
            losses[alpha, beta] = total
    best = min(losses, key=losses.__getitem__)
    assert (float(method.alpha), float(method.beta)) == pytest.approx(best)


def test_a_mirrored_view_does_not_speak_for_its_image() -> None:
    """With its own twin among the others each image would be sure of itself, and the largest weight be best."""
    image, labels = some(10)
    single = fitted(labelled(image, labels))
    ids = tuple(f"{i:03}#{view}" for view in range(2) for i in range(10))
    double = fitted(labelled(image.repeat(2, 1), labels.repeat(2), ids), alphas=(0.5, 0.15, 1.5))
    assert float(double.alpha) * 2 == pytest.approx(float(single.alpha))
    assert float(double.beta) == pytest.approx(float(single.beta))
    apart = fitted(labelled(image.repeat(2, 1), labels.repeat(2)), alphas=(0.5, 0.15, 1.5))
    assert float(apart.alpha) == pytest.approx(1.5)


def test_with_one_image_a_class_the_first_pair_is_taken() -> None:
    method = fitted(labelled(*some(5)), alphas=(1.0, 9.0), betas=(5.5, 1.0))
    assert (float(method.alpha), float(method.beta)) == (1.0, 5.5)


def test_what_was_kept_is_read_back(tmp_path: Any) -> None:
    from deixis.engine.training.checkpoint import load_state, save_state

    method = fitted(labelled(*some()))
    save_state(method, tmp_path / "state.safetensors")
    again = load_state(engine.build("tip", "tiny"), tmp_path / "state.safetensors")
    image = some(3)[0]
    assert torch.equal(again.scores(image), method.scores(image))
