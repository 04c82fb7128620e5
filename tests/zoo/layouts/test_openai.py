"""OpenAI's files: tensors are read out of them, code never is."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.zoo.layouts import torchscript
from deixis.zoo.layouts.weights import open_weights
from tests.zoo import checkpoints as tiny

VISIONS = {"vit": tiny.VIT, "resnet": tiny.RESNET}


def model_of(vision: dict[str, Any], *, told: bool = False) -> torch.nn.Module:
    model = tiny.open_clip_model(tiny.open_clip_config(vision, quick=True))
    tiny.put_merges()
    if told:  # OpenAI's archives hold these three as tensors
        values = {"input_resolution": vision["image_size"], "context_length": 16, "vocab_size": tiny.VOCABULARY}
        for name, value in values.items():
            if hasattr(model, name):
                delattr(model, name)
            model.register_buffer(name, torch.tensor(value))
    return model


def archive(model: torch.nn.Module, path: Path) -> Path:
    """A TorchScript archive, traced as OpenAI's are."""
    size = model.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    with tiny.quiet():
        inputs = (torch.ones(1, 3, side, side), torch.zeros(1, 16, dtype=torch.long))
        torch.jit.save(torch.jit.trace_module(model, {"forward": inputs}, check_trace=False), str(path))
    return path


def state_file(model: torch.nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("write", [archive, state_file])
@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("told", [False, True])
def test_our_embeddings_are_the_models(
    tmp_path: Path, write: Callable[[torch.nn.Module, Path], Path], vision: str, told: bool
) -> None:
    model = model_of(VISIONS[vision], told=told)
    path = write(model, tmp_path / "model.pt")
    if told:
        model.context_length = torch.tensor(16)
    paths = tiny.photographs(tmp_path / "photographs")
    images, texts = tiny.open_clip_outputs(model, paths)
    encoder = zoo.load(path)
    ours = encoder.encode_image(encoder.preprocess.batch([load_image(each) for each in paths]))
    torch.testing.assert_close(ours, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(tiny.TEXTS), texts, atol=1e-5, rtol=0)
    assert encoder.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert zoo.load(encoder.name).fingerprint() == encoder.fingerprint()


def test_every_tensor_of_an_archive_is_found_under_its_name_in_the_state_dict(tmp_path: Path) -> None:
    model = model_of(tiny.RESNET)
    weights = open_weights(archive(model, tmp_path / "model.pt"))
    state = model.state_dict()
    assert weights.kind == "torchscript"
    assert set(state) <= set(weights.shapes)
    assert set(weights.shapes) - set(state) <= {"attn_mask"}
    assert all(torch.equal(weights.take(name), value) for name, value in state.items())


def test_half_precision_as_openai_stores_it_is_widened(tmp_path: Path) -> None:
    model = model_of(tiny.VIT)
    expected = model.visual.conv1.weight.detach().half().float()
    torch.save({name: value.half() for name, value in model.state_dict().items()}, tmp_path / "model.pt")
    assert torch.equal(zoo.load(tmp_path / "model.pt").image_tower.patches.weight, expected)


def test_an_openai_file_can_be_written_for_open_clip_and_for_transformers(tmp_path: Path) -> None:
    encoder = zoo.load(state_file(model_of(tiny.VIT), tmp_path / "model.pt"))
    texts = encoder.encode_text(tiny.TEXTS)
    for layout in ("openclip", "huggingface"):
        zoo.save_as(encoder, tmp_path / layout, layout)
        assert torch.equal(zoo.load(tmp_path / layout).encode_text(tiny.TEXTS), texts)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    torch.save({"text_projection": Bomb(tmp_path / "mark")}, tmp_path / "model.pt")
    with pytest.raises(DeixisError, match="would run code"):
        zoo.load(tmp_path / "model.pt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("payload", ["bomb", "torch", "module"])
def test_an_archive_whose_pickle_asks_for_more_than_tensors_is_refused_and_nothing_is_run(
    tmp_path: Path, payload: str
) -> None:
    pickles = {
        "bomb": pickle.dumps(Bomb(tmp_path / "mark"), protocol=2),
        "torch": b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",
        "module": b"\x80\x02c__torch__os\nmkdir\n)\x81.",
    }
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as file:
        file.writestr("model/data.pkl", pickles[payload])
        file.writestr("model/constants.pkl", pickle.dumps(()))
        file.writestr("model/code/__torch__.py", "import os\nos.mkdir('mark')\n")
    with pytest.raises(DeixisError, match="would run code"):
        zoo.load(tmp_path / "model.pt")
    assert not (tmp_path / "mark").exists()


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    whole = archive(model_of(tiny.VIT), tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeixisError, match="cut short"):
        zoo.load(tmp_path / "model.pt")
    buffer = io.BytesIO(whole)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "short.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"\0" * 8 if name.endswith("data/0") else old.read(name))
    with pytest.raises(DeixisError, match="too few bytes"):
        zoo.load(tmp_path / "short.pt")


@pytest.mark.parametrize(
    "sizes", [(10**6, (4,), (1,)), (0, (4,), (10**6,)), (-1, (4,), (1,)), (0, (-4,), (1,)), (0, (4,), (-1,))]
)
def test_a_tensor_that_would_lie_outside_of_its_bytes_is_refused(tmp_path: Path, sizes: tuple[Any, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as file:
        file.writestr("model/data/0", b"\0" * 16)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        torchscript._rebuild(("model/data/0", torch.float32), *sizes).load(tmp_path / "model.pt")


def test_a_training_checkpoint_is_not_taken_for_openais(tmp_path: Path) -> None:
    state = model_of(tiny.VIT).state_dict()
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "epoch_1.pt")
    with pytest.raises(DeixisError, match=r"which activation.*open_clip_config\.json"):
        zoo.load(tmp_path / "epoch_1.pt")


def change(name: str, how: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[dict], None]:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        value = state.pop(name)
        if how is not None:
            state[name] = how(value)

    return spoil


def add(name: str, value: float) -> Callable[[dict], None]:
    return lambda state: state.update({name: torch.tensor(value)})


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (change("text_projection", lambda value: value.T), "proj"),
        (change("visual.ln_post.weight", None), r"missing \(visual\.ln_post\.weight\)"),
        (change("transformer.resblocks.1.mlp.c_fc.bias", None), r"missing \(transformer\.resblocks\.1"),
        (change("token_embedding.weight", lambda value: value[:-1]), "tokenizer has"),
        (change("visual.positional_embedding", lambda value: value[:-2]), "image size or the patch size"),
        (change("logit_scale", lambda value: value * float("nan")), "'logit_scale' holds numbers that are not finite"),
        (change("logit_scale", lambda value: value + 800), "logit_scale is 80"),
        (change("positional_embedding", None), "no tensor 'positional_embedding'"),
        (add("visual.extra", 1.0), r"no place in this model \(visual\.extra\)"),
        (add("input_resolution", 224.0), "input_resolution=224, and its tensors are made for 32"),
        (add("context_length", 77.0), "context_length=77, and its tensors are made for 16"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, spoil: Callable[[dict], None], name: str) -> None:
    state = dict(model_of(tiny.VIT).state_dict())
    spoil(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(DeixisError, match=name):
        zoo.load(tmp_path / "model.pt")


def test_other_files_are_no_models(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DeixisError, match="holds a list"):
        zoo.load(tmp_path / "list.pt")
    torch.save({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "linear.pt")
    with pytest.raises(DeixisError, match="does not hold a CLIP"):
        zoo.load(tmp_path / "linear.pt")
    torch.save({"weight": torch.ones(2), "name": "x"}, tmp_path / "text.pt")
    with pytest.raises(DeixisError, match="'name' is a str"):
        zoo.load(tmp_path / "text.pt")
