"""open_clip's folders: what it makes, we read and give back; what is not what it says is named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.nn.dual import DualEncoder
from tests.support import few
from tests.zoo import checkpoints as tiny

CASES: dict[str, tuple[dict[str, Any], bool, dict[str, Any]]] = {
    "vit-quickgelu": (tiny.VIT, True, {}),
    "vit-gelu": (tiny.VIT, False, {}),
    "resnet": (tiny.RESNET, True, {}),
    "siglip-bias": (tiny.VIT, False, {"init_logit_bias": -10.0}),
    "custom-text": (tiny.VIT, True, {"custom_text": True, "nonscalar_logit_scale": True, "init_logit_bias": -3.0}),
    "mean": ({**tiny.VIT, "pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}, False, {}),
    "tanh": (
        {**tiny.VIT, "pool_type": "avg", "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-6}},
        False,
        {},
    ),
}


def read(encoder: DualEncoder, paths: list[Path]) -> torch.Tensor:
    """Pictures at full scale, as open_clip and transformers decode them."""
    return encoder.preprocess.batch([load_image(path) for path in paths])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(tiny.VIT))
    return tmp_path / "model"


@pytest.mark.parametrize("weights", ["safetensors", pytest.param("bin", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", few(CASES, "vit-quickgelu"))
def test_our_embeddings_are_open_clips_and_so_is_what_we_write(tmp_path: Path, case: str, weights: str) -> None:
    vision, quick, more = CASES[case]
    model = tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision, quick, **more), weights=weights)
    paths = tiny.photographs(tmp_path / "photographs")
    images, texts = tiny.open_clip_outputs(model, paths)
    encoder = zoo.load(tmp_path / "model")
    assert not encoder.training
    torch.testing.assert_close(encoder.encode_image(read(encoder, paths)), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(tiny.TEXTS), texts, atol=1e-5, rtol=0)
    assert encoder.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert encoder.bias == (None if model.logit_bias is None else model.logit_bias.item())

    zoo.save_as(encoder, tmp_path / "again", "openclip")
    again = zoo.load(tmp_path / "again")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in encoder.state_dict().items())
    assert (again.scale, again.bias, again.preprocess) == (encoder.scale, encoder.bias, encoder.preprocess)
    stored = load_file(tmp_path / "again" / "open_clip_model.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(stored[name.removeprefix("text.")].reshape(value.shape), value)


def test_open_clip_reads_what_we_write(tmp_path: Path) -> None:
    import open_clip

    vision = {**tiny.VIT, "norm_kwargs": {"eps": 1e-6}}
    model = tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision, False, init_logit_bias=-9.5))
    zoo.save_as(zoo.load(tmp_path / "model"), tmp_path / "again", "openclip")
    with tiny.quiet():
        theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'again'}")
    assert theirs.visual.preprocess_cfg["resize_mode"] == "shortest"
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(theirs.eval().encode_image(images), model.encode_image(images))


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_are_resized_cut_and_normalised_as_open_clip_does(
    tmp_path: Path, mode: str, interpolation: str
) -> None:
    from open_clip.transform import image_transform
    from PIL import Image

    settings = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": interpolation, "resize_mode": mode}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(tiny.VIT), settings)
    paths, transform = tiny.photographs(tmp_path / "photographs"), image_transform(32, is_train=False, **settings)
    encoder = zoo.load(tmp_path / "model")
    torch.testing.assert_close(read(encoder, paths), torch.stack([transform(Image.open(path)) for path in paths]))


def test_the_name_loads_the_same_model_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    encoder = zoo.load("model")
    monkeypatch.chdir("/")
    assert zoo.load(encoder.name).fingerprint() == encoder.fingerprint()


def test_an_adapted_model_stands_on_a_checkpoint_folder(folder: Path, tmp_path: Path) -> None:
    from deixis.nn.adaptation.adapters import TextResidual

    encoder = zoo.load(folder)
    zoo.save(encoder.with_adapters(None, TextResidual(32)), tmp_path / "adapted")
    assert zoo.load(tmp_path / "adapted").text_adapter is not None


def test_the_licence_is_told_where_the_folder_tells_it(folder: Path) -> None:
    assert zoo.load(folder).licence == ""
    (folder / "README.md").write_text("---\ntags:\n- clip\nlicense: mit\n---\n# license: none\n")
    assert zoo.load(folder).licence == "mit"


def test_a_checkpoint_of_a_training_run_is_read_beside_its_config(folder: Path) -> None:
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    expected = zoo_weights(state)
    state = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {}}}, folder / "epoch_3.pt")
    assert torch.equal(zoo.load(folder).image_tower.positions, expected)


def zoo_weights(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["visual.positional_embedding"]


def test_half_precision_is_widened(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
    assert {value.dtype for value in zoo.load(folder).parameters()} == {torch.float32}


# ---- ten ways to be silently wrong


def change(path: Path, **tensors: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
    """Changes tensors of a safetensors file; None removes one."""
    state = load_file(path)
    for name, how in tensors.items():
        if how is None:
            del state[name]
        else:
            state[name] = how(state[name]).contiguous()
    save_file(state, path)


def half_a_text_tower(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    save_file(
        {name: value for name, value in load_file(path).items() if not name.startswith("transformer.resblocks.2")}, path
    )


def swapped_towers(folder: Path) -> None:
    path, state = folder / "open_clip_model.safetensors", {}
    for name, value in load_file(path).items():
        other = name.removeprefix("visual.") if name.startswith("visual.transformer") else f"visual.{name}"
        state[other if "transformer." in name else name] = value
    save_file(state, path)


def set_model(folder: Path, *keys: str, value: Any) -> None:
    tiny.edit(folder / "open_clip_config.json", "model_cfg", *keys, value=value)


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "activation": (lambda f: set_model(f, "vision_cfg", "act_kwargs", value={"approximate": "tanh"}), "act_kwargs"),
    "transposed projection": (
        lambda f: change(f / "open_clip_model.safetensors", text_projection=lambda value: value.T),
        r"text_projection \[32, 64\] instead of \[64, 32\].*a projection that is turned",
    ),
    "missing key": (
        lambda f: change(f / "open_clip_model.safetensors", **{"visual.ln_post.bias": None}),
        r"1 tensors are missing \(visual\.ln_post\.bias\)",
    ),
    "other tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(json.dumps(tiny.word_rules())),
        "tokenizer in .* is not CLIP's",
    ),
    "other mean": (
        lambda f: tiny.edit(f / "open_clip_config.json", "preprocess_cfg", "mean", value=[123.7, 116.3, 103.5]),
        r"mean is \[123\.7",
    ),
    "other pooling": (lambda f: set_model(f, "vision_cfg", "pool_type", value="none"), "pool_type='none'"),
    "half-loaded text tower": (half_a_text_tower, r"12 tensors are missing \(transformer\.resblocks\.2"),
    "wrong patch size": (
        lambda f: set_model(f, "vision_cfg", "patch_size", value=16),
        r"visual\.conv1\.weight \[128, 3, 8, 8\] instead of \[128, 3, 16, 16\].*patch size",
    ),
    "context length": (
        lambda f: set_model(f, "text_cfg", "context_length", value=77),
        r"positional_embedding \[16, 64\] instead of \[77, 64\].*the context length",
    ),
    "swapped towers": (swapped_towers, "no place in this model|another shape"),
    "image size": (lambda f: set_model(f, "vision_cfg", "image_size", value=64), "the image size"),
    "vocabulary": (lambda f: set_model(f, "text_cfg", "vocab_size", value=49408), r"tokenizer has \d+ tokens.*49408"),
    "extra key": (
        lambda f: save_file(
            {**load_file(f / "open_clip_model.safetensors"), "visual.extra": torch.ones(1)},
            f / "open_clip_model.safetensors",
        ),
        r"1 have no place in this model \(visual\.extra\)",
    ),
    "bias unsaid": (lambda f: set_model(f, "init_logit_bias", value=-10.0), r"missing \(logit_bias\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_silently_wrong_elsewhere_raises_with_a_name(folder: Path, wrong: str) -> None:
    spoil, name = WRONG[wrong]
    spoil(folder)
    with pytest.raises(DeixisError, match=name):
        zoo.load(folder)


def flip(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flip(0)


def swap_blocks(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    names = {name: name.replace("blocks.0.", "blocks.9.").replace("blocks.1.", "blocks.0.") for name in state}
    save_file({names[name].replace("blocks.9.", "blocks.1."): value for name, value in state.items()}, path)


SEALED: dict[str, tuple[Callable[[Path], None], str]] = {
    "activation": (lambda f: set_model(f, "quick_gelu", value=False), r"activation was 'quick_gelu' and is 'gelu'"),
    "square projection turned": (
        lambda f: change(f / "open_clip_model.safetensors", text_projection=flip),
        "a weight has another value",
    ),
    "tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer was"),
    "mean": (
        lambda f: tiny.edit(f / "open_clip_config.json", "preprocess_cfg", "mean", value=[0.5, 0.5, 0.5]),
        r"preprocess\.mean was",
    ),
    "resizing": (
        lambda f: tiny.edit(f / "open_clip_config.json", "preprocess_cfg", "resize_mode", value="squash"),
        r"preprocess\.mode was 'crop' and is 'squash'",
    ),
    "pooling": (lambda f: set_model(f, "vision_cfg", "pool_type", value="avg"), r"image_tower\.pool was 'class'"),
    "heads": (lambda f: set_model(f, "text_cfg", "heads", value=2), r"text_tower\.heads was 1 and is 2"),
    "blocks in another order": (swap_blocks, "a weight has another value"),
    "scale": (
        lambda f: change(f / "open_clip_model.safetensors", logit_scale=lambda value: value + 1),
        "scale was",
    ),
    "mask": (lambda f: set_model(f, "text_cfg", "no_causal_mask", value=True), r"causal was True"),
}


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(each, marks=() if each in ("activation", "tokenizer") else pytest.mark.slow) for each in SEALED],
)
def test_what_no_shape_tells_is_told_by_the_seal_of_a_folder_that_we_wrote(
    folder: Path, tmp_path: Path, wrong: str
) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(tiny.tokenizer().to_dict()))
    zoo.save_as(zoo.load(folder), tmp_path / "sealed", "openclip")
    zoo.load(tmp_path / "sealed")
    if wrong == "tokenizer":
        tiny.PAIRS, kept = (*tiny.PAIRS[:-1], "o f</w>"), tiny.PAIRS
        try:
            tiny.put_merges()
        finally:
            tiny.PAIRS = kept
    spoil, name = SEALED[wrong]
    spoil(tmp_path / "sealed")
    with pytest.raises(DeixisError, match=name):
        zoo.load(tmp_path / "sealed")


# ---- what is not built here


@pytest.mark.parametrize(
    ("keys", "value", "name"),
    [
        (
            ("vision_cfg", "timm_model_name"),
            "vit_of_next_year",
            r"The installed timm \d.* has no network 'vit_of_next_year'.*pip install --upgrade timm",
        ),
        (("text_cfg", "hf_model_name"), "new/encoder", "'new/encoder'.*not known here.*text_config.json.*roberta-base"),
        (("text_cfg", "hf_tokenizer_name"), "xlm", "no tokenizer.json.*'xlm'"),
        (("vision_cfg", "attentional_pool"), "parallel", "attentional_pool='parallel'"),
        (("text_cfg", "tokenizer_kwargs"), {"clean": "canonicalize"}, "tokenizer_kwargs"),
        (("text_cfg", "scale_fc"), True, "scale_fc"),
        (("text_cfg", "pool_type"), "first", "pool_type='first'.*argmax, eos, last"),
        (("vision_cfg", "image_size"), [32, 64], r"image_size=\[32, 64\].*squares"),
        (("vision_cfg", "new_setting"), 3, "new_setting=3.*not known"),
        (("something",), True, "something=True"),
        (("embed_dim",), "32", "embed_dim='32'"),
        (("quick_gelu",), "false", "quick_gelu='false'"),
        (("vision_cfg", "layers"), 10**7, "layers=10000000"),
        (("text_cfg", "heads"), 3, "cut into 3 equal heads"),
    ],
)
def test_parts_that_are_not_built_here_are_refused_by_name(
    folder: Path, keys: tuple[str, ...], value: Any, name: str
) -> None:
    set_model(folder, *keys, value=value)
    with pytest.raises(DeixisError, match=name):
        zoo.load(folder)


def test_padding_to_a_square_is_refused_by_name(folder: Path) -> None:
    tiny.edit(folder / "open_clip_config.json", "preprocess_cfg", "resize_mode", value="longest")
    with pytest.raises(DeixisError, match="resize_mode='longest'"):
        zoo.load(folder)


def test_a_model_that_the_layout_has_no_place_for_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="no towers of open_clip's"):
        zoo.save_as(zoo.load("tiny"), tmp_path / "model", "openclip")
    with pytest.raises(DeixisError, match="no layout 'onnx'"):
        zoo.save_as(zoo.load("tiny"), tmp_path / "model", "onnx")
    assert not (tmp_path / "model").exists()


def test_adapters_and_other_precisions_are_not_lost_without_a_word(folder: Path, tmp_path: Path) -> None:
    from deixis.nn.adaptation.adapters import TextResidual

    encoder = zoo.load(folder)
    with pytest.raises(DeixisError, match="adapters"):
        zoo.save_as(encoder.with_adapters(None, TextResidual(32)), tmp_path / "out", "openclip")
    with pytest.raises(DeixisError, match=r"float64.*encoder\.float"):
        zoo.save_as(encoder.double(), tmp_path / "out", "openclip")


# ---- bad input


def test_half_a_file_is_called_cut_short(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DeixisError, match="cut short"):
        zoo.load(folder)
    torch.save({"a": torch.ones(1000)}, folder / "open_clip_pytorch_model.bin")
    whole = (folder / "open_clip_pytorch_model.bin").read_bytes()
    path.unlink()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (folder / "open_clip_pytorch_model.bin").write_bytes(whole[:size])
        with pytest.raises(DeixisError, match=r"can't be read as a checkpoint|holds more than tensors"):
            zoo.load(folder)


class Bomb:
    """What leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["torch", "plain"])
def test_a_pickle_that_runs_code_is_refused_and_nothing_is_run(folder: Path, tmp_path: Path, how: str) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    path = folder / "open_clip_pytorch_model.bin"
    if how == "torch":
        torch.save({"visual.proj": Bomb(tmp_path / "mark")}, path)
    else:
        path.write_bytes(pickle.dumps({"visual.proj": Bomb(tmp_path / "mark")}, protocol=2))
    with pytest.raises(DeixisError, match=r"would run code.*safetensors"):
        zoo.load(folder)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    path = folder / "open_clip_model.safetensors"
    change(path, **{"visual.conv1.weight": lambda tensor: tensor.index_fill(0, torch.tensor([3]), value)})
    with pytest.raises(DeixisError, match=r"'visual\.conv1\.weight' holds numbers that are not finite"):
        zoo.load(folder)


def test_a_folder_with_two_models_asks_which(folder: Path, tmp_path: Path) -> None:
    tiny.transformers_folder(tmp_path / "other", "clip")
    for path in (tmp_path / "other").iterdir():
        shutil.copy(path, folder)
    with pytest.raises(DeixisError, match=r"two models: one for openclip and one for huggingface.*layout='openclip'"):
        zoo.load(folder)
    assert zoo.load(folder, layout="openclip").width == 32
    assert zoo.load(folder, layout="huggingface").width == 24
    with pytest.raises(DeixisError, match="no layout 'onnx'"):
        zoo.load(folder, layout="onnx")


def test_several_files_of_weights_are_named(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    shutil.copy(weights, folder / "epoch_1.safetensors")
    weights.rename(folder / "epoch_2.safetensors")
    with pytest.raises(DeixisError, match=r"several models: epoch_1\.safetensors, epoch_2\.safetensors"):
        zoo.load(folder)


def test_a_config_without_weights_and_one_that_is_none_are_named(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(DeixisError, match="a config and no weights"):
        zoo.load(folder)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(DeixisError, match=r"open_clip_config\.json can't be read as JSON"):
        zoo.load(folder)
    (folder / "open_clip_config.json").write_text('{"embed_dim": 32}')
    with pytest.raises(DeixisError, match="has no 'embed_dim'"):
        zoo.load(folder)


def test_without_merges_the_command_that_brings_them_is_told(folder: Path) -> None:
    tiny.put_merges().unlink()
    with pytest.raises(DeixisError, match="deixis data get clip-bpe"):
        zoo.load(folder)


# ---- memory

_MEASURE = """
import sys, torch
from pathlib import Path
from deixis import zoo
import deixis.zoo.layouts.openclip

def told(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

torch.set_num_threads(1)
zoo.load(sys.argv[1])
Path("/proc/self/clear_refs").write_text("5")
before = told("VmRSS")
encoder = zoo.load(sys.argv[2])
print(told("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_loading_takes_less_memory_than_1_3_times_the_file(
    folder: Path, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
    vision = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224}
    tiny.open_clip_folder(tmp_path / "large", tiny.open_clip_config(vision), weights=weights)
    tiny.put_merges()
    [file] = (path for path in (tmp_path / "large").iterdir() if path.suffix != ".json")
    command = [sys.executable, "-c", _MEASURE, str(folder), str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    ratio = int(done.stdout) / file.stat().st_size
    print(f"{weights}: {ratio:.3f} times {file.stat().st_size / 1e6:.0f} MB")
    assert ratio < 1.3
