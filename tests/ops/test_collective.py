"""What processes exchange: in one process nothing; between several, what one process with all the rows would see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.ops import collective
from deixis.ops.contrastive import info_nce, sigmoid_pairs
from deixis.ops.late_interaction import token_similarity
from deixis.types import Batch, Card, Losses, Progress
from tests.ranks import on_ranks

COUNTS = (3, 1)


def rows(width: int = 4) -> Tensor:
    return torch.linspace(-1, 1, sum(COUNTS) * width).reshape(-1, width).sin()


def own(rank: int, values: Tensor) -> Tensor:
    start = sum(COUNTS[:rank])
    return values[start : start + COUNTS[rank]].clone()


def boxes(rank: int) -> Batch:
    """Three boxes at the most on the first rank, two on the second."""
    whole = Batch.synthetic([], size=sum(COUNTS))
    size, most = COUNTS[rank], 3 - rank
    real = torch.arange(most) < torch.arange(1, size + 1)[:, None].clamp(max=most)
    ids = whole.ids[sum(COUNTS[:rank]) :][:size]
    captions = tuple((f"of {name}",) for name in ids)
    return Batch(ids, captions=captions, boxes=torch.rand(size, most, 4) * real[..., None], valid={"T": real})


# One process


def test_in_one_process_each_exchange_is_the_identity() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert (collective.world_size(), collective.rank()) == (1, 0)
    assert collective.gather(x) is x
    assert collective.total(x) is x
    assert float(collective.mean_count(torch.tensor(7))) == 7.0
    assert collective.mean_count(2.0).dtype == torch.float32
    parameter = torch.nn.Parameter(torch.ones(2))
    collective.average_gradients([parameter])
    assert parameter.grad is None


# Two processes


def _gathered(rank: int) -> dict[str, Any]:
    """A loss over all rows on every rank; the gradient of what each rank put in, averaged as the engine does."""
    weight = torch.nn.Parameter(torch.eye(4))
    image, text = own(rank, rows()) @ weight, own(rank, rows().flip(1))
    whole = collective.gather(image)
    info_nce(image, text, scale=3.0).backward()
    collective.average_gradients([weight])
    assert weight.grad is not None
    return {"rows": whole.tolist(), "grad": weight.grad.tolist()}


def _counted(rank: int) -> dict[str, Any]:
    """A mean over a count that differs between ranks."""
    weight = torch.nn.Parameter(torch.ones(4))
    values = own(rank, rows()) * weight
    loss = values.square().sum() / collective.mean_count(len(values) * 1.0)
    loss.backward()
    collective.average_gradients([weight])
    assert weight.grad is not None
    return {"count": float(collective.mean_count(torch.tensor(len(values)))), "grad": weight.grad.tolist()}


def _others(rank: int) -> dict[str, Any]:
    first, second, third = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    first.grad = torch.full((2,), float(rank + 1))
    if rank == 1:
        second.grad = torch.ones(2)
    collective.average_gradients([first, second, third, frozen])
    laid = torch.nn.Parameter(torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last))
    laid.grad = torch.full_like(laid, float(rank + 1))
    collective.average_gradients([laid])
    kept = torch.tensor([rank, 10])
    summed = collective.total(kept)
    return {
        "grads": [None if p.grad is None else p.grad.tolist() for p in (first, second, third, frozen)],
        "strides": (laid.grad.stride() == laid.stride(), laid.grad.unique().tolist()),
        "total": summed.tolist(),
        "kept": kept.tolist(),
        "empty": collective.gather(torch.ones(rank, 2)).shape,
        "grid": collective.gather(torch.ones(1, 2, 2) * rank).tolist(),
    }


def _diverges(rank: int) -> str:
    method = _Diverging(rank)
    try:
        train(method, iter([boxes(rank)] * 3), 3)
    except DeixisError as error:
        return str(error)
    return "went on"


class _Diverging(torch.nn.Module):
    """Its loss is not finite at the second step, on the second rank only."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.weight = rank, torch.nn.Parameter(torch.ones(()))

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        wrong = self.rank == 1 and progress.step == 1
        return Losses({"x": self.weight * (torch.inf if wrong else 1.0)})


CARD = Card("Diverging", 2026, "trained")


def _all(rank: int) -> dict[str, Any]:
    """Everything in one go."""
    return {"gather": _gathered(rank), "count": _counted(rank), "others": _others(rank), "diverges": _diverges(rank)}


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return on_ranks(2, _all)


@pytest.mark.slow
def test_a_contrast_over_all_ranks_has_the_gradient_of_one_process(ranks: list[dict[str, Any]]) -> None:
    weight = torch.eye(4, requires_grad=True)
    info_nce(rows() @ weight, rows().flip(1), scale=3.0).backward()
    assert weight.grad is not None
    for each in ranks:
        torch.testing.assert_close(torch.tensor(each["gather"]["rows"]), rows())
        torch.testing.assert_close(torch.tensor(each["gather"]["grad"]), weight.grad)


@pytest.mark.slow
def test_a_mean_over_unequal_counts_has_the_gradient_of_one_process(ranks: list[dict[str, Any]]) -> None:
    weight = torch.ones(4, requires_grad=True)
    ((rows() * weight).square().sum() / sum(COUNTS)).backward()
    assert weight.grad is not None
    for each in ranks:
        assert each["count"]["count"] == sum(COUNTS) / 2
        torch.testing.assert_close(torch.tensor(each["count"]["grad"]), weight.grad)


@pytest.mark.slow
def test_a_gradient_that_one_rank_lacks_counts_as_zero_and_one_that_all_lack_stays_away(
    ranks: list[dict[str, Any]],
) -> None:
    """Else weight decay would shrink on two ranks what it leaves alone on one."""
    for each in ranks:
        assert each["others"]["grads"] == [[1.5, 1.5], [0.5, 0.5], None, None]


@pytest.mark.slow
def test_a_mean_gradient_lies_in_memory_as_its_parameter_does(ranks: list[dict[str, Any]]) -> None:
    """A fused optimiser walks through both side by side: else it trains another model, and says nothing."""
    for each in ranks:
        assert each["others"]["strides"] == (True, [1.5])


@pytest.mark.slow
def test_a_sum_over_ranks_leaves_its_argument_alone(ranks: list[dict[str, Any]]) -> None:
    for rank, each in enumerate(ranks):
        assert each["others"]["total"] == [1, 20]
        assert each["others"]["kept"] == [rank, 10]


@pytest.mark.slow
def test_a_rank_may_have_no_rows_and_rows_may_have_any_shape(ranks: list[dict[str, Any]]) -> None:
    for each in ranks:
        assert each["others"]["empty"] == (1, 2)
        assert each["others"]["grid"] == [[[0.0, 0.0]] * 2, [[1.0, 1.0]] * 2]


@pytest.mark.slow
def test_all_ranks_give_up_where_one_loss_is_not_finite(ranks: list[dict[str, Any]]) -> None:
    """The others would wait for it for ever."""
    for each in ranks:
        assert "not a finite number at step 1" in each["diverges"]


# Four processes

FOUR = (3, 1, 4, 2)


def _tokens() -> tuple[Tensor, Tensor, Tensor]:
    """Words of ten images and ten texts, and which words of a text are real: fewer on some ranks than on others."""
    generator = torch.Generator().manual_seed(0)
    real = torch.arange(5) < torch.tensor([2, 3, 1, 5, 4, 2, 3, 1, 2, 1])[:, None]
    return torch.randn(10, 6, 4, generator=generator), torch.randn(10, 5, 4, generator=generator), real


def _contrasts(start: int, count: int) -> dict[str, list[Any]]:
    """Gradients of a weight by the losses of `count` samples among all."""
    image, text, real = (each[start : start + count] for each in _tokens())
    longest = int(real.sum(1).max())  # as a rank pads: to its own longest text
    text, real = text[:, :longest], real[:, :longest]
    found = {}
    for name in ("info_nce", "sigmoid_pairs", "token_similarity"):
        weight = torch.nn.Parameter(torch.eye(4))
        left, right = image @ weight, text.tanh()
        if name == "info_nce":
            loss = info_nce(left[:, 0], right[:, 0], scale=3.0)
        elif name == "sigmoid_pairs":
            loss = _pairs(left[:, 0], right[:, 0])
        else:
            loss = _late(left, right, real)
        loss.backward()
        collective.average_gradients([weight])
        assert weight.grad is not None
        found[name] = weight.grad.tolist()
    return found


def _pairs(image: Tensor, text: Tensor) -> Tensor:
    """Own images with the texts of all; it is divided by the images of this rank, and others have other counts."""
    whole, mine = collective.gather(text), collective.own_rows(len(image))
    matches = torch.arange(len(whole)) == torch.arange(mine.start, mine.stop)[:, None]
    loss = sigmoid_pairs(image, whole, scale=3.0, bias=-2.0, matches=matches)
    return loss * len(image) / collective.mean_count(float(len(image)))


def _late(image: Tensor, text: Tensor, real: Tensor) -> Tensor:
    """Own images with the texts of all, which other ranks have padded otherwise, by late interaction."""
    words, mask = collective.gather_ragged(text), collective.gather_ragged(real.float()) > 0
    scores, _ = token_similarity(image, words, text_mask=mask)
    mine = collective.own_rows(len(image))
    aims = torch.arange(mine.start, mine.stop)
    return torch.nn.functional.cross_entropy(scores, aims, reduction="sum") / collective.mean_count(float(len(image)))


def _quarter(rank: int) -> dict[str, list[Any]]:
    return _contrasts(sum(FOUR[:rank]), FOUR[rank])


@pytest.fixture(scope="module")
def quarters() -> list[dict[str, list[Any]]]:
    return on_ranks(4, _quarter)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["info_nce", "sigmoid_pairs", "token_similarity"])
def test_four_ranks_with_unequal_counts_have_the_gradient_of_one_process(
    quarters: list[dict[str, list[Any]]], name: str
) -> None:
    alone = torch.tensor(_contrasts(0, sum(FOUR))[name])
    for each in quarters:
        torch.testing.assert_close(torch.tensor(each[name]), alone)
