"""Matrices are decayed; gains, biases, single numbers and what does not train are not."""

from __future__ import annotations

import torch
from torch import nn

from deixis.nn.decay import decay_groups


def test_what_has_one_axis_or_none_is_not_decayed() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    module.register_parameter("scale", nn.Parameter(torch.ones(())))
    decayed, free = decay_groups(module, 0.1, lr=0.5)
    assert (decayed["weight_decay"], free["weight_decay"], decayed["lr"], free["lr"]) == (0.1, 0.0, 0.5, 0.5)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 3)]
    assert sorted(tuple(p.shape) for p in free["params"]) == [(), (2,), (2,), (2,)]


def test_what_does_not_train_is_in_no_group_and_empty_groups_are_left_out() -> None:
    module = nn.Linear(3, 2)
    module.weight.requires_grad_(False)
    [group] = decay_groups(module, 0.1, lr=1.0)
    assert group["weight_decay"] == 0.0
    assert group["params"] == [module.bias]


def test_what_a_prefix_names_has_a_learning_rate_of_its_own() -> None:
    module = nn.ModuleDict({"image": nn.Linear(3, 2), "text": nn.Linear(3, 2)})
    groups = decay_groups(module, 0.1, lr=0.5, rates={"text.": 0.2}, eps=1e-6)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in module["image"].parameters()} == {0.5}
    assert {rates[id(p)] for p in module["text"].parameters()} == {0.1}
    assert all(group["eps"] == 1e-6 for group in groups)
