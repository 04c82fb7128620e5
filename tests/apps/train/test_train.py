"""`deixis train`: from files to a run folder; killed and run again it ends the same; what can't be is refused."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from deixis import engine, zoo
from deixis.apps.train import callbacks, setup
from deixis.apps.train.callbacks import ProgressCallback
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.engine.training.monitor import Journal
from deixis.engine.training.precision import chosen_precision
from deixis.errors import DeixisError
from deixis.methods import clip
from deixis.types import Batch, Losses, Progress, Source, Stage
from tests.commands import SOURCE, deixis, own_cache
from tests.engine.training.test_launch import free_port
from tests.pictures import captioned, spoil
from tests.support import few

SETTINGS = TrainSettings(
    config="tiny",
    precision="float32",
    steps=12,
    batch_size=8,
    held_out=0.3,
    checkpoint_every=4,
    log_every=3,
    measure_every=6,
    workers=0,
)
TIMES = ("samples_per_second", "waiting", "memory_mb", "seconds", "eta")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("train")
    with own_cache(folder / "cache"):
        captioned(folder / "pictures", 40)
        run(folder, folder / "whole")
        yield folder


def run(place: Path, out: Path, **changed: Any) -> Any:
    more = {name: changed.pop(name) for name in ("overwrite", "name", "data") if name in changed}
    name, data = more.pop("name", "clip"), more.pop("data", str(place / "pictures"))
    return train(name, data, out, dataclasses.replace(SETTINGS, **changed), quiet=True, **more)


def weights(out: Path) -> dict[str, Tensor]:
    return dict(load_file(out / "method.safetensors"))


def same_weights(out: Path, other: Path) -> bool:
    one, two = weights(out), weights(other)
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def lines(out: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, without what hangs on the clock."""
    return [
        {key: value for key, value in each.items() if key not in TIMES}
        for each in Journal(out / "metrics.jsonl").lines()
    ]


class Killed(BaseException):
    """As good as a kill, for one process."""


def killed(place: Path, out: Path, step: int, monkeypatch: pytest.MonkeyPatch, stage: int = 0, **changed: Any) -> None:
    """A run that ends behind a step, before its checkpoint."""
    note = ProgressCallback.__call__

    def noted(self: ProgressCallback, progress: Progress, losses: Losses) -> None:
        note(self, progress, losses)
        if (self.monitor._stage, progress.step) == (stage, step):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ProgressCallback, "__call__", noted)
        with pytest.raises(Killed):
            run(place, out, **changed)


# The run folder


def test_the_folder_holds_the_model_what_was_measured_and_what_it_was_made_with(place: Path) -> None:
    out = place / "whole"
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert sorted(each.name for each in out.iterdir()) == [
        "README.md",
        "method.safetensors",
        "metrics.jsonl",
        "model",
        "result.json",
        "run.json",
        "trained_on.txt",
    ]
    assert (result["method"], result["steps"], result["batch_size"], result["held_out"]) == ("clip", [12], 8, 12)
    assert result["config"]["optim"]["learning_rate"] == 0.01
    assert {"r1", "r10", "mrr", "image_rank", "text_rank"} == result["before"].keys() == result["after"].keys()
    assert result["difference"]["mrr"] == pytest.approx(result["after"]["mrr"] - result["before"]["mrr"])
    assert result["versions"]["torch"] == torch.__version__


def test_the_trained_encoder_is_a_model_with_the_scale_it_was_trained_to(place: Path) -> None:
    result = json.loads((place / "whole" / "result.json").read_text(encoding="utf-8"))
    model, method = zoo.load(place / "whole"), weights(place / "whole")
    assert model.fingerprint() == result["model"]["fingerprint"] != zoo.load("tiny").fingerprint()
    assert model.scale == pytest.approx(float(method["logit_scale"].exp()))
    assert model.scale != zoo.load("tiny").scale
    name = "image_tower.backbone.0.bias"
    assert torch.equal(model.state_dict()[name], method[f"encoder.{name}"])


def test_a_line_is_kept_of_each_logged_and_each_measured_step_once(place: Path) -> None:
    found = lines(place / "whole")
    assert [line["step"] for line in found] == [0, 3, 6, 9, 12]
    assert [line["step"] for line in found if "held_out" in line] == [0, 6, 12]
    assert all(line["loss"] > 0 and line["gradient_norm"] > 0 for line in found[1:])


@pytest.mark.slow
def test_low_rank_changes_are_part_of_the_model_that_is_saved(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "run", set=("layers=lora", "rank=2"))
    model = zoo.load(tmp_path / "run")
    fresh = engine.build("clip", "tiny", {"layers": "lora", "rank": 2})
    fresh.load_state_dict({**fresh.state_dict(), **weights(tmp_path / "run")})
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images), fresh.encode_image(images))
        assert not torch.allclose(model.encode_image(images), zoo.load("tiny").encode_image(images), atol=1e-3)


def test_a_trained_run_is_indexed_and_searched_as_any_model(place: Path, tmp_path: Path) -> None:
    assert deixis("index", place / "pictures", "--model", place / "whole", "--out", tmp_path / "index").code == 0
    assert deixis("search", tmp_path / "index", "qqqqqqqqqqqqqq", "--k", 3).code == 0


# Going on


@pytest.mark.parametrize("step", few([1, 4, 12, 7], 7))
def test_a_killed_run_that_is_run_again_ends_with_the_same_weights_and_lines(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    killed(place, tmp_path / "run", step, monkeypatch)
    assert not (tmp_path / "run" / "result.json").exists()
    again = run(place, tmp_path / "run", workers=2)
    assert same_weights(tmp_path / "run", place / "whole")
    assert lines(tmp_path / "run") == lines(place / "whole")
    assert again["before"] == lines(place / "whole")[0]["held_out"]


def test_a_run_that_is_done_is_told_and_not_run_again(place: Path) -> None:
    before = (place / "whole" / "result.json").read_bytes()
    assert run(place, place / "whole") == json.loads(before)
    assert (place / "whole" / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps": 13}, r"steps is \[13\] and was \[12\]"),
        ({"seed": 1}, "seed is 1 and was 0"),
        ({"set": ("learning_rate=0.1",)}, "learning_rate is 0.1 and was 0.01"),
        ({"batch_size": 4, "clip": 1.0}, "batch_size is 4 and was 8; clip is 1.0 and was null"),
        ({"precision": "bf16"}, "precision is .bf16. and was .float32."),
    ],
)
def test_another_run_in_the_folder_is_refused_with_all_that_differs(
    place: Path, changed: dict[str, Any], told: str
) -> None:
    before = sorted(each.name for each in (place / "whole").iterdir())
    with pytest.raises(DeixisError, match=rf"holds another run: {told}\. .*--overwrite"):
        run(place, place / "whole", **changed)
    assert sorted(each.name for each in (place / "whole").iterdir()) == before


def test_a_run_that_was_begun_before_settings_of_the_optimiser_had_their_names_is_the_same_run(
    place: Path, tmp_path: Path
) -> None:
    """As CLIP's `run.json` was written when each method had these settings itself."""
    out = Path(shutil.copytree(place / "whole", tmp_path / "run"))
    written = json.loads((out / "run.json").read_text(encoding="utf-8"))
    optim = written["config"].pop("optim")
    assert optim["learning_rate"] == 0.01
    written["config"] |= {"warmup": 0, "schedule": "constant", "optimiser": "adamw", "learning_rate": 0.01}
    written["config"] |= {"text_rate": 1.0, "weight_decay": 0.001, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-06}
    (out / "run.json").write_text(json.dumps(written), encoding="utf-8")
    assert run(place, out) == json.loads((out / "result.json").read_text(encoding="utf-8"))
    with pytest.raises(DeixisError, match=r"holds another run: weight_decay is 0.5 and was 0.001\."):
        run(place, out, set=("optim.weight_decay=0.5",))


def test_other_data_is_another_run(place: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(place / "pictures", tmp_path / "pictures"))
    next(data.glob("*.txt")).write_text("another word\n", encoding="utf-8")
    with pytest.raises(DeixisError, match="fingerprint is"):
        run(place, place / "whole", data=str(data))


@pytest.mark.slow
def test_overwriting_begins_anew_also_where_a_run_was_killed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(place, tmp_path / "run", 7, monkeypatch, seed=1)
    run(place, tmp_path / "run", overwrite=True)
    assert same_weights(tmp_path / "run", place / "whole")


def test_a_folder_with_other_things_is_left_alone(place: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    for overwrite in (False, True):
        with pytest.raises(DeixisError, match=r"other files in it, such as letter\.txt"):
            run(place, tmp_path, overwrite=overwrite)
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


# Stages


class Staged(clip.Method):
    """The scale first, then something that is seen once, then all."""

    def __init__(self, config: clip.Config, *, encoder: Any) -> None:
        super().__init__(config, encoder=encoder)
        self.register_buffer("seen", torch.zeros(()))

    def stages(self) -> tuple[Stage, ...]:
        return Stage("warm", trainable=("logit_scale",), steps=1.0), Stage("look", "fit"), Stage("train", steps=2.0)

    def observe(self, batch: Batch, progress: Progress) -> None:
        self.seen += len(batch)

    def finish(self, progress: Progress) -> None:
        self.seen += 100


Staged.__module__ = clip.__name__


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, *arguments: Any) -> Staged:
        plain = engine.build("clip", "tiny")
        return Staged(plain.config, encoder=plain.encoder)

    monkeypatch.setattr(setup, "engine", types.SimpleNamespace(build=build, stages=engine.stages))


@pytest.mark.slow
@pytest.mark.parametrize("kill", [(0, 3), (2, 5), (2, 8)])
def test_stages_come_in_turn_and_a_killed_one_is_taken_up(
    place: Path, tmp_path: Path, staged: None, monkeypatch: pytest.MonkeyPatch, kill: tuple[int, int]
) -> None:
    run(place, tmp_path / "whole")
    assert weights(tmp_path / "whole")["seen"] == 28 + 100, "all that is not held out, once"
    found = [(line["stage"], line["step"], line["of"]) for line in lines(tmp_path / "whole")]
    assert found == [(0, 0, 4), (0, 3, 4), (0, 4, 4), (1, 1, 1), (2, 3, 8), (2, 6, 8), (2, 8, 8)]
    killed(place, tmp_path / "run", kill[1], monkeypatch, stage=kill[0])
    run(place, tmp_path / "run")
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


# What can't be trained


def plain(place: Path, **changed: Any) -> Source:
    from deixis.data import read

    source = read(place / "pictures")
    return dataclasses.replace(source, samples=tuple(dataclasses.replace(each, **changed) for each in source.samples))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 1}, "A batch of 1 is too small.*needs 2 or more.*larger --batch-size"),
        ({"batch_size": 41}, "A batch of 41 is more than the 28 samples to train on"),
        ({"steps": 5, "images": 5}, "Both --steps and --images"),
        ({"steps": -1}, "--steps is -1"),
        ({"checkpoint_every": 0}, "--checkpoint-every is 0"),
        ({"held_out": 1.0}, "--held-out is 1.0"),
        ({"config": "large"}, "There is no preset 'large'"),
        ({"set": ("learning_rat=1",)}, "has no setting 'learning_rat'.*learning_rate"),
        ({"set": ("learning_rate",)}, "sets nothing.*name=value"),
        ({"set": ("learning_rate=fast",)}, "'fast', and a number is expected"),
        ({"set": ("rank=0.5",)}, "a whole number is expected"),
        ({"set": ("optim.warmup=1.5",)}, "a whole number of steps, or a share"),
        ({"set": ("optimiser=adam",)}, "Choose adamw, sgd, lars or lamb"),
        ({"set": ("optim.schedule=steps",)}, "Choose constant, cosine, linear or step"),
        ({"set": ("layers=first",)}, "has no layers 'first'.*all, last or lora"),
        ({"model": "nothing"}, "no model called 'nothing'"),
        ({"name": "normgrad"}, "normgrad is training-free, and has nothing to build"),
        ({"name": "retrieval"}, "retrieval measures other methods"),
        ({"name": "coop"}, "has no labels, and coop learns classes.*--label-column"),
        ({"source": ("more",)}, "--source 'more' names no data"),
        ({"name": "clop"}, "no method called 'clop'.*clip"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_written(
    place: Path, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(DeixisError, match=told):
        run(place, tmp_path / "run", **{"steps": 0 if "images" in changed else 12, **changed})
    assert list(tmp_path.iterdir()) == []


def test_data_that_lacks_what_the_method_needs_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"40 of 40 samples .* lack the data for 'tokens': "):
        run(place, tmp_path / "run", data=plain(place, captions=()))
    with pytest.raises(DeixisError, match="All 40 samples say 'a thing': there is nothing to distinguish"):
        run(place, tmp_path / "run", data=plain(place, captions=("a thing",)))
    assert list(tmp_path.iterdir()) == []


def test_blank_captions_are_no_captions(place: Path, tmp_path: Path) -> None:
    source = plain(place)
    blank = tuple(dataclasses.replace(each, captions=(" ", "")) for each in source.samples[:3])
    one = dataclasses.replace(source.samples[3], captions=("", *source.samples[3].captions, "\n"))
    mixed = dataclasses.replace(source, samples=(*blank, one, *source.samples[4:]))
    made = setup.prepare("clip", mixed, SETTINGS)
    assert len(made.source.samples) == 37
    assert made.source.samples[0].captions == source.samples[3].captions
    assert "3 of 40 samples have no words, and are left out." in made.notes
    with pytest.raises(DeixisError, match="lack the data for 'tokens': "):
        setup.prepare("clip", dataclasses.replace(source, samples=blank), SETTINGS)


def test_what_is_held_out_shares_no_caption_and_no_group_with_what_is_learned(place: Path) -> None:
    source = plain(place)
    grouped = tuple(dataclasses.replace(each, groups=(f"{i // 2}",)) for i, each in enumerate(source.samples))
    made = setup.prepare("clip", dataclasses.replace(source, samples=grouped), SETTINGS)
    assert made.held is not None
    assert not {each.groups for each in made.held.samples} & {each.groups for each in made.train.samples}
    assert len(made.held.samples) + len(made.train.samples) == 40
    few = dataclasses.replace(source, samples=source.samples[:9])
    made = setup.prepare("clip", few, SETTINGS)
    assert made.held is None
    assert "Nothing is held out: there are 9 concepts, and 10 are needed." in made.notes


def test_steps_are_told_by_steps_or_images_or_are_ten_passes(place: Path) -> None:
    def steps(**changed: Any) -> tuple[int, ...]:
        return setup.prepare("clip", plain(place), dataclasses.replace(SETTINGS, **changed)).steps

    assert steps() == (12,)
    assert steps(steps=0, images=81) == (11,)
    assert steps(steps=0) == (30,), "three batches of 8 in 28 samples, ten times"


def test_a_run_whose_loss_is_no_number_stops_and_keeps_its_last_good_checkpoint(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"not (a )?finite.* at step \d+.*lower learning rate"):
        run(place, tmp_path / "run", set=("learning_rate=1e36",), checkpoint_every=1)
    kept = load_file(tmp_path / "run" / "checkpoint-0.safetensors")
    assert all(bool(value.isfinite().all()) for name, value in kept.items() if name.startswith("method."))
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
def test_pictures_that_can_not_be_read_are_left_out_and_listed_up_to_a_share(place: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(place / "pictures", tmp_path / "pictures"))
    reasons = spoil(data)
    result = run(place, tmp_path / "run", data=str(data), max_skipped=0.2)
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert {each["reason"] for each in listed} <= set(reasons.values())
    assert 0 < result["skipped"] <= len(reasons)
    with pytest.raises(DeixisError, match=r"can't be read so far.*deixis check"):
        run(place, tmp_path / "other", data=str(data), max_skipped=0.0, steps=40)


@pytest.mark.parametrize("able", [False, True])
def test_precision_follows_what_the_processor_multiplies_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    chosen = [chosen_precision(wish, torch.device("cpu")) for wish in ("auto", "float32", "bf16")]
    assert chosen == ["bf16" if able else "float32", "float32", "bf16"]


# What is seen


def test_a_terminal_and_a_log_see_where_the_run_is(place: Path, tmp_path: Path) -> None:
    flags = ["--config", "tiny", "--steps", 4, "--batch-size", 8, "--log-every", 2, "--held-out", 0.3]
    code, out, err = deixis("train", "clip", "--data", place / "pictures", "--out", tmp_path / "run", *flags)
    assert code == 0
    assert "clip: 4 steps of 8 samples" in out
    assert re.search(
        r"train clip: step 4 of 4, loss [\d.]+, scale 19\.\d+, gradient [\d.]+, rate 0\.01, samples/s", err
    )
    assert "held-out r1 0." in err
    assert "4 of 28 samples do not fill a batch" in err


@pytest.mark.slow
def test_features_that_fall_into_few_directions_are_warned_of(place: Path, tmp_path: Path) -> None:
    flags = ["--config", "tiny", "--steps", 20, "--batch-size", 8, "--held-out", 0.3, "--set", "learning_rate=1.0"]
    code, _, err = deixis("train", "clip", "--data", place / "pictures", "--out", tmp_path / "run", *flags)
    assert code == 0
    assert re.search(
        r"The features of \w+ spread in \d+\.\d directions, and did in \d+\.\d: they may be collapsing", err
    )


class FakeWriter:
    written: list[tuple[str, float, int]] = []  # noqa: RUF012
    purged: list[int] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int) -> None:
        self.purged.append(purge_step)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((name, value, step))

    def flush(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.slow
def test_tensorboard_is_written_where_it_is_and_asked_for_is_refused_where_not(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(found: bool) -> Callable[[str], Any]:
        return lambda name: importlib.machinery.ModuleSpec(name, None) if found else None

    monkeypatch.setattr(callbacks.importlib.util, "find_spec", there(False))
    with pytest.raises(DeixisError, match="TensorBoard is not installed"):
        run(place, tmp_path / "run", tensorboard="yes")
    assert list(tmp_path.iterdir()) == []
    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = FakeWriter
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(callbacks.importlib.util, "find_spec", there(True))
    killed(place, tmp_path / "run", 7, monkeypatch)
    run(place, tmp_path / "run")
    assert FakeWriter.purged == [1, 5], "from the checkpoint on"
    steps = [step for name, _, step in FakeWriter.written if name == "loss"]
    assert steps == [3, 6, 6, 9, 12]
    assert {"parts/contrastive", "metrics/scale", "held_out/r1", "gradient_norm"} <= {
        n for n, _, _ in FakeWriter.written
    }


# Processes

FLAGS = (*("--config", "tiny"), *("--steps", "40"), *("--batch-size", "8"), *("--log-every", "1"))
OFTEN = ("--precision", "float32", "--checkpoint-every", "3", "--measure-every", "20", "--held-out", "0.3")


def command(place: Path, out: Path, *more: object) -> list[object]:
    return ["train", "clip", "--data", place / "pictures", "--out", out, *FLAGS, *OFTEN, *more]


def wait_for(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not any(line["step"] >= step for line in Journal(out / "metrics.jsonl").lines()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    assert deixis(*command(place, place / "alone")).code == 0
    return place / "alone"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_killed_at_any_step_and_run_again_ends_with_the_same_bits(
    place: Path, alone: Path, tmp_path: Path, how: signal.Signals
) -> None:
    stopped = subprocess.run(
        [sys.executable, *ran_until(random.randint(1, 36), how, command(place, tmp_path / "run"))],
        cwd=tmp_path,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=120,
    )
    err = stopped.stderr
    assert stopped.returncode == (-how if how == signal.SIGKILL else 130), err
    assert not (tmp_path / "run" / "result.json").exists()
    assert how == signal.SIGKILL or "run the same command to resume" in err
    assert deixis(*command(place, tmp_path / "run")).code == 0
    assert same_weights(tmp_path / "run", alone)
    assert lines(tmp_path / "run") == lines(alone)
    assert not list((tmp_path / "run").glob(".*.part"))


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "DEIXIS_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}


def ran(arguments: list[object]) -> list[str]:
    return ["-c", "from deixis.cli import main; main()", *map(str, arguments)]


def ran_until(step: int, how: signal.Signals, arguments: list[object]) -> list[str]:
    """The command in a process that sends itself the signal at a step, however busy the machine."""
    code = f"""
import os
import signal
from deixis.cli import main
from deixis.engine.training.train import Training

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
steps, take = iter(range(1000)), Training._step

def take_until(self, *arguments):
    if next(steps) == {step}:
        os.kill(os.getpid(), {int(how)})
    return take(self, *arguments)

Training._step = take_until
main()
"""
    return ["-c", code, *map(str, arguments)]


def torchrun(place: Path, folder: Path, arguments: list[object]) -> subprocess.Popen[str]:
    """The command on two ranks; each leaves the number of its process in `folder`."""
    code = "import os\nfrom pathlib import Path\nfrom deixis.cli import main\n\n"
    code += f"Path({str(folder)!r}, 'rank' + os.environ['RANK']).write_text(str(os.getpid()))\nmain()\n"
    (folder / "deixis_main.py").write_text(code, encoding="utf-8")
    agent = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    return subprocess.Popen(
        [sys.executable, "-m", *agent, *map(str, (folder / "deixis_main.py", *arguments))],
        cwd=folder,
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--chunk", "3"), ("--clip", "0.5"), ("--shard",)])
def test_two_ranks_with_half_the_batch_each_come_to_what_one_process_comes_to(
    place: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """Up to rounding; over few steps, since Adam makes steps of gradients that are nothing but rounding."""
    few = ("--steps", "4")
    assert deixis(*command(place, tmp_path / "one", *more), *few).code == 0
    done = torchrun(place, tmp_path, [*command(place, tmp_path / "two", *more), *few])
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert out.count("clip: 4 steps of 8 samples") == 1, "one rank speaks"
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        if not name.endswith("attention.key.bias"):  # its gradient is zero in theory
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=3e-4, msg=name)
    for mine, other in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert mine["step"] == other["step"]
        assert mine.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-3)


@pytest.mark.slow
def test_when_a_rank_dies_the_other_ends_with_a_message_and_the_run_can_go_on(place: Path, tmp_path: Path) -> None:
    """Without torchrun's agent, which would end the other itself."""
    together = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    arguments = command(place, tmp_path / "run", "--timeout", "20")
    ranks = [
        subprocess.Popen(
            [sys.executable, *ran(arguments)],
            cwd=tmp_path,
            env={**environment(place), **together, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        wait_for(tmp_path / "run", 5, ranks[0])
        ranks[1].kill()
        _, err = ranks[0].communicate(timeout=100)
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert ranks[0].returncode == 2, err
    assert "deixis train: Another rank has ended, or has not answered for 20 seconds." in err
    assert "Traceback" not in err
    assert (tmp_path / "run" / "checkpoint-0.safetensors").exists()


@pytest.mark.slow
def test_when_a_rank_is_killed_torchrun_ends_and_the_same_command_goes_on_in_shares(
    place: Path, tmp_path: Path
) -> None:
    """With the weights, bit for bit, of a run that was not killed, and which are those of a model like any other."""
    whole, run = (command(place, tmp_path / name, "--shard", "--timeout", "20") for name in ("whole", "run"))
    uninterrupted = torchrun(place, tmp_path, whole)
    assert "samples, in" in uninterrupted.communicate(timeout=300)[0]
    killed = torchrun(place, tmp_path, run)
    wait_for(tmp_path / "run", random.randint(4, 36), killed)
    os.kill(int((tmp_path / "rank1").read_text(encoding="utf-8")), signal.SIGKILL)
    _, err = killed.communicate(timeout=100)
    assert killed.returncode != 0, err
    assert not (tmp_path / "run" / "result.json").exists()
    again = torchrun(place, tmp_path, run)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    assert zoo.load(tmp_path / "run").fingerprint() == zoo.load(tmp_path / "whole").fingerprint()


@pytest.mark.slow
def test_in_one_process_there_is_nothing_to_share_out(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "run", shard=True)
    assert same_weights(tmp_path / "run", place / "whole")
