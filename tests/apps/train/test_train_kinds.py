"""`deixis train` of every kind of method: its run is opened by what opens any other."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from deixis import zoo
from deixis.apps.train.callbacks import ProgressCallback
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.engine.training.monitor import Journal
from deixis.nn.dual import DualEncoder
from deixis.types import Losses, Progress
from tests.commands import SOURCE, own_cache
from tests.engine.training.test_launch import free_port
from tests.pictures import captioned, labelled
from tests.support import few

SETTINGS = TrainSettings(
    config="tiny", precision="float32", steps=6, batch_size=8, held_out=0.3, checkpoint_every=2, workers=0
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("kinds")
    with own_cache(folder / "cache"):
        captioned(folder / "pictures", 40)
        labelled(folder / "classes", 36)
        yield folder


def run(place: Path, out: Path, name: str, data: str = "pictures", **changed: Any) -> dict[str, Any]:
    return dict(train(name, str(place / data), out, dataclasses.replace(SETTINGS, **changed), quiet=True))


# On frozen embeddings


@pytest.mark.parametrize("name", few(("residual", "coop", "cocoop", "pre"), "residual", "coop"))
def test_a_method_on_frozen_embeddings_is_trained_from_a_folder(place: Path, tmp_path: Path, name: str) -> None:
    """What the frozen encoder says of pictures and captions is made on the way."""
    result = run(place, tmp_path / "run", name, "pictures" if name == "residual" else "classes")
    assert (result["method"], result["steps"]) == (name, [6])
    assert not any(key.startswith("encoder.") for key in load_file(tmp_path / "run" / "method.safetensors"))
    lines = Journal(tmp_path / "run" / "metrics.jsonl").lines()
    assert [line["step"] for line in lines if line.get("loss", 0) > 0][-1] == 6


def test_adapters_that_were_trained_are_part_of_the_model_that_is_saved(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path / "run", "residual")
    model, tensors = zoo.load(tmp_path / "run"), load_file(tmp_path / "run" / "method.safetensors")
    assert model.image_adapter is not None
    assert torch.equal(model.image_adapter.linear.weight, tensors["image.linear.weight"])
    assert result["after"]["mrr"] > result["before"]["mrr"]


def test_a_killed_run_goes_on_with_the_columns_that_were_made(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    run(place, tmp_path / "whole", "residual", seed=3)
    note = ProgressCallback.__call__

    def noted(self: ProgressCallback, progress: Progress, losses: Losses) -> None:
        note(self, progress, losses)
        if progress.step == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "__call__", noted)
        with pytest.raises(Killed):
            run(place, tmp_path / "run", "residual", seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(DualEncoder, "image_states", None)  # of what is trained on nothing is made a second time
        patch.setattr("deixis.apps.train.train.held_out", lambda method, data: {"mrr": 0.0})
        run(place, tmp_path / "run", "residual", seed=3)
    one, two = (load_file(tmp_path / name / "method.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.slow
def test_ranks_make_their_shares_and_come_to_what_one_process_comes_to(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "one", "residual", set=("dropout=0",))
    flags = "--config tiny --precision float32 --steps 6 --batch-size 8 --held-out 0.3 --workers 0 --set dropout=0"
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from deixis.cli import main; main()"
    (tmp_path / "main.py").write_text(code, encoding="utf-8")
    agent = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    words = ("train", "residual", "--data", place / "pictures", "--out", tmp_path / "two", *flags.split())
    done = subprocess.run(
        [sys.executable, "-m", *agent, *map(str, (tmp_path / "main.py", *words))],
        env={**os.environ, "DEIXIS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "method.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=3e-4, msg=name)
