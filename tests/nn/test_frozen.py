"""A frozen part stays as it is, whatever is done to what holds it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from deixis.nn.frozen import freeze, is_frozen, unfreeze


def tower() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Sequential(nn.Linear(4, 2)))


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = freeze(tower())
        self.head = nn.Linear(2, 2)


def test_training_the_holder_does_not_reach_the_part() -> None:
    holder = Holder().train()
    assert holder.head.training
    assert not any(module.training for module in holder.part.modules())
    before = {name: value.clone() for name, value in holder.part.state_dict().items()}
    first = holder.part(torch.randn(8, 3))
    assert not first.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in holder.part.state_dict().items()), (
        "no new statistics"
    )


def test_asking_the_part_itself_for_gradients_or_training_mode_does_nothing() -> None:
    part = freeze(tower())
    part.train()
    part.requires_grad_(True)
    assert not any(module.training for module in part.modules())
    assert not any(parameter.requires_grad for parameter in part.parameters())


@pytest.mark.parametrize("send", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copy_is_frozen_too_and_separate(send: object) -> None:
    holder = Holder()
    again = send(holder).train()  # type: ignore[operator]
    assert is_frozen(again.part)
    assert not any(module.training for module in again.part.modules())
    assert torch.equal(again.part[0].weight, holder.part[0].weight)
    again.part[0].weight.data.add_(1.0)
    assert not torch.equal(again.part[0].weight, holder.part[0].weight)


def test_the_keys_of_the_state_stay_when_a_part_is_frozen_or_turns_trainable() -> None:
    part = tower()
    keys = list(part.state_dict())
    assert list(freeze(part).state_dict()) == keys
    assert list(unfreeze(part).state_dict()) == keys


def test_a_frozen_part_is_still_of_its_class() -> None:
    part = freeze(tower())
    assert isinstance(part, nn.Sequential)
    assert isinstance(unfreeze(part), nn.Sequential)
    assert type(part) is nn.Sequential


def test_freezing_twice_is_freezing_once() -> None:
    part = freeze(freeze(tower()))
    assert not is_frozen(unfreeze(part))
    assert unfreeze(part) is part


def test_what_is_frozen_again_trains_no_more() -> None:
    part = freeze(unfreeze(freeze(tower())))
    assert not any(parameter.requires_grad for parameter in part.parameters())
    assert is_frozen(part)


def test_a_part_that_is_not_frozen_trains_again_with_its_parent() -> None:
    holder = Holder()
    unfreeze(holder.part)
    holder.train()
    assert all(module.training for module in holder.modules())
    assert all(parameter.requires_grad for parameter in holder.parameters())


def test_what_was_frozen_by_itself_inside_stays_frozen() -> None:
    whole = tower()
    freeze(whole[3])
    unfreeze(freeze(whole)).train()
    assert whole[0].weight.requires_grad
    assert whole[0].training
    assert not whole[3][0].weight.requires_grad
    assert not whole[3].training


def test_only_the_frozen_module_itself_counts_as_frozen() -> None:
    part = freeze(tower())
    assert is_frozen(part)
    assert not is_frozen(part[0])
