"""Towers in shares over the ranks: the weights that whole ones come to, and of which each rank holds its part.

What is compared is in float64, where a difference is an error and not rounding that Adam makes steps of.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor

from deixis import engine
from deixis.engine.training.checkpoint import load_state, save_state
from deixis.engine.training.shard import Shards
from deixis.engine.training.stages import card_of
from deixis.engine.training.train import Numerics, Training
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.ops.sharding import own
from deixis.types import Batch, Losses, Progress
from tests.contract import Subject, snapshot
from tests.ranks import on_ranks

STEPS, SIZE, COUNTS = 5, 8, (5, 3)
METHODS = [
    name
    for name in list_methods()
    if (card := read(name).card).kind == "trained"
    and any(part.kind == "dual_encoder" and not part.frozen for part in card.parts)
    and name not in ("focallens",)  # it reads its tower inside, and refuses, see below
]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip": 0.5},
    "chunked": {"chunk": 2},  # three pieces on one rank, two on the other
    "lora": {"layers": "lora", "rank": 2},
    "last": {"layers": "last"},
    "lamb": {"optim.optimiser": "lamb"},
    "lars": {"optim.optimiser": "lars", "optim.learning_rate": 0.1},
    "layer decay": {"optim.layer_decay": 0.5},
    **{name: {"name": name} for name in METHODS if name != "clip"},
}


def built(name: str = "clip", **changed: Any) -> Any:
    return engine.build(name, "tiny", {"learning_rate": 1e-3, **changed}).double()


def shared(method: Any) -> Shards:
    """As a run does it."""
    shards = Shards(method, torch.device("cpu"))
    method.to(torch.device("cpu"))
    return shards


def batches(method: Any, part: slice) -> Iterator[Batch]:
    """Of each step's batch the samples in `part`."""
    subject = Subject(lambda: method, card_of(method))
    for step in range(STEPS):
        batch = subject.batch(SIZE, seed=step).take(range(*part.indices(SIZE)))
        assert batch.images is not None
        yield dataclasses.replace(batch, images=batch.images.double())


def training(method: Any, part: slice, chunk: int | None = None, clip: float | None = None) -> Training:
    return Training(method, batches(method, part), STEPS, chunk=chunk, numerics=Numerics(clip))


def weights(part: slice, shard: bool = False, chunk: int | None = None, clip: float | None = None, **how: Any) -> Any:
    """At the end of a run, on rank 0."""
    method = built(**how)
    shards = shared(method) if shard else None
    training(method, part, chunk, clip).run()
    whole = method if shards is None else shards.whole()
    return None if whole is None else snapshot(whole)


class Killed(BaseException):
    """As good as a kill, for one process."""


def resumed(part: slice, path: Path, first: bool, second: bool) -> Any:
    """The weights of a run that was killed after its first checkpoint; each half in shares or not."""

    def on_step(progress: Progress, losses: Losses) -> None:
        if progress.step == 4:
            raise Killed

    method = built()
    if first:
        shared(method)
    with pytest.raises(Killed):
        training(method, part).run(on_step, checkpoint=path, every=3)
    dist.barrier()
    kept = {name: (value.shape, value.dtype) for name, value in load_file(path).items()}
    again = built()
    shards = shared(again) if second else None
    training(again, part).run(checkpoint=path, every=3)
    whole = again if shards is None else shards.whole()
    return kept, None if whole is None else snapshot(whole)


def held(part: slice) -> dict[str, int]:
    """Numbers that this rank holds of all there are, after steps: weights, gradients and moments."""
    method = built()
    towers = [each for name, each in method.named_parameters() if "tower" in name]
    found = {"all": sum(each.numel() for each in towers)}
    shared(method)
    run = training(method, part)
    run.run()
    towers = [each for name, each in method.named_parameters() if "tower" in name]
    found["weights"] = sum(own(each).numel() for each in towers)
    found["gradients"] = sum(own(each.grad).numel() for each in towers if each.grad is not None)
    moments = [run._optimiser.state[each]["exp_avg"] for each in towers if each.grad is not None]
    found["moments"] = sum(own(each).numel() for each in moments)
    return found


def refused(part: slice) -> str:
    """What is said where a method reads its tower inside."""
    method = built("focallens")
    shared(method)
    with pytest.raises(DeixisError) as caught:
        training(method, part).run()
    return str(caught.value)


def infinite(part: slice) -> str:
    """What is said where the gradient, and not the loss, is infinite on the second rank."""
    method = built()
    shared(method)
    if dist.get_rank() == 1:
        head = method.encoder.text_tower
        head.register_forward_hook(
            lambda module, given, told: told.register_hook(lambda grad: grad * torch.inf) and None
        )
    try:
        training(method, part).run()
    except DeixisError as error:
        return str(error)
    return "went on"


def again(part: slice, path: Path) -> bool:
    """Whether a state that was written from shares comes back into other ones."""
    first, second = built(), built()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.zero_()
    shared(first), shared(second)
    save_state(first, path)
    dist.barrier()
    load_state(second, path)
    tensors = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(own(each), own(other)) for each, other in tensors)


def on_both(job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a job gives on each of two ranks; its first argument is the rank's part of a batch."""
    return on_ranks(2, _on_part, job, *arguments)


def _on_part(rank: int, job: Callable[..., Any], *arguments: Any) -> Any:
    return job(slice(sum(COUNTS[:rank]), sum(COUNTS[: rank + 1])), *arguments)


def both_ways(part: slice, way: str) -> dict[bool, Any]:
    """In shares or whole -> the weights at the end, on rank 0."""
    return {shard: weights(part, shard, **WAYS[way]) for shard in (False, True)}


def close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_towers_in_shares_come_to_the_weights_of_whole_ones_and_of_one_process(way: str) -> None:
    found = on_both(both_ways, way)[0]
    shared = found[True]
    close(shared, found[False])
    close(shared, weights(slice(None), **WAYS[way]))


@pytest.mark.slow
def test_a_killed_run_goes_on_in_shares_or_whole_whichever_it_was(tmp_path: Path) -> None:
    """From files of the same tensors. In shares throughout, it ends with the same bits."""
    uninterrupted = on_both(both_ways, "plain")[0][True]
    ways = list(itertools.product((False, True), repeat=2))
    found = {way: on_both(resumed, tmp_path / f"{way[0]}{way[1]}", *way)[0] for way in ways}
    kept = [each for each, _ in found.values()]
    assert all(each == kept[0] for each in kept)
    for second in (False, True):
        close(found[not second, second][1], uninterrupted)
    ended = found[True, True][1]
    assert all(torch.equal(value, ended[name]) for name, value in uninterrupted.items())


@pytest.mark.slow
def test_each_rank_holds_its_half_of_weights_gradients_and_moments() -> None:
    """But for rows that can't be halved: an uneven one stays with the first rank."""
    one, two = on_both(held)
    for what in ("weights", "gradients", "moments"):
        assert one[what] + two[what] == one["all"]
        assert max(one[what], two[what]) < 0.51 * one["all"]


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_is_named_alike_on_all_ranks() -> None:
    said = on_both(infinite)
    assert "The gradient is not finite at step 0, in encoder.text_tower." in said[0]
    assert said[0] == said[1]


@pytest.mark.slow
def test_a_method_that_reads_its_tower_inside_refuses_shares() -> None:
    assert all("lies in shares on the ranks" in each and "without --shard" in each for each in on_both(refused))


@pytest.mark.slow
def test_a_state_comes_back_into_shares(tmp_path: Path) -> None:
    assert on_both(again, tmp_path / "state") == [True, True]


def test_in_one_process_all_stays_as_it_is() -> None:
    method = built()
    kept = dict(method.named_parameters())
    assert shared(method).whole() is method
    assert all(each is kept[name] for name, each in method.named_parameters())


def test_frozen_towers_are_not_shared_out() -> None:
    with pytest.raises(DeixisError, match=r"No tower of .* is trained.*without --shard"):
        shared(engine.build("residual", "tiny"))
