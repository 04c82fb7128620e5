"""A step in pieces has the gradient of the whole: gradient caching, exact or refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.nn.frozen import freeze
from deixis.ops.contrastive import info_nce
from deixis.types import Batch, Features, FieldSpec, Losses, Progress, Stage
from tests.contract import same
from tests.support import load_golden
from tests.toys import TwoTowers, carded, pairs

CHUNKS = [1, 2, 3, 6, 7, 100]


def grads(method: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def stepped(method: nn.Module, batch: Batch, chunk: int | None) -> dict[str, Tensor]:
    engine.enter(method, Stage())
    torch.manual_seed(5)
    losses = engine.backward(method, batch, Progress(), chunk)
    return {"loss": losses.total.detach(), **grads(method)}


@pytest.mark.parametrize("chunk", CHUNKS)
def test_in_pieces_of_any_size_the_gradient_is_that_of_the_whole(chunk: int) -> None:
    """Of both towers, of what the batch shares (class vectors, counted once) and of the loss's own scale."""
    method, batch = TwoTowers(), pairs(7)
    whole = stepped(method, batch, None)
    assert {"left.weight", "context.weight", "words", "scale"} <= set(whole)
    same(stepped(method, batch, chunk), whole)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_draws_by_sample_are_the_same_in_pieces(chunk: int) -> None:
    method, batch = TwoTowers(own=0.5), pairs(7)
    same(stepped(method, batch, chunk), stepped(method, batch, None))


def test_dropout_draws_the_same_masks_in_both_passes() -> None:
    """The gradient is that of a graph through all pieces at once, their masks drawn one after the other."""
    method, batch = TwoTowers(dropout=0.5), pairs(7)
    cached = stepped(method, batch, 3)
    engine.enter(method, Stage())
    torch.manual_seed(5)
    features = [method.encode(piece, Progress()) for piece in batch.split(3)]
    rows = {name: torch.cat([each.rows[name] for each in features]) for name in features[0].rows}
    losses = method.loss(Features(rows, features[0].shared), batch, Progress())
    losses.total.backward()
    same(cached, {"loss": losses.total.detach(), **grads(method)})


def test_after_a_step_in_pieces_the_random_numbers_go_on() -> None:
    """Else the next step would draw the masks of the last piece again."""
    method, batch = TwoTowers(dropout=0.5), pairs(6)
    engine.enter(method, Stage())
    torch.manual_seed(5)
    for piece in batch.split(2):
        method.encode(piece, Progress())
    method.encode(batch.split(2)[0], Progress())  # what is shared, with its graph
    expected = torch.rand(3)
    torch.manual_seed(5)
    engine.backward(method, batch, Progress(), 2)
    assert torch.equal(torch.rand(3), expected)


class Noisy(TwoTowers):
    """Draws for the whole batch, and notes what it was told."""

    def encode(self, batch: Batch, progress: Progress) -> Features:
        features = super().encode(batch, progress)
        noise = torch.rand(len(batch), 4, generator=progress.rng("noise"))
        self.told.append((progress, noise, torch.is_grad_enabled()))  # type: ignore[operator,union-attr]
        return dataclasses.replace(features, rows={**features.rows, "left": features.rows["left"] + noise})


carded(Noisy)


def test_each_piece_is_a_micro_batch_with_draws_of_its_own() -> None:
    """The same in both passes, and not the same noise for the first sample of every piece."""
    method = Noisy()
    method.told = []  # type: ignore[assignment]
    engine.enter(method, Stage())
    engine.backward(method, pairs(6), Progress(micro=1), 2)
    told: list[tuple[Progress, Tensor, bool]] = method.told  # type: ignore[assignment]
    first = [each for each in told if not each[2]]
    second = [each for each in told if each[2]][-3:]
    assert [progress.micro for progress, _, _ in first] == [3, 4, 5]
    for (_, once, _), (_, again, _) in zip(first, second, strict=True):
        assert torch.equal(once, again)
    assert not torch.equal(first[0][1], first[1][1])


def test_pieces_go_through_the_towers_without_a_graph_first() -> None:
    """What makes the memory that of a piece."""
    method = Noisy()
    method.told = []  # type: ignore[assignment]
    engine.enter(method, Stage())
    engine.backward(method, pairs(6), Progress(), 2)
    told: list[tuple[Progress, Tensor, bool]] = method.told  # type: ignore[assignment]
    assert [graph for _, _, graph in told] == [False] * 3 + [True] * 4


def test_gradients_are_added_to_what_is_there() -> None:
    method, batch = TwoTowers(), pairs(6)
    once = stepped(method, batch, 2)
    engine.backward(method, batch, Progress(), 2)
    twice = grads(method)
    same(twice, {name: 2 * value for name, value in once.items() if name != "loss"})


def test_what_is_carried_and_measured_comes_back_whole_and_without_a_graph() -> None:
    method = TwoTowers()
    engine.enter(method, Stage())
    losses: Losses = engine.backward(method, pairs(7), Progress(), 3)
    assert losses.carry["left"].shape == (7, 4)
    assert losses.metrics == {"scale": torch.tensor(2.0)}
    assert not any(part.requires_grad for part in losses.parts.values())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)])
def test_a_batch_norm_in_training_is_refused_by_its_name(norm: nn.Module) -> None:
    method = TwoTowers(norm=norm)
    engine.enter(method, Stage())
    with pytest.raises(DeixisError, match=r"norm \(BatchNorm1d\) mixes the samples.*without --chunk"):
        engine.backward(method, pairs(6), Progress(), 2)
    assert not grads(method), "before anything was done"
    engine.backward(method, pairs(6), Progress(), None)


def test_a_norm_that_looks_at_its_piece_in_eval_mode_too_is_refused_there() -> None:
    method = TwoTowers(norm=nn.BatchNorm1d(4, track_running_stats=False))
    engine.enter(method, Stage(evaluate=("norm",)))
    with pytest.raises(DeixisError, match="norm"):
        engine.backward(method, pairs(6), Progress(), 2)


@pytest.mark.parametrize("settle", ["frozen", "evaluate", "layer norm"])
def test_a_norm_that_does_not_look_at_the_batch_is_exact(settle: str) -> None:
    norm: nn.Module = nn.LayerNorm(4) if settle == "layer norm" else nn.BatchNorm1d(4)
    method, batch = TwoTowers(norm=freeze(norm) if settle == "frozen" else norm), pairs(7)
    stage = Stage(evaluate=("norm",) if settle == "evaluate" else ())

    def gradients(chunk: int | None) -> dict[str, Tensor]:
        engine.enter(method, stage)
        engine.backward(method, batch, Progress(), chunk)
        return grads(method)

    same(gradients(2), gradients(None))


def test_a_method_that_mixes_samples_while_it_encodes_is_refused() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, batch: Batch, progress: Progress) -> Losses:
            return Losses({"x": (batch.extra["left"] * self.weight).softmax(0).square().sum()})

    method = carded(Whole)()
    engine.enter(method, Stage())
    with pytest.raises(DeixisError, match=r"mixes the samples of a batch while it encodes them.*without --chunk"):
        engine.backward(method, pairs(6), Progress(), 2)
    engine.backward(method, pairs(6), Progress(), 6)


# Against the authors' numbers


class Reference(nn.Module):
    """The towers of the stored step: two linear layers a side with tanh between them."""

    def __init__(self, stored: dict[str, Tensor], one_way: bool) -> None:
        super().__init__()
        self.one_way = one_way
        for side in ("image", "text"):
            layers = [stored[f"param.{side}.{layer}.weight"].shape for layer in ("fc1", "fc2")]
            tower = nn.ModuleDict({f"fc{i + 1}": nn.Linear(shape[1], shape[0]) for i, shape in enumerate(layers)})
            self.add_module(side, tower)
        self.log_scale = nn.Parameter(stored["param.log_scale"].clone())
        self.double()
        self.load_state_dict(
            {name.removeprefix("param."): v for name, v in stored.items() if name.startswith("param.")}
        )

    def encode(self, batch: Batch, progress: Progress) -> Features:
        rows = {}
        for side in ("image", "text"):
            tower = getattr(self, side)
            found = tower["fc2"](tower["fc1"](batch.extra[side]).tanh())
            rows[side] = found if self.one_way else F.normalize(found, dim=-1)
        return Features(rows)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        image, text = features.rows["image"], features.rows["text"]
        if self.one_way:
            return Losses({"rows": F.cross_entropy(image @ text.T, torch.arange(len(image)))})
        return Losses({"both": info_nce(image, text, scale=self.log_scale.exp())})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.loss(self.encode(batch, progress), batch, progress)


carded(Reference)


@pytest.mark.golden
@pytest.mark.parametrize("chunk", [None, 5, 7])
@pytest.mark.parametrize("mode", ["symmetric", "one_way"])
def test_loss_and_gradients_are_those_of_the_authors_cached_step(mode: str, chunk: int | None) -> None:
    """Theirs cut pictures in fives and texts in sevens; the last piece is short either way."""
    stored = load_golden("gradcache_step")
    method = Reference(stored, mode == "one_way")
    extra = {side: stored[f"in.{side}_inputs"].double() for side in ("image", "text")}
    specs = {side: FieldSpec(side, "B D") for side in extra}
    batch = Batch(tuple(f"sample {i}" for i in range(24)), extra=extra, specs=specs)
    engine.enter(method, Stage())
    losses: Any = engine.backward(method, batch, Progress(), chunk)
    torch.testing.assert_close(losses.total.detach(), stored[f"out.{mode}.loss"], rtol=1e-9, atol=0)
    found = grads(method)
    wanted = {name.removeprefix(f"grad.{mode}."): value for name, value in stored.items() if f"grad.{mode}." in name}
    assert len(wanted) == (11 if mode == "symmetric" else 10)
    for name, value in wanted.items():
        if not name.endswith("representations"):
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-14, msg=name)


@pytest.mark.golden
@pytest.mark.parametrize("mode", ["symmetric", "one_way"])
def test_representations_and_their_gradients_are_those_of_the_authors_cached_step(mode: str) -> None:
    """Which they cache between both passes."""
    stored = load_golden("gradcache_step")
    method = Reference(stored, mode == "one_way")
    extra = {side: stored[f"in.{side}_inputs"].double() for side in ("image", "text")}
    batch = Batch(
        tuple(map(str, range(len(extra["image"])))), extra=extra, specs={s: FieldSpec(s, "B D") for s in extra}
    )
    features = method.encode(batch, Progress())
    loss = method.loss(features, batch, Progress()).total
    rows = features.rows
    for side, gradient in zip(rows, torch.autograd.grad(loss, list(rows.values())), strict=True):
        torch.testing.assert_close(rows[side], stored[f"out.{mode}.{side}_representations"], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(gradient, stored[f"grad.{mode}.{side}_representations"], rtol=1e-9, atol=1e-14)
