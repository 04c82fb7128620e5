"""`deixis train --model scratch`: a new model whose words are those it is trained on; its folder needs nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis import zoo
from deixis.apps.common.dataset import read
from deixis.apps.train.callbacks import ProgressCallback
from deixis.apps.train.command import rewrite
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import prepare
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.types import Source
from tests.commands import SOURCE, deixis, own_cache
from tests.engine.training.test_launch import free_port
from tests.pictures import captioned

SETTINGS = TrainSettings(
    model="scratch:vit:tiny:32", precision="float32", steps=4, batch_size=8, held_out=0.3, checkpoint_every=2, workers=0
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("new")
    with own_cache(folder / "cache"):
        captioned(folder / "pictures", 40)
        run(folder, folder / "whole")
        yield folder


def run(place: Path, out: Path, **changed: Any) -> Any:
    return train("clip", str(place / "pictures"), out, dataclasses.replace(SETTINGS, **changed), quiet=True)


def pairs(place: Path, **changed: Any) -> Source:
    source = read(str(place / "pictures"))
    samples = tuple(dataclasses.replace(sample, **changed) for sample in source.samples)
    return dataclasses.replace(source, samples=samples)


def words(folder: Path) -> list[str]:
    return list(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])[4:]


# Words


def test_the_words_are_those_of_the_captions_that_are_trained_on(place: Path) -> None:
    made = prepare("clip", read(str(place / "pictures")), SETTINGS)
    assert made.held is not None
    trained, held = (
        {word.lower() for sample in each.samples for caption in sample.captions for word in caption.split()}
        for each in (made.train, made.held)
    )
    there = set(words(place / "whole" / "model"))
    assert {word for word in trained if word.isalpha()} <= there
    assert held - trained, "some words are held out"
    assert not {word for word in held - trained if word.isalpha()} & there


def test_a_part_that_is_set_to_be_new_has_the_words_that_are_trained_on(place: Path) -> None:
    source = read(str(place / "pictures"))
    chosen = dataclasses.replace(SETTINGS, model="", set=("encoder=scratch:vit:tiny:32",))
    model, part = (prepare("clip", source, settings).method.encoder for settings in (SETTINGS, chosen))
    assert part.fingerprint() == model.fingerprint()


def test_folder_names_are_words_where_there_are_no_captions(place: Path) -> None:
    source = pairs(place, captions=())
    kinds = [dataclasses.replace(s, label=f"{('red', 'blue')[i % 2]} kite") for i, s in enumerate(source.samples)]
    told = dataclasses.replace(source, samples=tuple(kinds))
    made = prepare("clip", told, dataclasses.replace(SETTINGS, held_out=0.0))
    assert any("it knows 3 words" in note for note in made.notes)


def test_without_captions_there_are_no_words(place: Path, tmp_path: Path) -> None:
    for captions in ((), (" ",)):
        with pytest.raises(DeixisError, match="has no captions, and a new model knows the words") as caught:
            train("clip", pairs(place, captions=captions), tmp_path / "run", SETTINGS)
        assert "--names-as-captions" in str(caught.value)
    assert not list(tmp_path.iterdir())


# What is trained


@pytest.mark.parametrize(("name", "rate"), [("clip", 1e-3), ("filip", 1e-3), ("align", 1e-3)])
def test_a_new_model_is_trained_whole_and_not_as_one_is_tuned(place: Path, name: str, rate: float) -> None:
    made = prepare(name, read(str(place / "pictures")), SETTINGS)
    assert getattr(made.method.config, "layers", "all") == "all"
    assert made.method.config.optim.learning_rate == rate
    told = prepare(name, read(str(place / "pictures")), dataclasses.replace(SETTINGS, set=("learning_rate=0.5",)))
    assert told.method.config.optim.learning_rate == 0.5, "what is asked for counts"


def test_a_method_that_keeps_its_model_as_it_is_needs_a_trained_one(place: Path) -> None:
    with pytest.raises(DeixisError, match=r"coop does not train its model.*random weights"):
        prepare("coop", read(str(place / "pictures")), SETTINGS)


@pytest.mark.parametrize(("model", "said"), [("scratch:huge", "'huge' is unknown"), ("scratch:32:48", "too many")])
def test_a_new_model_that_there_is_not_is_refused(place: Path, tmp_path: Path, model: str, said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        run(place, tmp_path / "run", model=model)
    assert not list(tmp_path.iterdir())


# The run


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_words_and_ends_with_the_same_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    note = ProgressCallback.__call__

    def noted(self: ProgressCallback, progress: Any, losses: Any) -> None:
        note(self, progress, losses)
        if progress.step == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "__call__", noted)
        with pytest.raises(Killed):
            run(place, tmp_path / "run")
    assert run(place, tmp_path / "run")["model"] == json.loads((place / "whole" / "result.json").read_text())["model"]
    assert zoo.load(tmp_path / "run").fingerprint() == zoo.load(place / "whole").fingerprint()


def test_the_model_folder_stands_alone(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "whole" / "model", tmp_path / "elsewhere")
    model, there = zoo.load(tmp_path / "elsewhere"), zoo.load(place / "whole")
    assert model.fingerprint() == there.fingerprint()
    assert torch.equal(model.encode_text(["qqqqqqqqqqqqqq"]), there.encode_text(["qqqqqqqqqqqqqq"]))


@pytest.mark.slow
def test_it_is_searched_and_adapted_and_trained_on_as_any_model(place: Path, tmp_path: Path) -> None:
    model, pictures = place / "whole" / "model", place / "pictures"
    assert deixis("index", pictures, "--model", model, "--out", tmp_path / "index").code == 0
    assert "pictures" in deixis("search", tmp_path / "index", "qqqqqqqqqqqqqq", "--k", 3).out
    flags = ("--splits", 2, "--no-controls")
    assert deixis("adapt", pictures, "--model", model, "--out", tmp_path / "adapted", *flags).code == 0
    assert deixis("search", tmp_path / "adapted", "qqqqqqqqqqqqqq", "--k", 3).code == 0
    on = ("--data", pictures, "--model", model, "--steps", 2, "--batch-size", 8, "--workers", 0)
    assert deixis("train", "clip", *on, "--out", tmp_path / "on").code == 0
    assert words(tmp_path / "on" / "model") == words(model)


@pytest.mark.slow
def test_ranks_make_one_model(place: Path, tmp_path: Path) -> None:
    flags = ("--steps", 2, "--batch-size", 8, "--workers", 0, "--held-out", 0.3, "--model", SETTINGS.model)
    few = ("train", "clip", "--data", place / "pictures", *flags, "--precision", "float32")
    assert deixis(*few, "--out", tmp_path / "one").code == 0
    (tmp_path / "deixis_main.py").write_text("from deixis.cli import main\nmain()\n", encoding="utf-8")
    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    arguments = map(str, (tmp_path / "deixis_main.py", *few, "--out", tmp_path / "two"))
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE), "DEIXIS_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert words(tmp_path / "one" / "model") == words(tmp_path / "two" / "model")
    one, two = (zoo.load(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, value in one.items():
        if not name.endswith("attention.key.bias"):  # its gradient is zero in theory
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=3e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["scratch", "scratch:vit", "scratch:resnet:tiny:bag"])
def test_each_kind_is_trained_from_the_command_line(place: Path, tmp_path: Path, model: str) -> None:
    few = ("--steps", 2, "--batch-size", 8, "--workers", 0, "--model", model)
    done = deixis("train", "clip", "--data", place / "pictures", "--out", tmp_path / "run", *few)
    assert done.code == 0, done.err
    assert "A new model of" in done.err
    assert zoo.load(tmp_path / "run").encode_text(["qqqqqqqqqqqqqq"]).shape[0] == 1


def test_each_part_of_a_method_is_a_flag() -> None:
    words = ["clip", "--data", "pictures", "--encoder", "my-run", "--set", "optim.learning_rate=1"]
    assert rewrite(words) == [*words[:3], "--set", "encoder=my-run", *words[5:]]
    assert rewrite(["coop", "--encoder=tiny", "--out", "run"]) == ["coop", "--set", "encoder=tiny", "--out", "run"]
    assert rewrite(["no-such-method", "--encoder", "tiny"]) == ["no-such-method", "--encoder", "tiny"]


def test_a_part_that_can_not_be_loaded_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 4)
    done = deixis(
        "train", "clip", "--data", tmp_path / "pictures", "--out", tmp_path / "run", "--encoder", "no-such-run"
    )
    assert done.code == 2
    assert "no-such-run" in done.err
    assert not (tmp_path / "run").exists()
