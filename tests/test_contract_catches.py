"""The contract can be broken: a sound toy keeps every promise, and each planted fault is caught by the check named."""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis.nn.frozen import freeze
from deixis.ops.collective import mean_count
from deixis.ops.contrastive import info_nce, one_way
from deixis.types import Batch, Card, Features, FieldSpec, Losses, Part, Progress
from tests import contract
from tests.contract import Subject

pytestmark = pytest.mark.contract

WIDTH = 8
CARD = Card(
    title="Toy",
    year=2026,
    kind="trained",
    needs=(FieldSpec("boxes", "B T 4", ragged="T", values="boxes"), FieldSpec("x", "B D")),
    parts=(Part("base", "image_tower", frozen=True),),
    min_batch=2,
    non_gradient_state=("centre",),
)


class Sound(nn.Module):
    """Ragged boxes meet one vector a sample: a mean over all boxes of all ranks, a contrast over all samples."""

    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.base = freeze(nn.Linear(4, WIDTH))
        self.head = nn.Linear(WIDTH, WIDTH)
        self.side = nn.Linear(contract.SIZES["D"], WIDTH)
        self.register_buffer("centre", torch.zeros(WIDTH))

    def encode(self, batch: Batch, progress: Progress) -> Features:
        boxes, real = batch.boxes, batch.valid["T"]
        assert boxes is not None
        states = self.head(self.base(boxes).relu()) * real[..., None]
        pooled = states.sum(1) / real.sum(1, keepdim=True) - self.centre
        noise = 0.1 * progress.uniform("noise", batch.ids, WIDTH)
        return Features({"states": states, "pooled": pooled, "side": self.side(batch.extra["x"]) + noise})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        rows, real = features.rows, batch.valid["T"]
        distance = (rows["states"] - rows["side"][:, None]).square().sum(-1) * real
        parts = {
            "boxes": distance.sum() / mean_count(real.sum()),
            "contrast": info_nce(rows["pooled"], rows["side"], scale=1.0),
        }
        return Losses(parts, carry={"pooled": rows["pooled"].detach()})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.loss(self.encode(batch, progress), batch, progress)

    def after_step(self, progress: Progress, losses: Losses) -> None:
        self.centre.lerp_(losses.carry["pooled"].mean(0), 0.1)


class NotFrozen(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, WIDTH)


class GradientIntoAFrozenPart(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        self.base.weight.requires_grad_()
        return super().encode(batch, progress)


class LossChangesABuffer(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        self.centre.add_(0.01)
        return super().loss(features, batch, progress)


class ForwardMovesTheAverage(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        features = super().encode(batch, progress)
        self.centre.lerp_(features.rows["pooled"].detach().mean(0), 0.1)
        return features


class NothingMoves(Sound):
    def after_step(self, progress: Progress, losses: Losses) -> None:
        pass


class OtherArgument(Sound):
    def after_step(self, step: Progress, losses: Losses) -> None:
        super().after_step(step, losses)


class OneMoreArgument(Sound):
    def after_step(self, progress: Progress, losses: Losses, rate: float) -> None:
        super().after_step(progress, losses)


class NoForward(Sound):
    forward = nn.Module.forward  # type: ignore[assignment]


class DependsOnTheOrder(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        rows = dict(super().encode(batch, progress).rows)
        rows["side"] = rows["side"] + torch.rand(len(batch), 1, generator=progress.rng("noise"))
        return Features(rows)


class UndeclaredField(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        losses = super().loss(features, batch, progress)
        weight = 1.0 if batch.labels is None else 2.0
        return Losses({name: weight * part for name, part in losses.parts.items()}, carry=losses.carry)


class UndeclaredExtra(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        features = super().encode(batch, progress)
        return Features({**features.rows, "side": features.rows["side"] + ("surplus" in batch.extra)})


class FieldNotUsed(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        ones = torch.ones(len(batch), contract.SIZES["D"])
        batch = Batch(batch.ids, boxes=batch.boxes, valid=batch.valid, extra={"x": ones}, specs={"x": CARD.needs[1]})
        return super().encode(batch, progress)


class DroppedParameter(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))


class CountsPadding(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        rows = super().encode(batch, progress).rows
        return Features({**rows, "pooled": rows["states"].mean(1) - self.centre})


class LooksAtItsPiece(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        rows = super().encode(batch, progress).rows
        return Features({**rows, "side": rows["side"] - rows["side"].mean(0)})


class UnseededDraw(Sound):
    def encode(self, batch: Batch, progress: Progress) -> Features:
        rows, rng = super().encode(batch, progress).rows, torch.Generator()
        rng.seed()
        return Features({**rows, "side": rows["side"] + torch.rand(WIDTH, generator=rng)})


class StateOutsideTheState(Sound):
    def __init__(self) -> None:
        super().__init__()
        del self.centre
        self.centre = torch.zeros(WIDTH)


class MetricWithAGradient(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        losses = super().loss(features, batch, progress)
        return Losses(losses.parts, {"boxes": losses.parts["boxes"]}, losses.carry)


class SingleSampleOnly(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        losses = super().loss(features, batch, progress)
        return Losses({name: part / (len(batch) - 7) for name, part in losses.parts.items()}, carry=losses.carry)


class MeanOfItsOwnCount(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        rows, real = features.rows, batch.valid["T"]
        distance = (rows["states"] - rows["side"][:, None]).square().sum(-1) * real
        losses = super().loss(features, batch, progress)
        return Losses({**losses.parts, "boxes": distance.sum() / real.sum()}, carry=losses.carry)


class ContrastOfItsOwnRank(Sound):
    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        losses = super().loss(features, batch, progress)
        pooled, side = features.rows["pooled"], features.rows["side"]
        contrast = (one_way(pooled, side, scale=1.0) + one_way(side, pooled, scale=1.0)) / 2
        return Losses({**losses.parts, "contrast": contrast}, carry=losses.carry)


class InTurns(Sound):
    """Trains one task a step, each as often as its share says."""

    tasks = (("boxes", 2), ("contrast", 1))
    turns = 3

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        losses, task = super().loss(features, batch, progress), self.task(progress)
        return dataclasses.replace(losses, parts={task: losses.parts[task]})

    def task(self, progress: Progress) -> str:
        return progress.turn(self.tasks)


class LeavesATaskOut(InTurns):
    def task(self, progress: Progress) -> str:
        rare = torch.rand((), generator=progress.rng("task", shared=True)) < 0.1
        return "contrast" if rare else "boxes"


class Fitted(nn.Module):
    """The mean of x."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.base = freeze(nn.Linear(4, WIDTH))
        self.register_buffer("mean", torch.zeros(contract.SIZES["D"]))
        self._seen: list[Tensor] = []

    def observe(self, batch: Batch, progress: Progress) -> None:
        self._seen.append(batch.extra["x"])

    def finish(self, progress: Progress) -> None:
        self.mean.copy_(torch.cat(self._seen).mean(0))


class MeanOfMeans(Fitted):
    def finish(self, progress: Progress) -> None:
        self.mean.copy_(torch.stack([each.mean(0) for each in self._seen]).mean(0))


class FitsTheFrozenPart(Fitted):
    def finish(self, progress: Progress) -> None:
        super().finish(progress)
        self.base.bias.add_(1.0)


class NeverFinishes(Fitted):
    finish = None  # type: ignore[assignment]


class Evaluator(nn.Module):
    """The length of x."""

    def observe(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"x": batch.extra["x"]}

    def measure(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"length": rows["x"].norm(dim=1)}


class OneNumber(Evaluator):
    def measure(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"length": rows["x"].norm(dim=1).mean()}


class MeasuresInABatch(Evaluator):
    def observe(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"x": batch.extra["x"] - batch.extra["x"].mean(0)}


CARDS: dict[type, Card] = {
    Sound: CARD,
    Fitted: Card("Toy", 2026, "fitted", (CARD.needs[1],), CARD.parts),
    Evaluator: Card("Toy", 2026, "evaluator", (CARD.needs[1],)),
}


def _register(cls: type) -> None:
    """Gives the class a module of its own that holds its card, as the file of a method does."""
    module: Any = types.ModuleType(f"toys_{cls.__name__}")
    module.CARD = next(card for base, card in CARDS.items() if issubclass(cls, base))
    sys.modules[module.__name__] = module
    cls.__module__ = module.__name__


TOYS = [each for each in globals().values() if isinstance(each, type) and issubclass(each, (*CARDS,))]
for _each in TOYS:
    _register(_each)


def _make(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return globals()[name]()


def subject(cls: type) -> Subject:
    return Subject(functools.partial(_make, cls.__name__), sys.modules[cls.__module__].CARD)


def cached(subject: Subject) -> None:
    contract.cached_gradients_equal_whole_gradients(subject, 2)


def round_trip(subject: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        contract.a_state_round_trip_gives_equal_losses(subject, Path(folder))


TRAINED: tuple[Callable[[Subject], None], ...] = (
    contract.it_has_what_it_is_called_with,
    contract.frozen_parts_stay_frozen,
    contract.only_declared_fields_are_read,
    contract.loss_is_finite_and_the_sum_of_its_parts,
    contract.gradients_reach_exactly_what_trains_and_all_of_it_moves,
    contract.moving_tensors_move_after_the_step_only,
    contract.entering_a_stage_clears_gradients,
    contract.same_seed_same_numbers,
    contract.a_fixed_batch_is_learned,
    contract.the_loss_is_pure,
    contract.padding_is_nothing,
    contract.the_order_of_a_batch_is_nothing,
    contract.split_then_concatenate_is_the_identity,
    contract.the_smallest_batch_and_odd_sizes_work,
    cached,
    round_trip,
)
OTHERS: dict[type, tuple[Callable[[Subject], None], ...]] = {
    Fitted: (
        contract.it_has_what_it_is_called_with,
        contract.frozen_parts_stay_frozen,
        contract.only_declared_fields_are_read,
        contract.fitting_does_not_depend_on_how_the_data_is_cut_or_ordered,
        contract.fitting_moves_what_is_declared_and_nothing_frozen,
    ),
    Evaluator: (
        contract.it_has_what_it_is_called_with,
        contract.only_declared_fields_are_read,
        contract.rows_are_one_a_sample_and_values_one_a_query,
    ),
}
# the fault -> the check that finds it, and what that says
PLANTED: dict[type, tuple[Callable[[Subject], None], str]] = {
    OtherArgument: (contract.it_has_what_it_is_called_with, "after_step is called with .* and takes .*step"),
    OneMoreArgument: (contract.it_has_what_it_is_called_with, "wants .*rate"),
    NoForward: (contract.it_has_what_it_is_called_with, "forward is missing"),
    NeverFinishes: (contract.it_has_what_it_is_called_with, "finish is missing"),
    NotFrozen: (contract.frozen_parts_stay_frozen, "declared frozen and is not"),
    GradientIntoAFrozenPart: (
        contract.gradients_reach_exactly_what_trains_and_all_of_it_moves,
        "base.weight: a gradient",
    ),
    DroppedParameter: (contract.gradients_reach_exactly_what_trains_and_all_of_it_moves, "gain: no gradient"),
    LossChangesABuffer: (contract.the_loss_is_pure, "the loss changes"),
    ForwardMovesTheAverage: (contract.moving_tensors_move_after_the_step_only, "changed by encode or loss"),
    NothingMoves: (contract.moving_tensors_move_after_the_step_only, "declared to move"),
    DependsOnTheOrder: (contract.the_order_of_a_batch_is_nothing, "loss: .*not close"),
    UndeclaredField: (contract.only_declared_fields_are_read, "not declared: {'labels'}"),
    UndeclaredExtra: (contract.only_declared_fields_are_read, "not declared: {'surplus'}"),
    FieldNotUsed: (contract.only_declared_fields_are_read, "not read: {'x'}"),
    CountsPadding: (contract.padding_is_nothing, "loss: .*not close"),
    LooksAtItsPiece: (cached, "loss: .*not close"),
    UnseededDraw: (contract.same_seed_same_numbers, "loss: .*not close"),
    StateOutsideTheState: (round_trip, "does not hold all"),
    MetricWithAGradient: (contract.loss_is_finite_and_the_sum_of_its_parts, "metrics: detach"),
    SingleSampleOnly: (contract.the_smallest_batch_and_odd_sizes_work, "7 samples give"),
    MeanOfMeans: (contract.fitting_does_not_depend_on_how_the_data_is_cut_or_ordered, "mean: .*not close"),
    FitsTheFrozenPart: (contract.fitting_moves_what_is_declared_and_nothing_frozen, "changes a frozen part"),
    LeavesATaskOut: (contract.loss_is_finite_and_the_sum_of_its_parts, "in 3 steps not each task has its turn"),
    OneNumber: (contract.rows_are_one_a_sample_and_values_one_a_query, "one value a query"),
    MeasuresInABatch: (contract.rows_are_one_a_sample_and_values_one_a_query, "not close"),
}
BETWEEN_RANKS = (MeanOfItsOwnCount, ContrastOfItsOwnRank)


def test_every_toy_is_tried() -> None:
    assert set(TOYS) == {*CARDS, InTurns, *PLANTED, *BETWEEN_RANKS}


@pytest.mark.parametrize("check", TRAINED, ids=lambda check: check.__name__)
def test_a_sound_method_keeps_the_promise(check: Callable[[Subject], None]) -> None:
    check(subject(Sound))


@pytest.mark.parametrize("check", TRAINED, ids=lambda check: check.__name__)
def test_a_sound_method_of_several_tasks_keeps_the_promise(check: Callable[[Subject], None]) -> None:
    check(subject(InTurns))


@pytest.mark.parametrize(("toy", "check"), [(toy, c) for toy, checks in OTHERS.items() for c in checks])
def test_a_sound_method_of_another_kind_keeps_the_promise(toy: type, check: Callable[[Subject], None]) -> None:
    check(subject(toy))


@pytest.mark.parametrize("toy", PLANTED, ids=lambda toy: toy.__name__)
def test_a_planted_fault_is_caught(toy: type) -> None:
    check, said = PLANTED[toy]
    with pytest.raises(AssertionError, match=said):
        check(subject(toy))


@pytest.mark.parametrize("toy", BETWEEN_RANKS, ids=lambda toy: toy.__name__)
def test_a_fault_between_ranks_is_not_seen_in_one_process(toy: type) -> None:
    """Why the test with two processes is there."""
    for check in TRAINED:
        check(subject(toy))


@pytest.mark.slow
def test_a_sound_method_is_the_same_on_two_ranks() -> None:
    contract.ranks_equal_one_process(subject(Sound), (4, 3))


@pytest.mark.slow
@pytest.mark.parametrize("toy", BETWEEN_RANKS, ids=lambda toy: toy.__name__)
def test_a_fault_between_ranks_is_caught(toy: type) -> None:
    with pytest.raises(AssertionError, match="not close"):
        contract.ranks_equal_one_process(subject(toy), (4, 3))


def test_an_exemption_is_heeded_and_nothing_else_is() -> None:
    """Faithful to code that counts padding, a method says so on its card."""
    fault = subject(CountsPadding)
    exempt = dataclasses.replace(fault, card=dataclasses.replace(fault.card, skip_contract=("padding",)))
    contract.padding_is_nothing(exempt)
    with pytest.raises(AssertionError):
        contract.padding_is_nothing(
            dataclasses.replace(fault, card=dataclasses.replace(fault.card, skip_contract=("order",)))
        )
