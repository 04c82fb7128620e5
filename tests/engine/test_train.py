"""The loop: every sample comes, steps are counted, a seed is a run, and nothing goes on after a loss that is none."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from deixis.engine.train import batches, train
from deixis.errors import DeixisError
from deixis.types import Batch, Losses, Progress, Stage
from tests.contract import changed, snapshot
from tests.toys import TwoTowers, carded, pairs


def method(dropout: float = 0.0) -> TwoTowers:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TwoTowers(dropout=dropout)


# Batches


def test_each_pass_takes_every_sample_once_in_a_new_order() -> None:
    taken = [batch.ids for batch in itertools.islice(batches(pairs(12), 4, seed=0), 6)]
    first, second = (sum(taken[i : i + 3], ()) for i in (0, 3))
    assert sorted(first) == sorted(second) == sorted(pairs(12).ids)
    assert first != second


def test_a_short_last_piece_is_left_out_and_another_one_next_time() -> None:
    stream = batches(pairs(10), 4, seed=0)
    passes = [[next(stream) for _ in range(2)] for _ in range(8)]
    assert all(len(batch) == 4 for each in passes for batch in each)
    left_out = [frozenset(pairs(10).ids) - {name for batch in each for name in batch.ids} for each in passes]
    assert len(set(left_out)) > 1


def test_fewer_samples_than_a_batch_come_all_at_once() -> None:
    assert len(next(batches(pairs(3), 256, seed=0))) == 3


def test_the_seed_decides_the_order_and_the_global_generator_does_not() -> None:
    def ids(seed: int) -> list[tuple[str, ...]]:
        torch.rand(1)
        return [batch.ids for batch in itertools.islice(batches(pairs(12), 4, seed), 5)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


# Training


def run(model: nn.Module, steps: int = 5, **more: Any) -> nn.Module:
    return train(model, batches(pairs(12), 6, seed=0), steps, **more)


def test_equal_seeds_give_equal_weights_also_with_dropout() -> None:
    first, second = run(method(0.5), seed=3), run(method(0.5), seed=3)
    assert not changed(second, snapshot(first))
    assert changed(run(method(0.5), seed=4), snapshot(first))


def test_the_callers_random_numbers_go_on_as_before() -> None:
    before = torch.random.get_rng_state()
    run(method(0.5))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_in_pieces_is_the_run_in_one() -> None:
    whole, pieces = run(method()), run(method(), chunk=2)
    for name, value in pieces.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def test_it_learns() -> None:
    def loss(model: nn.Module) -> float:
        return float(model(pairs(12), Progress()).total.detach())

    model = method()
    first = loss(model)
    assert loss(run(model, 100)) < 0.9 * first


def test_only_the_stages_tensors_change() -> None:
    model = method()
    before = snapshot(model)
    run(model, stage=Stage(trainable=("left.", "scale")))
    assert changed(model, before) == {"left.weight", "left.bias", "scale"}


class Recorder(TwoTowers):
    """Notes what it is called for, and stops the left tower's gradient as SwAV does its prototypes'."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.left.weight, self.left.bias], "lr": 0.5, "weight_decay": 0.0}]

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        self.calls.append(("forward", progress.step, progress.total, progress.stage, progress.seed))  # type: ignore
        return super().forward(batch, progress)

    def after_backward(self, progress: Progress) -> None:
        self.calls.append(("after_backward", progress.step))  # type: ignore
        assert self.left.weight.grad is not None
        if progress.step == 0:
            self.left.weight.grad = None
        self.weight = self.left.weight.detach().clone()

    def after_step(self, progress: Progress, losses: Losses) -> None:
        self.calls.append(("after_step", progress.step, tuple(losses.carry)))  # type: ignore
        moved = not torch.equal(self.weight, self.left.weight)
        assert moved == (progress.step > 1), "the hook before the step can hold a tensor still"


carded(Recorder)


def test_hooks_come_in_order_and_count_the_steps() -> None:
    model = Recorder()
    model.calls = []  # type: ignore[assignment]
    seen: list[int] = []
    run(model, 2, seed=7, stage=Stage("warm"), on_step=lambda progress, losses: seen.append(progress.step))
    assert model.calls == [
        ("forward", 0, 2, "warm", 7),
        ("after_backward", 0),
        ("after_step", 1, ("left",)),
        ("forward", 1, 2, "warm", 7),
        ("after_backward", 1),
        ("after_step", 2, ("left",)),
    ]
    assert seen == [1, 2], "optimiser steps done"


def test_a_method_trains_in_training_mode_and_comes_back_in_eval_mode() -> None:
    modes: list[bool] = []
    model = method()
    run(model, 2, on_step=lambda progress, losses: modes.append(model.training))
    assert modes == [True, True]
    assert not model.training


class Diverging(TwoTowers):
    def loss(self, features: Any, batch: Batch, progress: Progress) -> Losses:
        losses = super().loss(features, batch, progress)
        if progress.step == 3:
            return Losses({**losses.parts, "classes": losses.parts["classes"] * torch.nan})
        return losses


carded(Diverging)


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_weights_as_they_were() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Diverging()
    with pytest.raises(DeixisError, match=r"not a finite number at step 3: .*'classes': nan.*lower learning rate"):
        run(model, 9)
    assert not changed(model, snapshot(run(method(), 3)))
