"""What every method promises, whatever its paper: one suite a kind, over all files in `methods/`."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from deixis import engine
from deixis.methods import get, list_methods, read
from deixis.nn.frozen import is_frozen
from deixis.ops import collective
from deixis.types import CAPABILITIES, Batch, Progress, Stage
from deixis.types.batch import CORE_FIELDS, concatenate

pytestmark = pytest.mark.contract

ALL = list_methods()
SIZES = {"D": 16, "F": 24, "C": 5}


def of_kind(*kinds: str) -> list[str]:
    return [name for name in ALL if read(name).card.kind in kinds]


@functools.cache
def _built(name: str) -> nn.Module:
    return engine.build(name, "tiny", seed=3)


def built(name: str) -> nn.Module:
    """A fresh copy: which is itself a promise, frozen parts survive a deepcopy."""
    return copy.deepcopy(_built(name))


def batch_of(name: str, size: int = 6, seed: int = 0, **sizes: int) -> Batch:
    return Batch.synthetic(read(name).card.needs, size=size, seed=seed, **{**SIZES, **sizes})


def gradients(method: nn.Module, batch: Batch, progress: Progress, chunk: int | None = None) -> dict[str, Tensor]:
    chosen = engine.enter(method, Stage())
    torch.manual_seed(0)
    engine.backward(method, batch, progress, chunk)
    return {name: p.grad.clone() for name, p in chosen.items() if p.grad is not None}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def without_dropout(method: nn.Module) -> nn.Module:
    for module in method.modules():
        for attribute in ("dropout", "p"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    return method


# Every kind


@pytest.mark.parametrize("name", ALL)
def test_what_is_read_without_importing_equals_what_is_imported(name: str) -> None:
    literals, module = read(name), get(name)
    assert literals.card == module.CARD
    assert literals.claims == module.CLAIMS
    assert literals.doc
    for preset in ("tiny", "desk", "paper"):
        assert dataclasses.asdict(getattr(literals.config, preset)()) == dataclasses.asdict(
            getattr(module.Config, preset)()
        )


@pytest.mark.parametrize("name", ALL)
def test_a_card_names_only_what_exists(name: str) -> None:
    card, module = read(name).card, get(name)
    assert card.title
    assert card.year > 1950
    fields = {field.name for field in dataclasses.fields(module.Config)}
    assert {part.name for part in card.parts} <= fields, "each part has a config field of its name"
    for capability in card.capabilities:
        assert capability in CAPABILITIES
        assert callable(getattr(module.Method, capability)), f"declared capability {capability} is missing"
    for need in card.needs:
        if need.name in CORE_FIELDS:
            assert need.axes == CORE_FIELDS[need.name].axes


@pytest.mark.parametrize("name", ALL)
def test_every_field_of_a_config_is_described(name: str) -> None:
    doc = get(name).Config.__doc__ or ""
    for field in dataclasses.fields(get(name).Config):
        assert f"{field.name}:" in doc, f"{name}.Config.{field.name} has no description"


@pytest.mark.parametrize("name", ALL)
def test_frozen_parts_stay_frozen_through_train_and_deepcopy(name: str) -> None:
    method = built(name)
    for part in read(name).card.parts:
        module = getattr(method, part.name, None)
        if part.frozen and isinstance(module, nn.Module):
            method.train()
            engine.enter(method, Stage())
            assert is_frozen(module)
            assert not any(each.training for each in module.modules())
            assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("name", ALL)
def test_capabilities_change_neither_weights_nor_mode(name: str) -> None:
    method = built(name).eval()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    images, tokens = torch.rand(3, 3, 32, 32), torch.randint(1, 20, (3, 5))
    arguments: dict[str, tuple[Any, ...]] = {"encode_text": (tokens,), "text_tokens": (tokens,), "adapters": ()}
    for capability in read(name).card.capabilities:
        getattr(method, capability)(*arguments.get(capability, (images,)))
    assert [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize("name", [n for n in ALL if "encode_image" in read(n).card.capabilities])
def test_embeddings_have_length_one(name: str) -> None:
    method = built(name).eval()
    for output in (method.encode_image(torch.rand(3, 3, 32, 32)), method.encode_text(torch.randint(1, 20, (3, 5)))):
        torch.testing.assert_close(output.norm(dim=-1), torch.ones(3))


class Watched(dict):  # type: ignore[type-arg]
    """A dict that remembers which keys were read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)


@pytest.mark.parametrize("name", of_kind("trained", "fitted", "evaluator"))
def test_only_declared_fields_are_read(name: str) -> None:
    needs = read(name).card.needs
    batch = batch_of(name)
    watched = dataclasses.replace(batch, extra=Watched(batch.extra))
    method = built(name)
    method(watched, Progress()) if read(name).card.kind == "trained" else method.observe(watched, Progress())
    assert watched.extra.read <= {need.name for need in needs}
    assert watched.extra.read == {need.name for need in needs if need.name in batch.extra}, (
        "all that is declared is used"
    )


# Trained


@pytest.mark.parametrize("name", of_kind("trained"))
def test_the_loss_is_finite_and_the_parts_sum_to_it(name: str) -> None:
    losses = built(name)(batch_of(name), Progress())
    assert torch.isfinite(losses.total)
    torch.testing.assert_close(losses.total, sum(losses.parts.values(), torch.zeros(())))


@pytest.mark.parametrize("name", of_kind("trained"))
def test_gradients_reach_exactly_what_trains_and_all_of_it_moves(name: str) -> None:
    method = built(name)
    still = read(name).card.still
    before = {key: value.clone() for key, value in method.state_dict().items()}
    moved: set[str] = set()
    for stage in engine.stages(method):
        chosen = engine.enter(method, stage)
        assert chosen
        groups = method.parameter_groups()
        assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in chosen.values()}
        optimiser = torch.optim.SGD(list(chosen.values()), lr=0.1)
        for draw in range(3):
            engine.backward(method, batch_of(name, seed=draw), Progress(draw))
        for key, parameter in method.named_parameters():
            assert (parameter.grad is not None) == (key in chosen), key
        optimiser.step()
        moved |= {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == set(chosen) - set(still)


@pytest.mark.parametrize("name", of_kind("trained"))
def test_entering_a_stage_clears_gradients(name: str) -> None:
    method = built(name)
    gradients(method, batch_of(name), Progress())
    engine.enter(method, Stage())
    assert all(parameter.grad is None for parameter in method.parameters())


@pytest.mark.parametrize("name", of_kind("trained"))
def test_same_seed_same_numbers(name: str) -> None:
    batch = batch_of(name)
    same(gradients(built(name), batch, Progress()), gradients(built(name), batch, Progress()))


@pytest.mark.parametrize("name", of_kind("trained"))
def test_a_fixed_batch_is_learned(name: str) -> None:
    from deixis.engine.train import train

    method, batch = without_dropout(built(name)), batch_of(name)
    first = float(method(batch, Progress(draw=0)).total.detach())
    train(method, iter([batch] * 60), 60)
    assert float(method(batch, Progress(draw=0)).total.detach()) < 0.9 * first


@pytest.mark.parametrize("name", of_kind("trained"))
def test_the_loss_is_pure(name: str) -> None:
    method, batch = built(name).eval(), batch_of(name)
    features = method.encode(batch, Progress())
    before = {key: value.clone() for key, value in method.state_dict().items()}
    first, second = (method.loss(features, batch, Progress()).total for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


@pytest.mark.parametrize("name", of_kind("trained"))
@pytest.mark.parametrize("chunk", [2, 5])
def test_cached_gradients_equal_whole_gradients(name: str, chunk: int) -> None:
    batch = batch_of(name, size=7)
    whole = gradients(without_dropout(built(name)), batch, Progress())
    same(gradients(without_dropout(built(name)), batch, Progress(), chunk=chunk), whole)


@pytest.mark.parametrize("name", of_kind("trained"))
def test_split_then_concatenate_is_the_identity(name: str) -> None:
    batch = batch_of(name, size=5)
    again = concatenate(batch.split(2))
    assert again.ids == batch.ids
    assert all(torch.equal(again.extra[key], value) for key, value in batch.extra.items() if isinstance(value, Tensor))


@pytest.mark.parametrize("name", of_kind("trained"))
def test_the_smallest_batch_and_odd_sizes_work(name: str) -> None:
    for size in (read(name).card.min_batch, 3, 7):
        assert torch.isfinite(built(name)(batch_of(name, size=size), Progress()).total)


@pytest.mark.parametrize("name", of_kind("trained"))
def test_a_state_round_trip_without_frozen_parts_gives_equal_losses(name: str, tmp_path: Any) -> None:
    from deixis.engine.checkpoint import load_state, save_state
    from deixis.engine.train import train

    method, batch = built(name), batch_of(name)
    train(method, iter([batch] * 3), 3)
    save_state(method, tmp_path / "state.safetensors")
    again = load_state(built(name), tmp_path / "state.safetensors").eval()
    assert torch.equal(again(batch, Progress()).total, method(batch, Progress()).total)
    frozen = sum(
        v.numel() for p in read(name).card.parts if p.frozen for v in getattr(method, p.name).state_dict().values()
    )
    everything = sum(value.numel() for value in method.state_dict().values())
    assert (tmp_path / "state.safetensors").stat().st_size < 4 * (everything - frozen) + 4096


def _rank_step(rank: int, name: str, counts: tuple[int, ...], address: str, out: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=len(counts))
    method = without_dropout(engine.build(name, "tiny", seed=3))
    batch = batch_of(name, size=sum(counts))
    start = sum(counts[:rank])
    chosen = engine.enter(method, Stage())
    engine.backward(method, batch.take(range(start, start + counts[rank])), Progress(rank=rank))
    collective.average_gradients(chosen.values())
    if rank == 0:
        out.update({key: parameter.grad.tolist() for key, parameter in chosen.items()})
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("name", of_kind("trained"))
def test_two_ranks_with_unequal_counts_equal_one_process(name: str, tmp_path: Any) -> None:
    counts = (4, 3)
    with mp.Manager() as manager:
        out = manager.dict()
        mp.spawn(_rank_step, args=(name, counts, f"file://{tmp_path}/meet", out), nprocs=len(counts))
        together = {key: torch.tensor(value) for key, value in out.items()}
    same(together, gradients(without_dropout(built(name)), batch_of(name, size=sum(counts)), Progress()))


# Fitted


@pytest.mark.parametrize("name", of_kind("fitted"))
def test_fitting_does_not_depend_on_how_the_data_is_cut(name: str) -> None:
    batch = batch_of(name, size=40)
    states = []
    for size in (40, 7):
        method = built(name)
        with torch.no_grad():
            for piece in batch.split(size):
                method.observe(piece, Progress())
            method.finish(Progress())
        states.append({key: value for key, value in method.state_dict().items() if not key.startswith("encoder.")})
    for key in states[0]:
        torch.testing.assert_close(states[0][key], states[1][key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", of_kind("fitted"))
def test_a_fitted_method_learns_something(name: str) -> None:
    method = built(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    with torch.no_grad():
        method.observe(batch_of(name, size=40), Progress())
        method.finish(Progress())
    assert any(not torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert not any(parameter.requires_grad for parameter in method.parameters())


# Training-free


@pytest.mark.parametrize("name", of_kind("training-free"))
def test_a_training_free_method_has_nothing_to_train(name: str) -> None:
    assert not any(parameter.requires_grad for parameter in built(name).parameters())


# Evaluators


@pytest.mark.parametrize("name", of_kind("evaluator"))
def test_measuring_joined_pieces_equals_measuring_the_whole(name: str) -> None:
    method, batch = built(name), batch_of(name, size=9)
    whole = method.measure(method.observe(batch, Progress()))
    rows = [method.observe(piece, Progress()) for piece in batch.split(4)]
    joined = method.measure({key: torch.cat([row[key] for row in rows]) for key in rows[0]})
    for key, values in whole.items():
        assert values.shape == (9,), "one value a query, so that they can be resampled"
        torch.testing.assert_close(joined[key], values)
