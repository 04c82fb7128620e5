"""Entering a stage decides what trains, what is in which mode, and that old gradients are gone."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from deixis import engine
from deixis.engine.training.stages import card_of, trainable
from deixis.nn.frozen import freeze
from deixis.types import Card, Stage


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = freeze(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        self.first = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.second = nn.Linear(2, 2)
        self.teacher = nn.Linear(2, 2)


_FILE: Any = types.ModuleType("toy_of_stages")
_FILE.CARD = Card("Toy", 2026, "trained", non_gradient_state=("teacher.",))
sys.modules["toy_of_stages"] = _FILE
Toy.__module__ = "toy_of_stages"


def names(chosen: dict[str, nn.Parameter]) -> set[str]:
    return {name.split(".")[0] for name in chosen}


def test_all_trains_but_frozen_parts_and_what_moves_by_itself() -> None:
    assert names(engine.enter(Toy(), Stage())) == {"first", "second"}


def test_a_stage_trains_what_it_names() -> None:
    method = Toy()
    chosen = engine.enter(method, Stage(trainable=("second.",)))
    assert names(chosen) == {"second"}
    needing = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert needing == set(chosen)


def test_a_stage_that_names_nothing_trains_nothing() -> None:
    assert engine.enter(Toy(), Stage(trainable=())) == {}


def test_a_frozen_part_does_not_train_even_where_it_is_named() -> None:
    assert trainable(Toy(), Stage(trainable=("part.",))) == {}


def test_what_was_still_in_one_stage_trains_in_the_next() -> None:
    method = Toy()
    engine.enter(method, Stage(trainable=("second.",)))
    assert names(engine.enter(method, Stage())) == {"first", "second"}


def test_old_gradients_are_gone_also_of_what_trains_no_more() -> None:
    """A new optimiser's `zero_grad` would not find them."""
    method = Toy()
    engine.enter(method, Stage())
    method.second(method.first(torch.randn(4, 2))).sum().backward()
    engine.enter(method, Stage(trainable=("second.",)))
    assert all(parameter.grad is None for parameter in method.parameters())


def test_modes_follow_the_stage() -> None:
    method = Toy()
    engine.enter(method, Stage(evaluate=("first.1",)))
    assert method.training
    assert method.first[0].training
    assert not method.first[1].training
    assert not any(module.training for module in method.part.modules())
    engine.enter(method, Stage())
    assert method.first[1].training, "the next stage begins anew"
    engine.enter(method, Stage(kind="fit"))
    assert not any(module.training for module in method.modules())


def test_a_method_without_stages_has_one() -> None:
    assert engine.stages(Toy()) == (Stage(),)


def test_a_method_with_stages_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [Stage("warm", trainable=("second.",)), Stage("all")]
    monkeypatch.setattr(Toy, "stages", lambda self: stages, raising=False)
    assert engine.stages(Toy()) == tuple(stages)


def test_a_card_is_found_from_the_method_also_through_a_delta() -> None:
    assert card_of(Toy()).title == "Toy"

    class Delta(Toy):
        pass

    file: Any = types.ModuleType("toy_delta")
    file.CARD = Card("Delta", 2027, "trained")
    sys.modules["toy_delta"] = file
    Delta.__module__ = "toy_delta"
    assert card_of(Delta()).title == "Delta", "its own, not its parent's"
