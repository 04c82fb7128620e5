"""A run that was killed and run again is the run that was not: the same samples, the same weights, to the bit.

Run as a module, this file is such a run in a process of its own:
`python -m tests.engine.training.test_resume FOLDER ...`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from deixis import engine
from deixis.data import read
from deixis.data.loading.collate import Collate
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import Draw, SampleOrder
from deixis.engine.training.checkpoint import load_facts, load_training, save_state, save_training
from deixis.engine.training.stages import card_of
from deixis.engine.training.train import Training, batches, train
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.inputs.images import ImageError
from deixis.types import Batch, Losses, OptimGroup, OptimSpec, Progress, Sample, Source, Stage
from tests.contract import changed, snapshot
from tests.pictures import captioned, spoil
from tests.support import leave_ranks
from tests.toys import SPECS, TwoTowers, carded, pairs

ROOT = Path(__file__).parents[3]
SAMPLES, STEPS, EVERY = 23, 17, 3
BROKEN = ("sample 3", "sample 12")
Log = dict[int, list[str]]


def source() -> Source:
    whole = pairs(SAMPLES)
    rows = [{name: whole.extra[name][i] for name in SPECS} for i in range(SAMPLES)]
    return Source(
        "toy", Path("."), "text", "list", tuple(Sample(f"sample {i}", None, extra=rows[i]) for i in range(SAMPLES))
    )


def encode(sample: Sample, draw: Draw | None) -> Batch:
    """With a little noise that was drawn for the sample; two can't be read."""
    if sample.id in BROKEN:
        raise ImageError(f"{sample.id} is damaged.", "", "corrupt")
    assert draw is not None
    extra = {name: (value + torch.tensor(draw(name, 6)))[None] for name, value in sample.extra.items()}
    return Batch((sample.id,), extra=extra, specs=SPECS)


def loader(workers: int = 0, ranks: tuple[int, int] | None = None) -> Loader:
    return Loader(source(), encode, SampleOrder(4, seed=5), workers=workers, ranks=ranks, max_skipped=0.2)


class Noting(TwoTowers):
    """Notes which samples it is given at which step."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(dropout=0.3, own=0.2, norm=nn.BatchNorm1d(4))
        self.log: list[tuple[int, list[str]]] = []

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        self.log.append((progress.step, list(batch.ids)))
        return super().forward(batch, progress)


carded(Noting)


class Killed(BaseException):
    """As good as a kill, for one process."""


def killing(step: int) -> Any:
    def on_step(progress: Progress, losses: Losses) -> None:
        if progress.step == step:
            raise Killed

    return on_step


# In this process


@pytest.fixture(scope="module")
def uninterrupted() -> Noting:
    method = Noting()
    with loader() as data:
        train(method, data, STEPS, seed=9)
    return method


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        pytest.param((1,), (0, 2), marks=pytest.mark.slow),
        pytest.param((8,), (2, 0), marks=pytest.mark.slow),
        ((3, 16), (1, 2, 1)),
        ((7, 7), (0, 0, 0)),
    ],
)
def test_a_killed_run_ends_with_the_same_weights(
    uninterrupted: Noting, tmp_path: Path, kills: tuple[int, ...], workers: tuple[int, ...]
) -> None:
    log: Log = {}
    for kill, count in itertools.zip_longest(kills, workers):
        method = Noting()
        with loader(count) as data:
            training = Training(method, data, STEPS, seed=9)
            if kill is None:
                training.run(checkpoint=tmp_path / "run.safetensors", every=EVERY)
            else:
                with pytest.raises(Killed):
                    training.run(killing(kill), checkpoint=tmp_path / "run.safetensors", every=EVERY)
        for step, ids in method.log:
            assert log.setdefault(step, ids) == ids, "what comes again is the same"
    assert list(log.items()) == uninterrupted.log
    assert not changed(method, snapshot(uninterrupted))


def test_a_run_over_any_batches_is_wound_forward(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    whole, again = Noting(), Noting()
    train(whole, batches(pairs(12), 6, seed=0), 9)
    with pytest.raises(Killed):
        Training(Noting(), batches(pairs(12), 6, seed=0), 9).run(killing(5), checkpoint=path, every=2)
    Training(again, batches(pairs(12), 6, seed=0), 9).run(checkpoint=path, every=2)
    assert [step for step, _ in again.log] == [4, 5, 6, 7, 8]
    assert not changed(again, snapshot(whole))


@pytest.mark.slow
def test_a_paper_trains_from_a_folder_with_spoilt_pictures_and_goes_on(tmp_path: Path) -> None:
    """From files to weights, all parts being the real ones."""
    reasons = set(spoil(captioned(tmp_path / "pictures", 40)).values())
    source = read(tmp_path / "pictures")

    def run(kill: int, path: Path | None, workers: int) -> tuple[nn.Module, Loader]:
        method = engine.build("clip", "tiny", {"encoder": "tiny"})
        traits = method.encoder
        collate = Collate(source, card_of(method).needs, traits.preprocess, traits.tokenizer)
        data = Loader(source, collate, SampleOrder(8, seed=1), workers=workers, max_skipped=0.2)
        with data, contextlib.suppress(Killed):
            Training(method, data, 9).run(killing(kill), checkpoint=path, every=2)
        return method, data

    whole, data = run(0, None, 0)
    assert {each.reason for each in data.skipped} == reasons
    run(5, tmp_path / "run.safetensors", 2)
    again, _ = run(0, tmp_path / "run.safetensors", 1)
    assert changed(again, snapshot(engine.build("clip", "tiny", {"encoder": "tiny"})))
    assert not changed(again, snapshot(whole))


def test_a_run_that_is_done_takes_no_step(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = Training(Noting(), loader(), 4).run(checkpoint=path)
    again = Noting()
    assert not changed(Training(again, loader(), 4).run(checkpoint=path), snapshot(first))
    assert not again.log
    assert not again.training


def test_the_rate_goes_on_where_it_was(tmp_path: Path) -> None:
    """It hangs on the step, and is written over the one that stood in the optimiser."""

    class Falling(Noting):
        def rate(self, progress: Progress) -> float:
            return 1 - progress.step / progress.total

    carded(Falling)
    path = tmp_path / "run.safetensors"
    whole = train(Falling(), loader(), 6)
    with pytest.raises(Killed):
        Training(Falling(), loader(), 6).run(killing(4), checkpoint=path, every=3)
    assert not changed(Training(Falling(), loader(), 6).run(checkpoint=path), snapshot(whole))


@pytest.mark.parametrize(
    "spec",
    [
        OptimSpec(schedule="cosine", warmup=0.4),
        OptimSpec("lamb", schedule="step", milestones=(3,)),
        OptimSpec("sgd", nesterov=True, schedule="linear", warmup=2),
        OptimSpec("lars", learning_rate=0.1, schedule="cosine", floor=0.1, groups=(OptimGroup("left.", 0.1),)),
    ],
    ids=lambda spec: spec.optimiser,
)
def test_every_optimiser_and_schedule_goes_on_where_it_was(tmp_path: Path, spec: OptimSpec) -> None:
    """LAMB counts its steps where the others keep their settings."""

    class Stepping(Noting):
        config = types.SimpleNamespace(optim=spec)

    carded(Stepping)
    path = tmp_path / "run.safetensors"
    whole = train(Stepping(), loader(), 6)
    with pytest.raises(Killed):
        Training(Stepping(), loader(), 6).run(killing(4), checkpoint=path, every=3)
    assert not changed(Training(Stepping(), loader(), 6).run(checkpoint=path), snapshot(whole))


def test_the_checkpoint_of_another_run_is_refused_with_all_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    Training(Noting(), loader(), 2, seed=1).run(checkpoint=path)
    other = Noting()
    before = snapshot(other)
    with pytest.raises(
        DeixisError, match=r"stage is 'late' and was 'train'; steps is 3 and was 2; seed is 2 and was 1"
    ):
        Training(other, loader(), 3, seed=2, stage=Stage("late")).run(checkpoint=path)
    assert not changed(other, before)
    save_state(Noting(), path, {"stage": "train", "steps": 2, "seed": 1, "ranks": 1})
    with pytest.raises(DeixisError, match="it has no steps"):
        Training(other, loader(), 2, seed=1).run(checkpoint=path)


def test_what_a_kill_left_of_a_write_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with atomic_path(path) as part:
        pass
    path.unlink()
    part.write_bytes(b"half")
    Training(Noting(), loader(), 1).run(checkpoint=path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_method_is_told_which_pass_it_sees() -> None:
    """23 samples are five batches of 4."""
    epochs: list[int] = []
    train(Noting(), loader(), 12, on_step=lambda progress, losses: epochs.append(progress.epoch))
    assert epochs == [0] * 5 + [1] * 5 + [2] * 2


def test_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    Training(Noting(), loader(), 2).run(checkpoint=path)
    other = Loader(source(), encode, SampleOrder(5, seed=5), max_skipped=0.2)
    with pytest.raises(DeixisError, match="batch_size is 5 and was 4"):
        Training(Noting(), other, 2).run(checkpoint=path)


def test_moments_of_another_layout_are_loaded_as_the_weights_lie(tmp_path: Path) -> None:
    """A fused step walks through weights and moments side by side in memory."""

    def started() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        tower = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return tower, torch.optim.AdamW(tower.parameters(), fused=True)

    def step(tower: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        tower(torch.linspace(-1, 1, 150).reshape(2, 3, 5, 5)).square().sum().backward()
        optimiser.step()

    whole, again = started(), started()
    step(*whole)
    save_training(tmp_path / "x", *whole, {}, {"more": torch.ones(2)})
    assert load_training(tmp_path / "x", *again).keys() == {"more"}
    step(*whole), step(*again)
    assert not whole[0].weight.is_contiguous()
    assert torch.equal(whole[0].weight, again[0].weight)


def test_facts_are_read_without_tensors_and_may_be_missing(tmp_path: Path) -> None:
    save_state(Noting(), tmp_path / "with", {"epoch": 3, "of": {"ids": [1, "\u00e9"]}})
    save_state(Noting(), tmp_path / "without")
    assert load_facts(tmp_path / "with") == {"epoch": 3, "of": {"ids": [1, "\u00e9"]}}
    assert load_facts(tmp_path / "without") == {}
    (tmp_path / "broken").write_bytes(b"{}")
    with pytest.raises(DeixisError, match="can't be read as a checkpoint"):
        load_facts(tmp_path / "broken")


# Processes that are killed


class Run:
    """A run in processes of its own, in a folder: what each rank was given at each step, and the weights at the end."""

    def __init__(self, folder: Path, world: int) -> None:
        self.folder, self.world = folder, world
        self._meetings = itertools.count()

    def start(self, workers: int, kill: int = 0) -> None:
        """Runs to the end; or until the last rank kills itself at step `kill`, and the others are killed after it."""
        meeting = f"{self.folder}/meet{next(self._meetings)}"
        command = [sys.executable, "-m", "tests.engine.training.test_resume", str(self.folder), meeting]
        numbers = [[str(n) for n in (rank, self.world, workers, kill)] for rank in range(self.world)]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
        ranks = [subprocess.Popen([*command, *each], cwd=ROOT, env=env, stderr=subprocess.PIPE) for each in numbers]
        try:
            if kill:
                assert ranks[-1].wait(120) == -signal.SIGKILL
                for process in ranks[:-1]:
                    process.kill()
            ends = [(process.communicate(timeout=120)[1].decode(), process.returncode) for process in ranks]
        finally:
            for process in ranks:
                process.kill()
        assert kill or all(code == 0 for _, code in ends), ends

    def logs(self) -> list[Log]:
        """Of each rank: step -> ids, what came again having been the same."""
        found: list[Log] = [{} for _ in range(self.world)]
        for rank, log in enumerate(found):
            for line in (self.folder / f"log{rank}").read_text(encoding="utf-8").splitlines():
                step, ids = json.loads(line)
                assert log.setdefault(step, ids) == ids
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(load_file(self.folder / "end.safetensors"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    runs = {world: Run(tmp_path_factory.mktemp(f"whole{world}"), world) for world in (1, 2)}
    for run in runs.values():
        run.start(workers=0)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(("world", "workers"), [(1, (0, 2)), (1, (2, 1)), (2, (1, 0)), (2, (2, 1))])
def test_processes_killed_at_any_step_deliver_and_end_as_those_that_were_not(
    whole: dict[int, Run], tmp_path: Path, world: int, workers: tuple[int, int]
) -> None:
    run = Run(tmp_path, world)
    run.start(workers[0], kill=random.randint(EVERY, STEPS - 1))
    assert not (tmp_path / "end.safetensors").exists()
    run.start(workers[1])
    assert run.logs() == whole[world].logs()
    ours, theirs = run.weights(), whole[world].weights()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
def test_over_two_ranks_an_epoch_holds_each_sample_at_most_once_and_misses_what_it_says(whole: dict[int, Run]) -> None:
    """23 samples are two batches of 4 on each of 2 ranks, and 7 that are left out; two can't be read."""
    first, second = whole[2].logs()
    for epoch in range(STEPS // 2):
        ids = [name for log in (first, second) for step in (2 * epoch, 2 * epoch + 1) for name in log[step]]
        assert len(ids) == len(set(ids))
        assert SAMPLES - 7 - len(BROKEN) <= len(ids) <= SAMPLES - 7
    taken = {name for log in (first, second) for ids in log.values() for name in ids}
    assert taken == {f"sample {i}" for i in range(SAMPLES)} - set(BROKEN)


@pytest.mark.slow
def test_the_union_of_two_ranks_is_an_epoch_to_the_sample(whole: dict[int, Run]) -> None:
    kept = [json.loads((whole[2].folder / f"kept{rank}").read_text(encoding="utf-8")) for rank in range(2)]
    assert not set(kept[0]) & set(kept[1])
    assert sorted(kept[0] + kept[1]) == sorted({f"sample {i}" for i in range(SAMPLES)} - set(BROKEN))


def _run(folder: Path, meeting: str, rank: int, world: int, workers: int, kill: int) -> None:
    """One rank of one run."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)

    class Writing(Noting):
        def forward(self, batch: Batch, progress: Progress) -> Losses:
            with open(folder / f"log{rank}", "a", encoding="utf-8") as log:
                log.write(json.dumps((progress.step, batch.ids)) + "\n")
            return super().forward(batch, progress)

    def on_step(progress: Progress, losses: Losses) -> None:
        if progress.step == kill and rank == world - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    method = carded(Writing)()
    Training(method, loader(workers), STEPS, seed=9).run(on_step, checkpoint=folder / "run.safetensors", every=EVERY)
    with Loader(source(), encode, SampleOrder(4, last="keep"), workers=workers, max_skipped=0.2) as epoch:
        kept = [name for batch in epoch for name in batch.ids]
    (folder / f"kept{rank}").write_text(json.dumps(kept), encoding="utf-8")
    if rank == 0:
        save_state(method, folder / "end.safetensors")
    if world > 1:
        leave_ranks()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("meeting")
    for name in ("rank", "world", "workers", "kill"):
        parser.add_argument(name, type=int)
    _run(**vars(parser.parse_args()))
