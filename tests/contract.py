"""What every method promises, as functions that raise where a promise is broken.

`test_contract.py` calls them for each file in `methods/`, `test_contract_catches.py` for toys with a planted fault.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deixis import engine
from deixis.engine.training.checkpoint import load_state, save_state
from deixis.engine.training.train import train
from deixis.nn.frozen import is_frozen
from deixis.nn.regions.region_columns import RegionColumns
from deixis.ops import collective
from deixis.types import Batch, Card, FieldSpec, Losses, Progress, SampleSpec, Stage, ViewSpec, protocols
from deixis.types.batch import CORE_FIELDS, concatenate
from tests.ranks import on_ranks

RULES = ("padding", "order", "cached", "ranks", "learned")
"""The rules that `Card.skip_contract` may name, where the authors' code breaks one and being faithful wins."""

KINDS: dict[str, type] = {
    "trained": protocols.TrainedMethod,
    "fitted": protocols.FittedMethod,
    "training-free": protocols.TrainingFreeMethod,
    "evaluator": protocols.EvaluatorMethod,
}

SIZES = {"D": 16, "F": 24, "C": 5}


def _region_sizes(method: Any) -> dict[str, int]:
    """Axes of what a part of the method says of regions."""
    part = next((each for each in method.modules() if isinstance(each, RegionColumns)), None)
    return {} if part is None else {"F": part.width, "C": len(part.classes)}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A method that is examined.

    Attributes:
        make: gives an equal, fresh one each time; can be sent to another process.
        card: its card.
        share: gives one whose settings are read and that nothing changes; None: a fresh one.
    """

    make: Callable[[], Any]
    card: Card
    share: Callable[[], Any] | None = None

    def shared(self) -> Any:
        """One that is only read, since a copy of it takes longer than most of the rules."""
        return (self.share or self.make)()

    def stages(self) -> list[Stage]:
        return [stage for stage in engine.stages(self.shared()) if stage.kind == "train"]

    def batch(self, size: int = 6, seed: int = 0, stage: Stage | None = None, **sizes: int) -> Batch:
        """A synthetic batch that holds what the card, or the stage, declares, as the config asks for it."""
        method = self.shared()
        asked = vars(method.config) if hasattr(method, "config") else {}
        view = stage.view if stage and stage.view else _first(asked.values(), ViewSpec)
        sample = _first(asked.values(), SampleSpec)
        needs = self.card.needs if stage is None or stage.needs is None else stage.needs
        group = sample.group if sample else 1
        size += -size % group
        return Batch.synthetic(needs, view, sample, size, seed, **{**SIZES, **_region_sizes(method), **sizes})

    def turns(self) -> int:
        """Steps within which each task of the method has its turn."""
        return int(getattr(self.shared(), "turns", 1))

    def group(self) -> int:
        sample = _first(vars(getattr(self.shared(), "config", self)).values(), SampleSpec)
        return sample.group if sample else 1


def _first(values: Any, kind: type) -> Any:
    return next((value for value in values if isinstance(value, kind)), None)


def snapshot(method: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def changed(method: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}


def same(left: dict[str, Tensor], right: dict[str, Tensor], zero: tuple[str, ...] = ()) -> None:
    """Names and numbers, to what float32 sums allow: 1e-4 of a number, or 1e-6 of the largest of its tensor.

    A number that is left over where large ones cancel is off by a share of theirs, not of its own. Those that end in
    `zero` are 0 but for rounding, see `Card.zero_gradient`.
    """
    assert left.keys() == right.keys()
    for name in left:
        largest = float(right[name].abs().max()) if right[name].numel() else 0.0
        atol = 1e-4 if name.endswith(zero) else 1e-6 * max(1.0, largest)
        torch.testing.assert_close(left[name], right[name], rtol=1e-4, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def without_dropout(method: Any) -> Any:
    for module in method.modules():
        for attribute in ("dropout", "p"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    return method


def gradients(
    method: Any, batch: Batch, stage: Stage, chunk: int | None = None, progress: Progress | None = None
) -> dict[str, Tensor]:
    """The loss, under `loss`, and the gradient of every trainable tensor that has one, by name."""
    chosen = engine.enter(method, stage)
    torch.manual_seed(0)
    losses = engine.backward(method, batch, progress or Progress(stage=stage.name), chunk)
    grads = {name: p.grad.clone() for name, p in chosen.items() if p.grad is not None}
    return {"loss": losses.total.detach(), **grads}


def running(method: nn.Module) -> set[str]:
    """Names of the running statistics of norms, which change in training by their nature."""
    norms = [name for name, m in method.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{kind}".lstrip(".") for name in norms for kind in kinds}


# Batches that should make no difference


def padded(batch: Batch, letter: str, more: int) -> Batch:
    """The same batch, the ragged axis `letter` being `more` entries longer; these are zeros and not valid."""

    def longer(value: Any, axes: Sequence[str]) -> Any:
        if letter not in axes or not isinstance(value, Tensor):
            return value
        after = len(axes) - 1 - list(axes).index(letter)
        return nn.functional.pad(value, [0, 0] * after + [0, more])

    core = {
        name: longer(getattr(batch, name), spec.axes.split())
        for name, spec in CORE_FIELDS.items()
        if name not in ("views", "view_boxes")
    }
    extra = {name: longer(value, batch.specs[name].axes.split()) for name, value in batch.extra.items()}
    valid = dict(batch.valid)
    valid[letter] = nn.functional.pad(valid[letter], [0, more])
    return dataclasses.replace(batch, **core, extra=extra, valid=valid)


def letters(card: Card, stages: Sequence[Stage] = ()) -> list[str]:
    """The axes that are ragged in anything the method reads."""
    needs = [*card.needs, *(need for stage in stages for need in stage.needs or ())]
    return sorted({letter for need in needs for letter in need.ragged.split()})


class _Reads:
    """Which fields a method reads, whatever else the batch holds."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def watch(self, batch: Batch) -> Batch:
        reads = self

        class WatchedDict(dict):  # type: ignore[type-arg]
            def __getitem__(self, key: str) -> Any:
                reads.names.add(key)
                return super().__getitem__(key)

            def get(self, key: str, default: Any = None) -> Any:
                reads.names.add(key)
                return super().get(key, default)

            def __contains__(self, key: object) -> bool:
                reads.names.add(str(key))
                return super().__contains__(key)

        class WatchedBatch(Batch):
            def caption(self, *which: Any) -> Any:
                reads.names.add("tokens")
                return super().caption(*which)

            def __getattribute__(self, name: str) -> Any:
                own = sys._getframe(1).f_code.co_filename.endswith(str(Path("types", "batch.py")))
                if name in CORE_FIELDS and not own:
                    reads.names.add(name)
                return super().__getattribute__(name)

        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        watched = WatchedBatch(**{**fields, "extra": WatchedDict(batch.extra)})
        reads.names.clear()
        return watched


def with_surplus(batch: Batch) -> Batch:
    """The batch with every core field it does not hold, and an extra one, filled."""
    others = [spec for name, spec in CORE_FIELDS.items() if getattr(batch, name) is None]
    surplus = FieldSpec("surplus", "B D")
    more = Batch.synthetic([*others, surplus], size=len(batch), seed=99, **SIZES)
    core = {spec.name: getattr(more, spec.name) for spec in others}
    return dataclasses.replace(
        batch,
        **core,
        valid={**more.valid, **batch.valid},
        extra={**batch.extra, **more.extra},
        specs={**batch.specs, **more.specs},
    )


# Every kind


def members(protocol: type) -> list[str]:
    """What a Protocol of a method asks for, beside what all methods have."""
    own = {name for base in protocol.__mro__ for name in (*vars(base), *getattr(base, "__annotations__", ()))}
    common = {*dir(protocols.AnyMethod), "training"}
    return sorted(name for name in own - common if not name.startswith("_"))


def arguments(owner: type, name: str) -> list[str]:
    """Names of the arguments of a member; none of one that is not called."""
    member = inspect.getattr_static(owner, name, None)
    return list(inspect.signature(member).parameters)[1:] if inspect.isfunction(member) else []


def offering(capability: str) -> type:
    """The Protocol of a capability."""
    protocol: type = getattr(protocols, "Offers" + "".join(word.title() for word in capability.split("_")))
    return protocol


def it_has_what_it_is_called_with(subject: Subject) -> None:
    """The members that the Protocols of its kind, its hooks and its capabilities have, and their arguments by name."""
    method, card = type(subject.shared()), subject.card
    hooks = [getattr(protocols, name) for name in protocols.__all__ if name.startswith("Has")]
    for hook in hooks:
        there = [name for name in members(hook) if getattr(method, name, None) is not None]
        assert len(there) in (0, len(members(hook))) or hook is protocols.HasScores, f"{there} alone mean nothing"
        for name in there:
            _has_arguments(method, hook, name)
    for protocol in (KINDS[card.kind], *map(offering, card.capabilities)):
        for name in members(protocol):
            assert getattr(method, name, None) is not getattr(nn.Module, name, None), f"{name} is missing"
            _has_arguments(method, protocol, name)


def _has_arguments(method: type, protocol: type, name: str) -> None:
    if not inspect.isfunction(inspect.getattr_static(protocol, name, None)):
        return
    wanted, given = arguments(protocol, name), inspect.signature(getattr(method, name)).parameters
    own = list(given)[1:]
    assert own[: len(wanted)] == wanted, f"{name} is called with {wanted} and takes {own}"
    more = [each for each in own[len(wanted) :] if given[each].default is inspect.Parameter.empty]
    assert not more, f"{name} is called with {wanted} and wants {more}, too"


def frozen_parts_stay_frozen(subject: Subject) -> None:
    method = subject.make()
    for each in (method, copy.deepcopy(method)):
        each.train()
        for stage in engine.stages(each):
            engine.enter(each, stage)
        _assert_frozen(each, subject.card)


def _assert_frozen(method: nn.Module, card: Card) -> None:
    for part in card.parts:
        for module in _modules(method, part.name) if part.frozen else ():
            assert is_frozen(module), f"{part.name} is declared frozen and is not"
            assert not any(each.training for each in module.modules())
            assert not any(parameter.requires_grad for parameter in module.parameters())


def _modules(method: nn.Module, name: str) -> Iterator[nn.Module]:
    value = getattr(method, name, None)
    for each in value if isinstance(value, list | tuple | nn.ModuleList) else (value,):
        if isinstance(each, nn.Module):
            yield each


def only_declared_fields_are_read(subject: Subject) -> None:
    """And all that is declared is used."""
    for stage in subject.stages() if subject.card.kind == "trained" else [Stage()]:
        method, reads = subject.make(), _Reads()
        needs = subject.card.needs if stage.needs is None else stage.needs
        batch = subject.batch(stage=stage)
        watched = reads.watch(with_surplus(batch))
        with torch.random.fork_rng(devices=[]):
            for step in range(subject.turns()):
                progress = Progress(step, stage=stage.name)
                method(watched, progress) if subject.card.kind == "trained" else method.observe(watched, progress)
        declared = {need.name for need in needs}
        assert reads.names <= declared, f"read, and not declared: {reads.names - declared}"
        assert reads.names == declared, f"declared, and not read: {declared - reads.names}"


# Trained


def loss_is_finite_and_the_sum_of_its_parts(subject: Subject) -> None:
    for stage in subject.stages():
        method, batch = subject.make(), subject.batch(stage=stage)
        turns = subject.turns()
        rounds = [_losses(method, batch, stage, range(n * turns, (n + 1) * turns)) for n in range(3)]
        parts = [{name for losses in each for name in losses.parts} for each in rounds]
        assert parts[0] == parts[1] == parts[2], f"in {turns} steps not each task has its turn: {parts}"
        losses = rounds[0][0]
        assert all(torch.isfinite(losses.total) for each in rounds for losses in each)
        torch.testing.assert_close(losses.total, sum(losses.parts.values(), torch.zeros(())))
        assert not any(isinstance(v, Tensor) and v.requires_grad for v in losses.metrics.values()), "metrics: detach"
        assert not any(value.requires_grad for value in losses.carry.values()), "what is carried is detached"


def _losses(method: Any, batch: Batch, stage: Stage, steps: range) -> list[Losses]:
    with torch.random.fork_rng(devices=[]):
        return [method(batch, Progress(step, stage=stage.name)) for step in steps]


def gradients_reach_exactly_what_trains_and_all_of_it_moves(subject: Subject) -> None:
    method, card = subject.make(), subject.card
    for stage in subject.stages():
        before = snapshot(method)
        chosen = engine.enter(method, stage)
        assert chosen, "a stage trains something"
        optimiser = torch.optim.SGD(list(chosen.values()), lr=0.1)
        for draw in range(max(3, subject.turns())):
            engine.backward(method, subject.batch(seed=draw, stage=stage), Progress(draw, stage=stage.name))
        for key, parameter in method.named_parameters():
            assert (parameter.grad is not None) == (key in chosen), f"{key}: {'no' if key in chosen else 'a'} gradient"
        optimiser.step()
        moved = changed(method, before) - running(method)
        still = {key for key in chosen if key.endswith(card.zero_gradient)}
        assert moved - still == set(chosen) - still, f"should move, or not: {moved ^ set(chosen)}"


def moving_tensors_move_after_the_step_only(subject: Subject) -> None:
    """Frozen tensors never change; what the card says moves does so in `after_step`, and all of it."""
    method, card = subject.make(), subject.card
    for stage in subject.stages():
        start = snapshot(method)
        chosen = engine.enter(method, stage)
        optimiser = torch.optim.SGD(list(chosen.values()), lr=0.1)
        for step in range(max(3, subject.turns())):
            before = snapshot(method)
            progress = Progress(step, 3, stage=stage.name)
            losses = engine.backward(method, subject.batch(seed=step, stage=stage), progress)
            early = changed(method, before) - running(method)
            assert not early, f"changed by encode or loss: {early}"
            if hasattr(method, "after_backward"):
                method.after_backward(progress)
            optimiser.step()
            if hasattr(method, "after_step"):
                method.after_step(dataclasses.replace(progress, step=step + 1), losses)
        moved = changed(method, start) - set(chosen) - running(method)
        assert all(name.startswith(card.non_gradient_state) for name in moved), f"moves, and is not declared: {moved}"
        for prefix in card.non_gradient_state if hasattr(method, "after_step") else ():
            everything = changed(method, start)
            assert any(name.startswith(prefix) for name in everything), f"{prefix} is declared to move, and does not"


def entering_a_stage_clears_gradients(subject: Subject) -> None:
    method = subject.make()
    for stage in subject.stages():
        gradients(method, subject.batch(stage=stage), stage)
        engine.enter(method, stage)
        assert all(parameter.grad is None for parameter in method.parameters())


def same_seed_same_numbers(subject: Subject) -> None:
    """Of a method, and of a deep copy of it."""
    for stage in subject.stages():
        batch, copied = subject.batch(stage=stage), copy.deepcopy(subject.make())
        same(gradients(subject.make(), batch, stage), gradients(copied, batch, stage))


def a_fixed_batch_is_learned(subject: Subject) -> None:
    if "learned" in subject.card.skip_contract:
        return
    for stage in subject.stages():
        method, batch = without_dropout(subject.make()), subject.batch(stage=stage)
        tasks = [Progress(stage=stage.name, draw=draw) for draw in range(subject.turns())]
        losses = [sum(float(method(batch, task).total.detach()) for task in tasks)]
        target = losses[0] - 0.1 * abs(losses[0])
        for steps in (3, 3, 9, 15, 30):  # at most 60, and hardly more than it takes
            train(method, iter([batch] * steps), steps, stage=stage)
            losses.append(sum(float(method(batch, task).total.detach()) for task in tasks))
            if losses[-1] < target:
                break
        assert losses[-1] < target


def the_loss_is_pure(subject: Subject) -> None:
    for stage in subject.stages():
        method, batch, progress = subject.make(), subject.batch(stage=stage), Progress(stage=stage.name)
        if not hasattr(method, "encode"):
            continue
        train(method, iter([batch] * 2), 2, stage=stage)
        for mode in (True, False):
            features = method.train(mode).encode(batch, progress)
            before = snapshot(method)
            first, second = (method.loss(features, batch, progress).total for _ in range(2))
            assert torch.equal(first, second), "the same features, another loss"
            assert not changed(method, before), f"the loss changes {changed(method, before)}"


def cached_gradients_equal_whole_gradients(subject: Subject, *chunks: int) -> None:
    if "cached" in subject.card.skip_contract or not hasattr(subject.shared(), "encode"):
        return
    for stage in subject.stages():
        batch = subject.batch(size=7, stage=stage)
        whole = gradients(without_dropout(subject.make()), batch, stage)
        for chunk in chunks:
            same(gradients(without_dropout(subject.make()), batch, stage, chunk=chunk), whole)


def padding_is_nothing(subject: Subject) -> None:
    """However much longer a ragged axis gets, the numbers stay."""
    if "padding" in subject.card.skip_contract:
        return
    for stage in subject.stages():
        batch = subject.batch(size=5, stage=stage)
        whole = gradients(without_dropout(subject.make()), batch, stage)
        for letter in batch.valid:
            for more in (1, 4):
                longer = padded(batch, letter, more)
                same(gradients(without_dropout(subject.make()), longer, stage), whole)


def the_order_of_a_batch_is_nothing(subject: Subject) -> None:
    if "order" in subject.card.skip_contract:
        return
    for stage in subject.stages():
        batch, group = subject.batch(size=6, stage=stage), subject.group()
        starts = list(range(0, len(batch), group))
        turned = batch.take([start + i for start in starts[2:] + starts[:2][::-1] for i in range(group)])
        whole = gradients(without_dropout(subject.make()), batch, stage)
        same(gradients(without_dropout(subject.make()), turned, stage), whole, subject.card.zero_gradient)


def split_then_concatenate_is_the_identity(subject: Subject) -> None:
    for stage in subject.stages() or [Stage()]:
        batch = subject.batch(size=5, stage=stage)
        size = max(2, subject.group())
        equal_batches(concatenate(batch.split(size, subject.group())), batch)


def equal_batches(left: Batch, right: Batch) -> None:
    for field in dataclasses.fields(Batch):
        _equal(getattr(left, field.name), getattr(right, field.name), field.name)


def _equal(left: Any, right: Any, name: str) -> None:
    assert type(left) is type(right), name
    if isinstance(left, Tensor):
        assert left.dtype == right.dtype, name
        assert torch.equal(left, right), name
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), name
        for key in left:
            _equal(left[key], right[key], f"{name}[{key}]")
    elif isinstance(left, tuple):
        assert len(left) == len(right), name
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            _equal(a, b, f"{name}[{i}]")
    else:
        assert left == right, name


def the_smallest_batch_and_odd_sizes_work(subject: Subject) -> None:
    for stage in subject.stages():
        for size in (subject.card.min_batch, 3, 7):
            losses = subject.make()(subject.batch(size=size, stage=stage), Progress(stage=stage.name))
            assert torch.isfinite(losses.total), f"{size} samples give {float(losses.total.detach())}"


def a_state_round_trip_gives_equal_losses(subject: Subject, folder: Path) -> None:
    """And the frozen parts are not in the file."""
    stage = subject.stages()[-1]
    batch, progress, path = subject.batch(stage=stage), Progress(stage=stage.name), folder / "state.safetensors"
    method = subject.make()
    train(method, iter([batch] * 3), 3, stage=stage)
    save_state(method, path)
    again = load_state(subject.make(), path).eval()
    assert torch.equal(again(batch, progress).total, method(batch, progress).total), "the state does not hold all"
    frozen = [part.name for part in subject.card.parts if part.frozen]
    sizes = {name: value.numel() * value.element_size() for name, value in method.state_dict().items()}
    kept = sum(size for name, size in sizes.items() if not name.startswith(tuple(f"{f}." for f in frozen)))
    assert path.stat().st_size < kept + 200 * len(sizes) + 1024


def ranks_equal_one_process(subject: Subject, counts: tuple[int, ...]) -> None:
    """The gradients of batches of different sizes, one a rank, are those of one batch in one process."""
    if "ranks" in subject.card.skip_contract:
        return
    counts = tuple(subject.group() * count for count in counts)  # groups stay whole
    together = on_ranks(len(counts), _rank_steps, subject, counts)[0]
    for stage in subject.stages():
        alone = gradients(without_dropout(subject.make()), subject.batch(size=sum(counts), stage=stage), stage)
        alone.pop("loss")
        found = {name: torch.from_numpy(value) for name, value in together[stage.name].items()}
        same(found, alone, subject.card.zero_gradient)


def _rank_steps(rank: int, subject: Subject, counts: tuple[int, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Gradients by stage and parameter, on every rank."""
    start, out = sum(counts[:rank]), dict[str, dict[str, np.ndarray]]()
    for stage in subject.stages():
        method = without_dropout(subject.make())
        batch = subject.batch(size=sum(counts), stage=stage).take(range(start, start + counts[rank]))
        chosen = engine.enter(method, stage)
        engine.backward(method, batch, Progress(stage=stage.name, rank=rank))
        collective.average_gradients(chosen.values())
        out[stage.name] = {key: p.grad.numpy() for key, p in chosen.items() if p.grad is not None}
    return out


# Fitted


def fitted(subject: Subject, batch: Batch, size: int) -> Any:
    method = subject.make()
    with torch.no_grad():
        for piece in batch.split(size):
            method.observe(piece, Progress())
        method.finish(Progress())
    return method


def fitting_does_not_depend_on_how_the_data_is_cut_or_ordered(subject: Subject) -> None:
    batch = subject.batch(size=40)
    turned = batch.take(list(reversed(range(40))))
    whole = fitted(subject, batch, 40).state_dict()
    for other in (fitted(subject, batch, 7), fitted(subject, turned, 40)):
        for name, value in other.state_dict().items():
            torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def fitting_moves_what_is_declared_and_nothing_frozen(subject: Subject) -> None:
    before = snapshot(subject.make())
    method = fitted(subject, subject.batch(size=40), 40)
    moved = changed(method, before)
    frozen = tuple(f"{part.name}." for part in subject.card.parts if part.frozen)
    assert moved, "nothing was learned"
    assert not any(name.startswith(frozen) for name in moved), f"fitting changes a frozen part: {moved}"
    assert not subject.card.non_gradient_state or all(
        name.startswith(subject.card.non_gradient_state) for name in moved
    ), moved
    assert not any(parameter.requires_grad for parameter in method.parameters())


# Evaluators


def rows_are_one_a_sample_and_values_one_a_query(subject: Subject) -> None:
    """Rows of pieces, joined, are measured as those of the whole; in another order, the values are in that order."""
    method, batch = subject.make(), subject.batch(size=9)
    rows = method.observe(batch, Progress())
    assert all(len(value) == 9 for value in rows.values()), "one row a sample"
    whole = method.measure(rows)
    pieces = [method.observe(piece, Progress()) for piece in batch.split(4)]
    joined = method.measure({key: torch.cat([piece[key] for piece in pieces]) for key in rows})
    for key, values in whole.items():
        assert values.shape == (9,), "one value a query, so that they can be resampled"
        torch.testing.assert_close(joined[key], values)
    # Many classes: synthetic samples of one class do not have one vector, as true ones do.
    rows, order = method.observe(subject.batch(size=9, C=10_000), Progress()), torch.randperm(9)
    whole, turned = method.measure(rows), method.measure({key: value[order] for key, value in rows.items()})
    for key, values in whole.items():
        torch.testing.assert_close(turned[key], values[order])
