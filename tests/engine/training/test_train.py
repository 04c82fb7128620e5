"""The loop: every sample comes, steps are counted, a seed is a run, and nothing goes on after a loss or a gradient that
is none."""

from __future__ import annotations

import dataclasses
import itertools
import types
from typing import Any

import pytest
import torch
from torch import nn

from deixis.engine.training.train import Numerics, Training, batches, fit, train
from deixis.errors import DeixisError
from deixis.types import Batch, Losses, OptimSpec, Progress, Stage
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

    config = types.SimpleNamespace(optim=OptimSpec(learning_rate=0.5, weight_decay=0.0))

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


class Overflowing(TwoTowers):
    """Its loss stays finite; the gradient of the right tower does not, from the fourth step on."""

    def after_backward(self, progress: Progress) -> None:
        raise AssertionError("no step is taken behind it")

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        losses = super().forward(batch, progress)
        root = self.right.weight.square().sum(1).mul(0).sqrt().sum()  # 0, with the gradient of a root at 0
        return Losses({**losses.parts, "root": root}, losses.metrics, losses.carry)


carded(Overflowing)


def test_a_gradient_that_is_no_number_stops_the_run_before_the_step_and_is_named() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Overflowing()
    before = snapshot(model)
    with pytest.raises(DeixisError, match=r"gradient is not finite at step 0, in right\.weight; the loss is\.") as told:
        run(model, 9)
    assert not changed(model, before)
    assert "images" not in str(told.value)


def test_samples_that_hold_no_numbers_are_named() -> None:
    batch = pairs(6)
    left = batch.extra["left"].clone()
    left[4, 2] = torch.nan
    spoilt = dataclasses.replace(batch, extra={**batch.extra, "left": left})
    with pytest.raises(DeixisError, match=r"loss is not a finite number at step 0.*'left' is not finite in sample 4\."):
        train(method(), itertools.repeat(spoilt), 3)


# Numerics


def steps(numerics: Numerics, count: int = 1, seed: int = 0) -> tuple[TwoTowers, list[float]]:
    model, norms = method(), []
    training = Training(model, batches(pairs(12), 6, seed), count, numerics=numerics)
    training.run(lambda progress, losses: norms.append(training.pulse.norm))
    return model, norms


def gradients_norm(model: TwoTowers) -> float:
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())


def test_the_norm_is_that_of_all_gradients_and_clipping_holds_it() -> None:
    free, [norm] = steps(Numerics())
    assert norm == pytest.approx(gradients_norm(free))
    clipped, [before] = steps(Numerics(clip=norm / 4))
    assert before == norm, "as it was before"
    assert gradients_norm(clipped) == pytest.approx(norm / 4, rel=1e-4)
    for one, other in zip(clipped.parameters(), free.parameters(), strict=True):
        torch.testing.assert_close(4 * one.grad, other.grad)


def test_a_gradient_below_the_limit_is_left_as_it_is() -> None:
    free, _ = steps(Numerics(), 3)
    assert not changed(steps(Numerics(clip=1e6), 3)[0], snapshot(free))


@pytest.mark.parametrize("chunk", [None, 2])
def test_in_bf16_products_are_rounded_and_weights_are_not(chunk: int | None) -> None:
    def gradient(numerics: Numerics) -> dict[str, torch.Tensor]:
        model = method()
        Training(model, batches(pairs(12), 6, 0), 1, chunk=chunk, numerics=numerics).run()
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    exact, rounded = gradient(Numerics()), gradient(Numerics(precision="bf16"))
    assert exact.keys() == rounded.keys(), "nothing loses its gradient"
    apart = torch.cat([(exact[name] - rounded[name]).flatten() for name in exact]).norm()
    assert 0 < float(apart) < 0.03 * float(torch.cat([value.flatten() for value in exact.values()]).norm())


def test_a_run_tells_what_a_step_took() -> None:
    training = Training(method(), batches(pairs(12), 6, 0), 2)
    training.run()
    assert training.pulse.samples == 6
    assert training.pulse.waited > 0
    assert training.pulse.rate == pytest.approx(1e-3), "AdamW's own"


# Fitting


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sum", torch.zeros(6))
        self.seen = 0

    def observe(self, batch: Batch, progress: Progress) -> None:
        self.sum += batch.extra["left"].sum(0)
        self.seen += len(batch)

    def finish(self, progress: Progress) -> None:
        self.sum /= self.seen


carded(Mean, kind="fitted")


def test_a_stage_that_fits_sees_each_batch_once_and_finishes() -> None:
    model = fit(Mean(), pairs(7).split(3))
    torch.testing.assert_close(model.sum, pairs(7).extra["left"].mean(0))
    assert not model.training
