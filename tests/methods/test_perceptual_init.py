"""Perceptual-Initialization gives the hinge of its equation, hands its weights over, and is CLIP without votes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from deixis import engine
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import perceptual_init
from deixis.ops.similarity.triplets import agrees, cosine_distance, triplet_hinge
from deixis.types import Batch, Losses, Progress
from tests.support import load_golden


def built(**overrides: Any) -> perceptual_init.Method:
    return engine.build("perceptual_init", "tiny", overrides, seed=3)


def batches(method: perceptual_init.Method, size: int = 6) -> list[Batch]:
    return [Batch.synthetic(stage.needs or (), size=size, L=8) for stage in method.stages()]


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["plain", "centred"])
def test_the_hinge_and_its_gradients_are_those_of_the_equation(variant: str) -> None:
    golden, centred = load_golden("dreamsim_hinge"), variant == "centred"
    leaves = [golden[f"in.{name}"].double().requires_grad_() for name in ("ref", "left", "right")]
    votes, margin = golden["in.votes"].double(), float(golden["cfg.margin"])
    for name, other in zip(("left", "right"), leaves[1:], strict=True):
        distance = cosine_distance(leaves[0], other, centred)
        torch.testing.assert_close(distance, golden[f"out.{variant}.dist_{name}"], rtol=1e-10, atol=1e-14)
    loss = triplet_hinge(*leaves, votes, margin, centred)
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-10, atol=0)
    assert torch.equal(agrees(*leaves, votes, centred), golden[f"out.{variant}.correct"])
    for name, gradient in zip(("ref", "left", "right"), torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{variant}.{name}"], rtol=1e-8, atol=1e-14)


def test_a_vote_that_is_a_share_is_rounded_by_hand() -> None:
    reference, near, far = (torch.tensor([each]) for each in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    for vote, loss in ((0.1, 0.0), (0.4, 0.0), (0.6, 1.05), (1.0, 1.05)):
        found = triplet_hinge(reference, near, far, torch.tensor([vote]), 0.05)
        assert float(found) == pytest.approx(loss, abs=1e-6)
        assert bool(agrees(reference, near, far, torch.tensor([vote]))) is (vote < 0.5)


def test_the_orders_are_what_their_names_say_and_a_triplet_counts_as_three_images() -> None:
    names = {
        order: [stage.name for stage in built(order=order).stages()] for order in ("before", "after", "never", "less")
    }
    assert names == {
        "before": ["perceive", "pairs"],
        "after": ["pairs", "perceive"],
        "never": ["pairs"],
        "less": ["pairs"],
    }
    first, second = built().stages()
    assert (first.steps, second.steps, first.batch, first.data) == (0.2, 0.8, 1 / 3, "triplets")
    assert built(order="less").stages()[0].steps == 0.8
    assert built(order="never").stages()[0].steps == 1.0
    assert built(layers="last").stages()[0].trainable == tuple(
        name for name in built(layers="last").stages()[1].trainable if name.startswith("encoder.image_tower")
    )


@pytest.mark.parametrize("order", ["less", "never"])
def test_without_votes_it_is_clip(order: str) -> None:
    method, parent = built(order=order), engine.build("clip", "tiny", seed=3)
    batch, progress = batches(method)[0], Progress(stage="pairs")
    torch.testing.assert_close(method(batch, progress).total, parent(batch, Progress()).total)


def ended(method: perceptual_init.Method, loss: float, distance: float, steps: int = 24) -> None:
    for step in range(1, steps + 1):
        losses = Losses({"triplet": torch.tensor(loss)}, metrics={"distance": torch.tensor(distance)})
        method.after_step(Progress(step, steps, stage="perceive"), losses)


def test_the_pairs_begin_with_the_bits_that_the_votes_ended_with() -> None:
    method = built()
    pairs = batches(method)[1]
    ended(method, 0.01, 0.3)
    method(pairs, Progress(stage="pairs"))
    ended(method, 0.01, 0.3)
    with torch.no_grad():
        next(method.encoder.image_tower.parameters()).mul_(1 + 1e-6)
    with pytest.raises(DeixisError, match="do not begin with the image tower"):
        method(pairs, Progress(stage="pairs"))


def test_pictures_that_all_end_in_one_place_stop_the_run() -> None:
    with pytest.raises(DeixisError, match="lie in one place"):
        ended(built(), 0.05, 1e-5)
    ended(built(), 0.05, 0.3)
    ended(built(), 0.03, 1e-5)
    ended(built(), 0.05, 1e-5, steps=10)  # so few say nothing


def test_the_hinge_is_learned_with_the_text_tower_as_it_was() -> None:
    method = built()
    batch, stage = batches(method)[0], method.stages()[0]
    before = {name: value.clone() for name, value in method.encoder.text_tower.state_dict().items()}
    batch = dataclasses.replace(batch, extra={**batch.extra, "votes": (batch.extra["votes"] > 0.5).float()})
    losses: list[float] = []
    train(
        method, iter([batch] * 12), 12, stage=stage, on_step=lambda _, each: losses.append(float(each.total.detach()))
    )
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.text_tower.state_dict().items())
