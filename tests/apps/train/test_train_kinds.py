"""`deixis train` of every kind of method: its run is opened by what opens any other."""

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
from safetensors.torch import load_file, save_file

import deixis as deixis_package
from deixis import zoo
from deixis.apps.train.callbacks import ProgressCallback
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import prepare
from deixis.apps.train.train import train
from deixis.engine.training.checkpoint import state
from deixis.engine.training.monitor import Journal
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.methods import _registry, baselines
from deixis.nn.dual import DualEncoder
from deixis.types import Losses, Progress
from tests.commands import SOURCE, deixis, own_cache
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


KINDS = {
    "clip": "pictures",
    "residual": "pictures",
    "ridge": "pictures",
    "mean_shift": "pictures",
    "coop": "classes",
    "cocoop": "classes",
    "pre": "classes",
    "tip": "classes",
    "delta": "classes",
    "linear": "classes",
    "zero_shot": "classes",
}
"""Trained, on frozen embeddings, fitted, class learning and training-free; and what each is trained on."""


def finished(place: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """A run that several tests look at, and what it tells."""
    folder = place / "runs" / name
    if not (folder / "result.json").exists():
        run(place, folder, name, KINDS[name], set=("vectors=3", "words=") if name == "coop" else ())
    return folder, json.loads((folder / "result.json").read_text(encoding="utf-8"))


# On frozen embeddings


@pytest.mark.parametrize("name", few(("residual", "coop", "cocoop", "pre"), "residual"))
def test_a_method_on_frozen_embeddings_is_trained_from_a_folder(place: Path, name: str) -> None:
    """What the frozen encoder says of pictures and captions is made on the way."""
    folder, result = finished(place, name)
    assert (result["method"], result["steps"]) == (name, [6])
    assert not any(key.startswith("encoder.") for key in load_file(folder / "method.safetensors"))
    lines = Journal(folder / "metrics.jsonl").lines()
    assert [line["step"] for line in lines if line.get("loss", 0) > 0][-1] == 6


def test_adapters_that_were_trained_are_part_of_the_model_that_is_saved(place: Path) -> None:
    folder, result = finished(place, "residual")
    model, tensors = zoo.load(folder), load_file(folder / "method.safetensors")
    assert model.image_adapter is not None
    assert torch.equal(model.image_adapter.linear.weight, tensors["image.linear.weight"])
    assert result["after"]["mrr"] > result["before"]["mrr"]


@pytest.mark.slow
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


def test_adapters_are_not_stacked(place: Path, tmp_path: Path) -> None:
    folder, _ = finished(place, "residual")
    with pytest.raises(DeixisError, match=r"adapted already, and adapters are not stacked.*--model tiny"):
        run(place, tmp_path / "again", "ridge", model=str(folder))


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


# Every kind


@pytest.mark.parametrize("name", few(KINDS, "ridge", "tip", "zero_shot"))
def test_the_method_of_a_run_is_loaded_as_it_was_at_the_end(place: Path, name: str) -> None:
    folder, result = finished(place, name)
    method, tensors = deixis_package.load_method(folder), load_file(folder / "method.safetensors")
    assert name_of(method) == result["method"] == name
    assert {key: value.tolist() for key, value in state(method).items()} == {k: v.tolist() for k, v in tensors.items()}
    assert not any(module.training for module in method.modules())
    model, images = deixis_package.load(folder), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        if hasattr(method, "encode_image"):
            torch.testing.assert_close(method.encode_image(images), model.encode_image(images))
        else:
            scores = method.scores(model.image_states(images).features) if name == "linear" else method.classify(images)
            assert scores.shape == (3, 6)
    assert "deixis" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", few(("ridge", "mean_shift", "tip", "linear"), "ridge", "linear"))
def test_what_is_fitted_is_measured_before_and_after(place: Path, name: str) -> None:
    folder, result = finished(place, name)
    metric = "mrr" if KINDS[name] == "pictures" else "accuracy"
    assert result["after"][metric] > result["before"][metric]
    assert result["steps"] == [0]
    assert [line["step"] for line in Journal(folder / "metrics.jsonl").lines()] == [0, 1]


@pytest.mark.parametrize("name", few(("coop", "tip", "zero_shot"), "coop"))
def test_a_run_of_a_method_that_learns_classes_is_a_classifier(place: Path, name: str) -> None:
    folder, result = finished(place, name)
    classifier = deixis_package.load_classifier(folder)
    pictures = sorted((place / "classes").rglob("*.png"))
    assert list(classifier.classes_) == sorted({path.parent.name for path in pictures})
    method = deixis_package.load_method(folder)
    images = method.encoder.read_images(pictures)
    expected = classifier.classes_[method.classify(images).argmax(dim=1).numpy()]
    assert classifier.predict(pictures).tolist() == expected.tolist()
    assert result["kind"] == "classes"
    assert len(classifier.shots_) == 36 - result["held_out"]


def test_a_class_of_one_image_is_learned_and_not_held_out(place: Path, tmp_path: Path) -> None:
    from deixis.data import read

    source = read(place / "classes")
    one = dataclasses.replace(source.samples[0], id="one", label="alone")
    made = prepare("linear", dataclasses.replace(source, samples=(*source.samples, one)), SETTINGS)
    assert made.held is not None
    assert "one" in {sample.id for sample in made.train.samples}
    assert "alone" in made.classes


def test_a_run_tells_what_the_method_was_built_from(place: Path) -> None:
    folder, result = finished(place, "coop")
    assert (result["preset"], result["overrides"]) == ("tiny", {"vectors": 3, "words": ""})
    encoder, names = result["parts"]["encoder"], result["parts"]["names"]
    assert (encoder["name"], encoder["fingerprint"]) == ("tiny", zoo.load("tiny").fingerprint())
    assert len(names["name"]) == 6
    assert "learned by `coop`" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_run_of_an_earlier_release_is_loaded_too(place: Path, tmp_path: Path) -> None:
    """Its file told the method and its settings alone."""
    folder, result = finished(place, "clip")
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "method.safetensors"
    facts = {"deixis": json.dumps({"method": "clip", "config": result["config"]})}
    save_file(load_file(path), path, facts)
    method, model = deixis_package.load_method(tmp_path / "run"), deixis_package.load(tmp_path / "run")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(method.encode_image(images), model.encode_image(images))


def test_a_part_that_is_another_one_now_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the run holds no copy of it."""
    shutil.copytree(finished(place, "coop")[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    assert name_of(deixis_package.load_method(tmp_path / "run")) == "coop"
    other = zoo.load("tiny")
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    monkeypatch.setattr(zoo, "load", lambda name, **options: other)
    with pytest.raises(DeixisError, match=r"The part 'encoder' of the run .* was 'tiny' with fingerprint"):
        deixis_package.load_method(tmp_path / "run")


def test_a_folder_without_a_method_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"holds no method: there is no method\.safetensors"):
        deixis_package.load_method(tmp_path)


# Stages with data of their own, and methods without an encoder


HEAD = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from deixis.types import Card, FieldSpec, Losses, Part, Stage
"""

PRESETS = """
    @classmethod
    def tiny(cls) -> Config:
        return cls()

    @classmethod
    def desk(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls()
"""

BANKED = f"""
{HEAD}
IMAGES = FieldSpec("images", "B 3 H W")
CARD = Card(
    title="A bank of other photographs", year=2026, kind="trained", needs=(IMAGES,),
    parts=(Part("encoder", "dual_encoder", frozen=True),), non_gradient_state=("bank", "seen"),
)

@dataclass(frozen=True)
class Config:
    encoder: str = "tiny"
{PRESETS}

class Method(nn.Module):
    def __init__(self, config, *, encoder):
        super().__init__()
        self.config, self.encoder, self.scale = config, encoder, nn.Parameter(torch.ones(()))
        self.register_buffer("bank", torch.zeros(encoder.width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def stages(self):
        return Stage("bank", kind="fit", needs=(IMAGES,), data="photographs"), Stage("train", trainable=("scale",))

    def observe(self, batch, progress):
        self.seen += len(batch)
        self.bank += self.encoder.encode_image(batch.images).sum(0)

    def finish(self, progress):
        self.bank /= self.seen

    def forward(self, batch, progress):
        return Losses({{"off": (self.scale * self.encoder.encode_image(batch.images) @ self.bank - 1).square().mean()}})

CLAIMS = ()
"""

BUILT = f"""
{HEAD}
CARD = Card(title="A code book of random vectors", year=2026, kind="training-free", non_gradient_state=("book",))

@dataclass(frozen=True)
class Config:
    size: int = 4
{PRESETS}

class Method(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.register_buffer("book", torch.zeros(config.size, 2))

    def stages(self):
        return (Stage("book", kind="fit", needs=()),)

    def finish(self, progress):
        self.book.copy_(torch.randn(self.book.shape, generator=progress.rng("book")))

CLAIMS = ()
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two more methods, as files."""
    files = _registry._files()
    for name, text in (("banked", BANKED), ("built", BUILT)):
        files[name] = tmp_path / "toys" / f"{name}.py"
        files[name].parent.mkdir(exist_ok=True)
        files[name].write_text(text, encoding="utf-8")
    monkeypatch.setattr(_registry, "_files", lambda: files)
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path / "toys")])
    yield
    for name in ("banked", "built"):
        sys.modules.pop(f"deixis.methods.baselines.{name}", None)
        baselines.__dict__.pop(name, None)


def test_a_stage_draws_from_the_source_that_it_names(place: Path, tmp_path: Path, toys: None) -> None:
    more = (f"photographs={place / 'classes'}",)
    result = run(place, tmp_path / "run", "banked", source=more, held_out=0.0)
    tensors = load_file(tmp_path / "run" / "method.safetensors")
    assert tensors["seen"] == 36, "all of the other source, once"
    encoder = zoo.load("tiny")
    mean = encoder.encode_image(sorted((place / "classes").rglob("*.png"))).mean(0)
    torch.testing.assert_close(tensors["bank"], mean)
    assert result["data"]["samples"] == 40
    assert result["sources"]["photographs"]["samples"] == 36
    with pytest.raises(DeixisError, match=r"holds another run: .*samples is 40 and was 36"):
        run(place, tmp_path / "run", "banked", source=(f"photographs={place / 'pictures'}",), held_out=0.0)


def test_a_source_that_is_missing_or_too_much_is_told(place: Path, tmp_path: Path, toys: None) -> None:
    with pytest.raises(DeixisError, match=r"'bank' of banked draws from 'photographs'.*--source photographs=PATH"):
        run(place, tmp_path / "run", "banked")
    with pytest.raises(DeixisError, match=r"clip has no stage that draws from 'more'.*Leave --source out"):
        run(place, tmp_path / "run", "clip", source=(f"more={place / 'pictures'}",))
    assert not (tmp_path / "run").exists()


def test_a_method_without_an_encoder_is_what_its_run_loads(place: Path, tmp_path: Path, toys: None) -> None:
    """And what is built without data needs none but a name for it."""
    run(place, tmp_path / "run", "built", set=("size=3",))
    method = deixis_package.load(tmp_path / "run")
    assert name_of(method) == "built"
    assert method.book.shape == (3, 2)
    assert method.book.abs().min() > 0
    assert "deixis.load_method('run')" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


# Through the command line


@pytest.mark.parametrize("name", few(("clip", "filip", "align", "residual", "ridge", "coop", "zero_shot"), "ridge"))
def test_a_run_of_each_kind_is_evaluated_indexed_and_searched(place: Path, tmp_path: Path, name: str) -> None:
    run_, data = tmp_path / "run", place / KINDS.get(name, "pictures")
    flags = "--config tiny --precision float32 --steps 6 --batch-size 8 --workers 0 --quiet".split()
    asked = "--methods zero_shot --shots 1 2 --seeds 2 --quiet".split()
    for words in (
        ("train", name, "--data", data, "--out", run_, *flags),
        ("eval", data, "--model", run_, "--out", tmp_path / "eval", *asked),
        ("index", place / "pictures", "--model", run_, "--out", tmp_path / "index", "--quiet"),
    ):
        answer = deixis(*words)
        assert answer.code == 0, answer.err
    answer = deixis("search", tmp_path / "index", "qqqqqqqqqqqqqq", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert len(found["found"]) == 10
    measured = json.loads((tmp_path / "eval" / "result.json").read_text(encoding="utf-8"))
    assert measured["model"] == str(run_)
