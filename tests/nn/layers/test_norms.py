"""Batch norms over the samples of all ranks: two unequal ranks are one process, in values, gradients and statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis.nn.frozen import freeze
from deixis.nn.layers.norms import share_batch_norms
from deixis.ops.collective import average_gradients, world_size
from tests.ranks import on_ranks
from tests.support import Peer

timm = Peer("timm")
COUNTS = (4, 1)


def norms() -> nn.ModuleDict:
    """One of each kind, with weights of its own."""
    found = nn.ModuleDict(
        {
            "vectors": nn.BatchNorm1d(3),
            "maps": nn.BatchNorm2d(3),
            "mean of all": nn.BatchNorm2d(3, momentum=None),
            "with activation": timm.layers.BatchNormAct2d(3),
        }
    )
    for parameter in found.parameters():
        parameter.data = torch.linspace(0.5, 2, 3)
    return found


def values(name: str) -> Tensor:
    shape = (sum(COUNTS), 3) if name == "vectors" else (sum(COUNTS), 3, 2, 4)
    return torch.linspace(-3, 5, 3 * sum(COUNTS) * (1 if name == "vectors" else 8)).reshape(shape).sin()


def passed(kinds: nn.ModuleDict, start: int, count: int) -> dict[str, Tensor]:
    """Of each kind: what it gives for some rows, and gradients; the loss is the mean over ranks."""
    out = {}
    for name, norm in kinds.items():
        rows = values(name)[start : start + count].requires_grad_()
        given = norm(rows)
        (world_size() * (given * values(name)[start : start + count].cos()).sum()).backward()
        average_gradients(norm.parameters())
        assert rows.grad is not None
        out |= {f"{name}.given": given.detach(), f"{name}.gradient": rows.grad / world_size()}
        out |= {f"{name}.{key}": value.grad for key, value in norm.named_parameters()}
        out |= {f"{name}.{key}": value.clone() for key, value in norm.named_buffers()}
    return out


def test_in_one_process_and_in_eval_mode_the_norm_is_the_one_that_it_was() -> None:
    plain = norms()
    shared = share_batch_norms(copy.deepcopy(plain))
    assert isinstance(shared, nn.ModuleDict)
    assert plain.state_dict().keys() == shared.state_dict().keys()
    for left, right in zip(passed(plain, 0, 5).values(), passed(copy.deepcopy(shared), 0, 5).values(), strict=True):
        assert torch.equal(left, right)


def test_frozen_norms_are_left_alone() -> None:
    norm = freeze(nn.BatchNorm2d(3))
    assert type(share_batch_norms(nn.Sequential(norm))[0]) is type(norm)


@pytest.mark.slow
def test_two_unequal_ranks_equal_one_process() -> None:
    whole = passed(norms(), 0, sum(COUNTS))
    ranks = [{name: torch.tensor(value) for name, value in each.items()} for each in on_ranks(len(COUNTS), _pass)]
    for name, expected in whole.items():
        rows = name.endswith((".given", ".gradient"))
        found = torch.cat([rank[name] for rank in ranks]) if rows else ranks[1][name]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def _pass(rank: int) -> dict[str, Any]:
    kinds = share_batch_norms(norms())
    assert isinstance(kinds, nn.ModuleDict)
    return {name: value.tolist() for name, value in passed(kinds, sum(COUNTS[:rank]), COUNTS[rank]).items()}
