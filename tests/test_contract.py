"""What every method promises, whatever its paper: one suite a kind, over all files in `methods/`.

The promises themselves are in `contract.py`; `test_contract_catches.py` shows that they can be broken.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deixis import engine, zoo
from deixis.engine.training.train import fit
from deixis.methods import get, list_methods, read
from deixis.types import CAPABILITIES, Progress, protocols
from deixis.types.batch import CORE_FIELDS
from deixis.zoo.parts import kinds
from tests import contract
from tests.contract import RULES, Subject
from tests.copies import copier
from tests.support import few

pytestmark = pytest.mark.contract

ALL = list_methods()


def light(names: list[str]) -> list[Any]:
    """All of these, of which those with large toys are slow."""
    return few(names, *(name for name in names if name not in LARGE))


def of_kind(*kinds: str) -> list[str]:
    return [name for name in ALL if read(name).card.kind in kinds]


TRAINED = of_kind("trained")
PROMPTS = ("cocoop", "coop", "kalm", "kapt", "mutual_prompt", "pre")
"""Each of their steps reads as many texts as there are images or classes, or more."""
LARGE = ("box_ranker", "denseclip", "dito", "dptr", "kalm", "mdetr", "plip", "prior", "uniter", "variational_context")
"""Even their toys take as long as three others: what takes several of their steps is slow."""
RAGGED = [name for name in TRAINED if contract.letters(read(name).card)]


@functools.cache
def _built(name: str) -> nn.Module:
    return engine.build(name, "tiny", seed=3)


@functools.cache
def _copies(name: str) -> Callable[[], nn.Module]:
    return copier(_built(name))


def _fresh(name: str) -> nn.Module:
    """A copy, in the state it was built in."""
    return _copies(name)()


def subject(name: str) -> Subject:
    return Subject(functools.partial(_fresh, name), read(name).card, functools.partial(_built, name))


# Every kind


@pytest.mark.parametrize("name", ALL)
def test_what_is_read_without_importing_equals_what_is_imported(name: str) -> None:
    literals, module = read(name), get(name)
    assert isinstance(module, protocols.MethodFile)
    assert literals.card == module.CARD
    assert literals.claims == module.CLAIMS
    assert literals.doc
    for preset in ("tiny", "desk", "paper"):
        assert dataclasses.asdict(getattr(literals.config, preset)()) == dataclasses.asdict(
            getattr(module.Config, preset)()
        )
    assert typing.get_type_hints(literals.config) == typing.get_type_hints(module.Config), "flags are made from these"


@pytest.mark.parametrize("name", ALL)
def test_a_card_names_only_what_exists(name: str) -> None:
    card, module = read(name).card, get(name)
    assert card.title
    assert card.year > 1950
    assert not any(each.isdigit() for each in card.venue), "the year has a field of its own"
    assert set(card.skip_contract) <= set(RULES)
    fields = {field.name for field in dataclasses.fields(module.Config)}
    assert {part.name for part in card.parts} <= fields, "each part has a config field of its name"
    assert {part.kind for part in card.parts} <= set(kinds()), "each kind has a file in zoo/parts"
    for capability in card.capabilities:
        assert capability in CAPABILITIES
        assert callable(getattr(module.Method, capability)), f"declared capability {capability} is missing"
    for need in card.needs:
        if need.name in CORE_FIELDS:
            assert need.axes == CORE_FIELDS[need.name].axes


@pytest.mark.parametrize("name", ALL)
def test_a_method_has_what_its_kind_its_hooks_and_its_capabilities_are_called_with(name: str) -> None:
    contract.it_has_what_it_is_called_with(subject(name))


@pytest.mark.parametrize("name", ALL)
def test_every_field_of_a_config_is_described(name: str) -> None:
    doc = "\n".join(parent.__doc__ or "" for parent in get(name).Config.__mro__)  # a delta describes what it adds
    for field in dataclasses.fields(get(name).Config):
        assert f"{field.name}:" in doc, f"{name}.Config.{field.name} has no description"


@pytest.mark.parametrize("name", ALL)
def test_every_preset_builds(name: str) -> None:
    """Trained and fitted ones on the meta device, where the largest costs nothing; on the tiny encoder."""
    card = read(name).card
    loaded = {part: zoo.load_part(part.kind, "tiny") for part in card.parts if part.kind != "names"}
    parts = {part.name: (value,) if part.many else value for part, value in loaded.items()}
    for preset in ("desk", "paper"):
        with torch.device("meta" if card.kind in ("trained", "fitted") else "cpu"):
            method = engine.build(name, preset, parts=parts)
        assert isinstance(method, nn.Module)


@pytest.mark.parametrize("name", ALL)
def test_frozen_parts_stay_frozen_through_train_and_deepcopy(name: str) -> None:
    contract.frozen_parts_stay_frozen(subject(name))


@pytest.mark.parametrize("name", ALL)
def test_capabilities_change_neither_weights_nor_mode(name: str) -> None:
    method = _fresh(name).eval()
    if read(name).card.kind == "training-free" and isinstance(method, protocols.HasFinish):
        fit(method, ())  # what is built without data
    before = contract.snapshot(method)
    modes = [module.training for module in method.modules()]
    images, tokens = torch.rand(3, 3, 32, 32), torch.randint(1, 20, (3, 5))
    arguments: dict[str, tuple[Any, ...]] = {
        "encode_text": (tokens,),
        "text_tokens": (tokens,),
        "compare": (images, tokens),
        "encode_about": (images, ["the colour"] * 3),
        "adapters": (),
        "attribute": (images, lambda output: output[:, 0]),
        "ground": (images, tokens, torch.ones_like(tokens, dtype=torch.bool)),
        "answer": (images, tokens),
        "verbalise": (["a", "dog"], torch.tensor([0.2, 0.8])),
        "answer_mask": (images, tokens),
    }
    pairs = {"refer", "match", "align"} & set(read(name).card.capabilities)
    arguments |= {each: (subject(name).batch(size=3),) for each in pairs}
    for capability in read(name).card.capabilities:
        getattr(method, capability)(*arguments.get(capability, (images,)))
    assert [module.training for module in method.modules()] == modes
    assert not contract.changed(method, before)


@pytest.mark.parametrize("name", [n for n in ALL if "encode_image" in read(n).card.capabilities])
def test_embeddings_have_length_one(name: str) -> None:
    method = _fresh(name).eval()
    outputs = [method.encode_image(torch.rand(3, 3, 32, 32))]
    if "encode_text" in read(name).card.capabilities:
        outputs.append(method.encode_text(torch.randint(1, 20, (3, 5))))
    for output in outputs:
        torch.testing.assert_close(output.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("name", of_kind("trained", "fitted", "evaluator"))
def test_only_declared_fields_are_read(name: str) -> None:
    contract.only_declared_fields_are_read(subject(name))


@pytest.mark.parametrize("name", of_kind("trained", "fitted", "evaluator"))
def test_split_then_concatenate_is_the_identity(name: str) -> None:
    contract.split_then_concatenate_is_the_identity(subject(name))


# Trained


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_is_finite_and_the_parts_sum_to_it(name: str) -> None:
    contract.loss_is_finite_and_the_sum_of_its_parts(subject(name))


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_exactly_what_trains_and_all_of_it_moves(name: str) -> None:
    contract.gradients_reach_exactly_what_trains_and_all_of_it_moves(subject(name))


@pytest.mark.parametrize("name", TRAINED)
def test_moving_tensors_move_after_the_step_only(name: str) -> None:
    contract.moving_tensors_move_after_the_step_only(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_entering_a_stage_clears_gradients(name: str) -> None:
    contract.entering_a_stage_clears_gradients(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_same_seed_same_numbers(name: str) -> None:
    contract.same_seed_same_numbers(subject(name))


@pytest.mark.parametrize("name", few(TRAINED, *(name for name in TRAINED if name not in (*PROMPTS, *LARGE))))
def test_a_fixed_batch_is_learned(name: str) -> None:
    contract.a_fixed_batch_is_learned(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_the_loss_is_pure(name: str) -> None:
    contract.the_loss_is_pure(subject(name))


@pytest.mark.parametrize("chunk", few([2, 5], 5))
@pytest.mark.parametrize("name", light(TRAINED))
def test_cached_gradients_equal_whole_gradients(name: str, chunk: int) -> None:
    contract.cached_gradients_equal_whole_gradients(subject(name), chunk)


@pytest.mark.parametrize("name", light(RAGGED))
def test_padding_is_nothing(name: str) -> None:
    contract.padding_is_nothing(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_the_order_of_a_batch_is_nothing(name: str) -> None:
    contract.the_order_of_a_batch_is_nothing(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_the_smallest_batch_and_odd_sizes_work(name: str) -> None:
    contract.the_smallest_batch_and_odd_sizes_work(subject(name))


@pytest.mark.parametrize("name", light(TRAINED))
def test_a_state_round_trip_without_frozen_parts_gives_equal_losses(name: str, tmp_path: Path) -> None:
    contract.a_state_round_trip_gives_equal_losses(subject(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_two_ranks_with_unequal_counts_equal_one_process(name: str) -> None:
    contract.ranks_equal_one_process(subject(name), (4, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "align", "filip"])
def test_four_ranks_with_unequal_counts_equal_one_process(name: str) -> None:
    """Of the methods that compare all samples with all: most of what a rank is told comes from others."""
    contract.ranks_equal_one_process(subject(name), (3, 1, 4, 2))


# Fitted


@pytest.mark.parametrize("name", light(of_kind("fitted")))
def test_fitting_does_not_depend_on_how_the_data_is_cut_or_ordered(name: str) -> None:
    contract.fitting_does_not_depend_on_how_the_data_is_cut_or_ordered(subject(name))


@pytest.mark.parametrize("name", of_kind("fitted"))
def test_fitting_moves_something_and_nothing_frozen(name: str) -> None:
    contract.fitting_moves_what_is_declared_and_nothing_frozen(subject(name))


@pytest.mark.parametrize("name", of_kind("fitted"))
def test_fitting_to_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        _fresh(name).finish(Progress())


# Training-free


@pytest.mark.parametrize("name", of_kind("training-free"))
def test_a_training_free_method_has_nothing_to_train(name: str) -> None:
    assert not any(parameter.requires_grad for parameter in _fresh(name).parameters())


# Evaluators


@pytest.mark.parametrize("name", of_kind("evaluator"))
def test_rows_are_one_a_sample_and_values_one_a_query(name: str) -> None:
    contract.rows_are_one_a_sample_and_values_one_a_query(subject(name))
