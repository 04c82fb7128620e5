"""From a name to a method: what is set where, what is frozen, what is said where a name is wrong."""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf
from deixis.nn.fingerprint import fingerprint
from deixis.nn.frozen import is_frozen
from deixis.types import Card, Part
from deixis.zoo import scratch
from tests.support import texts

module = importlib.import_module("deixis.engine.training.build")  # `engine.build` is the function in it


def test_a_preset_is_taken_and_single_settings_changed() -> None:
    config = module.configure("residual", "tiny", {"dropout": 0.25})
    assert (config.encoder, config.dropout) == ("tiny", 0.25)
    assert module.configure("residual", "desk").encoder == "starter"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("residaul",), "Did you mean residual"),
        (("residual", "huge"), r"no preset 'huge'. The presets are tiny, desk and paper"),
        (("residual", "tiny", {"droput": 0.1}), r"residual has no setting 'droput'. Its settings include dropout"),
        (("residual", "tiny", {"encoder": "tinny"}), "no model called 'tinny'"),
        (("residual", "tiny", {"encoder": ""}), r"The part 'encoder' is missing. Name one with --encoder"),
    ],
)
def test_a_wrong_name_is_told_with_the_right_ones(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        engine.build(*arguments)


def test_a_given_part_is_used_as_it_is_and_frozen_where_the_card_says_so() -> None:
    encoder = zoo.load("tiny")
    method = engine.build("residual", "tiny", parts={"encoder": encoder})
    assert method.encoder is encoder
    assert is_frozen(encoder)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_seed_decides_the_first_weights_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_toy(monkeypatch)
    before = torch.random.get_rng_state()
    first = engine.build("toy", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random numbers go on as before"
    torch.rand(5)
    assert torch.equal(engine.build("toy", seed=1).head.weight, first.head.weight)
    assert not torch.equal(engine.build("toy", seed=2).head.weight, first.head.weight)


# Parts of every sort, on a toy


@dataclass(frozen=True)
class Config:
    encoder: Any = "tiny"
    tower: Any = "tiny"
    others: tuple[str, ...] = ("tiny", "tiny")
    helper: str = ""
    samplers: tuple[str, ...] = ()

    tiny = desk = paper = classmethod(lambda cls: cls())


class Toy(nn.Module):
    def __init__(self, config: Config, **parts: Any) -> None:
        super().__init__()
        self.parts = parts
        self.head = nn.Linear(2, 2)


def plain_toy(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> None:
    """Stands in for a method file called `toy`."""
    file: Any = types.ModuleType("toy_method")
    file.CARD, file.Config, file.Method = Card("Toy", 2026, "trained", parts=parts), Config, Toy
    monkeypatch.setitem(sys.modules, "toy_method", file)
    monkeypatch.setattr(module, "get", lambda name: file)


def test_an_encoder_lends_its_image_half_to_who_asks_for_a_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_toy(monkeypatch, Part("encoder", "dual_encoder"), Part("tower", "image_tower", frozen=True))
    parts = engine.build("toy").parts
    assert isinstance(parts["encoder"], DualEncoder)
    assert not is_frozen(parts["encoder"])
    assert isinstance(parts["tower"], ImageHalf)
    assert is_frozen(parts["tower"])
    given = zoo.load("tiny")
    tower = engine.build("toy", parts={"tower": given}).parts["tower"]
    assert tower.network is given.image_tower
    assert tower.preprocess == given.preprocess


def test_parts_are_combined_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_toy(monkeypatch, Part("encoder", "dual_encoder"), Part("tower", "image_tower"))
    parts = engine.build("toy", overrides={"tower": "scratch:vit:tiny:32"}).parts
    assert parts["tower"].preprocess.size == 32
    assert parts["encoder"].name == "tiny"


def test_new_parts_hang_on_the_seed_and_know_the_words_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_toy(monkeypatch, Part("encoder", "dual_encoder"), Part("tower", "image_tower"), Part("names", "names"))
    settings = {"encoder": "scratch:tiny", "tower": "scratch:vit:tiny:32"}

    def parts(seed: int) -> dict[str, Any]:
        given = {"names": "cat,dog"}
        toy = engine.build("toy", overrides=settings, parts=given, seed=seed, source=texts("a cat"))
        return dict(toy.parts)

    first, same, other = parts(1), parts(1), parts(2)
    assert first["names"] == ("cat", "dog")
    assert first["encoder"].tokenizer.vocabulary == len(scratch.MARKS) + 2
    for name in ("encoder", "tower"):
        assert fingerprint(first[name]) == fingerprint(same[name]) != fingerprint(other[name])


def test_a_part_of_which_there_are_many_is_loaded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_toy(monkeypatch, Part("others", "dual_encoder", frozen=True, many=True))
    others = engine.build("toy").parts["others"]
    assert len(others) == 2
    assert all(isinstance(each, DualEncoder) and is_frozen(each) for each in others)


def test_an_optional_part_may_be_missing_and_another_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = (Part("helper", "proposals", optional=True), Part("samplers", "sampler", optional=True, many=True))
    plain_toy(monkeypatch, *optional)
    assert engine.build("toy").parts == {"helper": None, "samplers": ()}
    plain_toy(monkeypatch, Part("samplers", "sampler", many=True))
    with pytest.raises(DeixisError, match="'samplers' is missing"):
        engine.build("toy")
