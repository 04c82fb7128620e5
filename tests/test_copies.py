"""Copies that are made many times as fast as by deepcopy are what deepcopy makes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.copies import copier


class Tied(nn.Module):
    """A tensor under two names, one that is no parameter, a frozen part, and what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)
        self.other.weight = self.one.weight
        self.register_buffer("mean", torch.ones(2))
        self.rows = [torch.zeros(2)]
        self.scale = lambda value: 2 * value
        self.eval()


def test_a_copy_is_what_deepcopy_makes() -> None:
    model = Tied()
    model.rows.append(model.mean)
    made, wanted = copier(model)(), copy.deepcopy(model)
    for each in (made, wanted):
        assert each.one.weight is each.other.weight
        assert each.rows[1] is each.mean
        assert each.scale is model.scale
        assert [parameter.requires_grad for parameter in each.parameters()] == [True, True, False]
        assert not each.training
    torch.testing.assert_close(made.state_dict(), wanted.state_dict(), rtol=0, atol=0)


def test_a_copy_is_of_the_model_as_it_was_and_changes_neither_it_nor_other_copies() -> None:
    model = Tied()
    make, before = copier(model), copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model.mean.add_(1.0)
        first = make()
        first.one.weight.zero_()
    first.rows.clear()
    second = make()
    assert len(second.rows) == len(model.rows) == 1
    torch.testing.assert_close(second.state_dict(), before, rtol=0, atol=0)
    assert bool(model.one.weight.any())
