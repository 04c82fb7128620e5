"""Every model that open_clip has a config or published weights for, against open_clip: `python -m bench.zoo_rows`.

Each is built by open_clip with random weights, written as open_clip writes it, loaded here, and both embed the same
pictures and captions. A row tells the largest difference of any number of an embedding of length 1. The preprocessing
is that of each published checkpoint, run by open_clip and by deixis. Tokenizers that lie on a model hub are replaced by
small ones of the same shape (their special tokens, their order, their padding), which both sides read.

Rows are added to results/zoo.jsonl, small models first; what has a row is left out, so that a run can be stopped and
goes on. Models of more than `--most` parameters have fewer layers and words than they are published with, on both
sides, and their rows say so.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib.metadata
import json
import tempfile
import time
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.rows import ROOT, environment
from deixis import zoo
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.nn.unfilled import Unfilled
from deixis.zoo.layouts.text_networks import text_network

__all__ = ["Compared", "architectures", "compare", "parameters", "write_folder"]

RESULTS = ROOT / "results" / "zoo.jsonl"
MOST = 5.0e8
"""Parameters up to which a model is compared whole; `--most` says another number."""
CUT = 3
"""Layers that are left of the towers of a larger one, where its network knows such a setting."""
WORDS = 20_000
"""Tokens that are left of its vocabulary, where the tokenizer is a toy."""

TEXTS = ("the red bird", "a photo of the RED bird on a roof, at 12:30!", "", "the " * 90, "bird_on &amp; roof")


@dataclasses.dataclass(frozen=True)
class Compared:
    """What came out for one checkpoint.

    Attributes:
        tag: of the published weights; empty where none are published.
        image: largest difference of the embeddings of pictures, preprocessing included.
        text: largest difference of those of captions, tokenizing included.
    """

    tag: str
    image: float
    text: float


def architectures() -> dict[str, list[str]]:
    """Name of each of open_clip's configs -> the tags of published weights; the configs with fewest weights first."""
    import open_clip

    tags: dict[str, list[str]] = {name: [] for name in open_clip.list_models()}
    for name, tag in open_clip.list_pretrained():
        tags[name].append(tag)
    return tags


def compare(
    name: str, tags: Sequence[str], folder: Path, depth: int | None = None, size: int | None = None
) -> list[Compared]:
    """Builds a model of open_clip's, loads it here, and compares what both give.

    Args:
        name: of a config of open_clip.
        tags: of published weights, whose preprocessing is compared; none: open_clip's default alone.
        folder: an empty one, for the checkpoint.
        depth: layers of each tower where they are to be fewer than the config says.
        size: tokens that the vocabulary of a text tower is cut to.
    """
    config = _config(name, depth, size)
    with _quiet(), _cut(depth, size):
        model = _open_clip(config)
        write_folder(model, config, folder)
        pictures = _pictures(folder.parent)
        wanted = {tag: _preprocess_cfg(name, tag) for tag in tags or ("",)}
        images = {tag: _theirs(model, pictures, each) for tag, each in wanted.items()}
        with torch.no_grad():
            texts = model.encode_text(_tokenizer(config, folder)(list(TEXTS)), normalize=True)
        for each in (texts, *images.values()):
            if not _apart(each[0], each[1]) > 1e-3:
                raise ValueError("the inputs are embedded alike, so that nothing is compared")
        del model
        gc.collect()
        encoder = zoo.load(folder)
        text = _apart(encoder.encode_text(list(TEXTS)), texts)
        return [
            Compared(tag, _apart(_ours(encoder, pictures, folder, wanted[tag]), images[tag]), text) for tag in wanted
        ]


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _config(name: str, depth: int | None, size: int | None) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] = open_clip.get_model_config(name)
    for tower in ("vision_cfg", "text_cfg"):
        layers = config[tower].get("layers")
        if depth and isinstance(layers, int) and "timm_model_name" not in config[tower]:
            config[tower]["layers"] = min(depth, layers)
    if size and config["text_cfg"].get("hf_tokenizer_name") and "hf_model_name" not in config["text_cfg"]:
        config["text_cfg"]["vocab_size"] = size
    if "multimodal_cfg" in config:  # the decoder is left out here, and need not be large
        config["multimodal_cfg"]["layers"] = 1
    config["text_cfg"]["hf_model_pretrained"] = False
    return config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _cut(depth: int | None, size: int | None) -> Iterator[None]:
    """Text encoders by their settings instead of from the hub; with a depth, networks of fewer layers on both sides."""
    import timm
    import transformers

    from deixis.zoo.layouts import openclip_config

    made, known = timm.create_model, text_network

    def create(network: str, **options: Any) -> Any:
        deep = {"depth": depth} if depth and network.startswith(("eva", "vit")) else {}
        return made(network, **options, **deep)

    def settings(network: str, folder: Path | None = None) -> dict[str, Any]:
        found = known(network, folder)
        for key in ("num_hidden_layers", "encoder_layers", "num_layers"):
            if depth and key in found:
                found[key] = min(depth, found[key])
        for key in ("decoder_layers", "num_decoder_layers"):  # not a part of any text tower
            found |= {key: 1} if found["model_type"] in ("m2m_100", "mt5") else {}
        return {**found, "vocab_size": size} if size else found

    def of_hub(network: str, **_: Any) -> Any:
        told = settings(network)
        return transformers.AutoConfig.for_model(told.pop("model_type"), **told)

    with (
        mock.patch.object(timm, "create_model", create),
        mock.patch.object(openclip_config, "text_network", settings),
        mock.patch("open_clip.hf_model.AutoConfig", types.SimpleNamespace(from_pretrained=of_hub)),
    ):
        yield


def _open_clip(config: dict[str, Any]) -> nn.Module:
    """The model, every weight random and of a size that passes through many layers."""
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    config = json.loads(json.dumps(config))
    custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    kind = CLIP if not custom else CoCa if "multimodal_cfg" in config else CustomTextCLIP
    with Unfilled():
        model: nn.Module = kind(**config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and key not in ("logit_scale", "logit_bias"):
                _fill(key, value, generator)
    return model.eval()


def _fill(key: str, value: Tensor, generator: torch.Generator) -> None:
    if key.endswith("running_var"):
        value.uniform_(0.5, 1.5, generator=generator)
    elif max((1, *value.shape)) == value.numel():  # norms, biases, layer scales
        flat = value.flatten()
        gain = bool((flat == flat[0]).all()) and float(flat[0].abs()) > 0
        value.uniform_(-0.1, 0.1, generator=generator)
        value.add_(0.5 if gain and key.endswith(("gamma", "layer_scale")) else 1.0 if gain else 0.0)
    else:
        limit = (3 / (value.numel() / value.shape[0])) ** 0.5
        value.uniform_(-limit, limit, generator=generator)


def write_folder(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """What open_clip's `push_to_hf_hub` writes, with a tokenizer."""
    from open_clip.tokenizer import default_bpe

    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    _write_config(config, folder, {})
    words = config["text_cfg"]
    if "hf_tokenizer_name" in words:
        rules, settings = _toy(words)
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    else:
        rules = ClipTokenizer.from_merges(default_bpe()).to_dict()
    (folder / "tokenizer.json").write_text(json.dumps(rules), encoding="utf-8")


def _write_config(config: dict[str, Any], folder: Path, preprocess: dict[str, Any]) -> None:
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(whole), encoding="utf-8")


_MARKS: dict[str, tuple[list[str], list[str]]] = {
    "bert": (["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[CLS]", "$A", "[SEP]"]),
    "roberta": (["<s>", "<pad>", "</s>", "<unk>"], ["<s>", "$A", "</s>"]),
    "t5": (["<pad>", "</s>", "<unk>"], ["$A", "</s>"]),
    "nllb": (["<s>", "<pad>", "</s>", "<unk>", "eng_Latn"], ["eng_Latn", "$A", "</s>"]),
}


def _shape(name: str) -> str:
    if name.startswith("bert"):
        return "bert"
    if "nllb" in name:
        return "nllb"
    return "roberta" if "roberta" in name or "xlm" in name else "t5"


def _toy(words: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tokenizer of whole words whose special tokens stand as in the one that the config names."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    marks, around = _MARKS[_shape(words["hf_tokenizer_name"])]
    known = [*marks, "the", "red", "RED", "bird", "a", "photo", "of", "on", "roof", "12", "30", "1230", "!", ":", "&"]
    numbers = {word: at for at, word in enumerate(known)}
    unknown = "[UNK]" if "[UNK]" in marks else "<unk>"
    rules = tokenizers.Tokenizer(models.WordLevel(numbers, unk_token=unknown))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.add_special_tokens(marks)
    used = [mark for mark in around if mark != "$A"]
    rules.post_processor = processors.TemplateProcessing(
        single=" ".join(around), special_tokens=[(mark, numbers[mark]) for mark in used]
    )
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": unknown, "eos_token": used[-1]}
    settings |= {"pad_token": "[PAD]" if "[PAD]" in marks else "<pad>", "sep_token": used[-1]}
    return dict(json.loads(rules.to_str())), settings


def _tokenizer(config: dict[str, Any], folder: Path) -> Any:
    """open_clip's own, as its factory makes it."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    words = config["text_cfg"]
    length = words.get("context_length", 77)
    if "hf_tokenizer_name" not in words:
        return SimpleTokenizer(context_length=length)
    return HFTokenizer(str(folder), context_length=length, **words.get("tokenizer_kwargs", {}))


def _preprocess_cfg(name: str, tag: str) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    found = get_pretrained_cfg(name, tag) if tag else {}
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {key: found[key] for key in keys if key in found}


def _pictures(folder: Path) -> list[Image.Image]:
    """Two, of shapes that are resized and cut."""
    generator = np.random.default_rng(0)
    found = []
    for width, height in ((300, 200), (257, 411)):
        across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        image = np.stack([across, down, 255 - across], -1) + generator.normal(0, 30, (height, width, 3))
        found.append(Image.fromarray(image.clip(0, 255).astype(np.uint8)))
    return found


def _theirs(model: Any, pictures: Sequence[Image.Image], settings: dict[str, Any]) -> Tensor:
    from open_clip.transform import image_transform

    size = model.visual.image_size
    transform = image_transform(size, is_train=False, **{key: value for key, value in settings.items()})
    with torch.no_grad():
        found: Tensor = model.encode_image(torch.stack([transform(each) for each in pictures]), normalize=True)
    return found


def _ours(encoder: Any, pictures: Sequence[Image.Image], folder: Path, settings: dict[str, Any]) -> Tensor:
    """The embeddings with the preprocessing that a checkpoint's config tells."""
    from deixis.zoo.layouts.openclip_config import read_preprocess
    from deixis.zoo.layouts.settings import StrictConfig

    preprocess = read_preprocess(
        StrictConfig(json.loads(json.dumps(settings)), "preprocess_cfg"), encoder.preprocess.size
    )
    with torch.no_grad():
        found: Tensor = encoder.encode_image(preprocess.read(pictures))
    return found


def parameters(name: str) -> tuple[int, int]:
    """How many a model has, and how many of them its image tower; without building it."""
    from open_clip.model import CustomTextCLIP

    with _quiet(), _cut(None, None), torch.device("meta"):
        config = json.loads(json.dumps(_config(name, None, None)))
        for entry in ("custom_text", "multimodal_cfg"):
            config.pop(entry, None)
        model = CustomTextCLIP(**config)
        whole, image = (sum(value.numel() for value in each.parameters()) for each in (model, model.visual))
        return whole, image


def _family(config: dict[str, Any]) -> str:
    vision, words = config["vision_cfg"], config["text_cfg"]
    image = vision.get("timm_model_name") or ("ModifiedResNet" if isinstance(vision.get("layers"), list) else "ViT")
    return f"{image} + {words.get('hf_model_name') or 'text transformer'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the names to run")
    parser.add_argument("--most", type=float, default=MOST, help="parameters up to which a model is compared whole")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    known = architectures()
    done = set()
    if options.results.is_file():
        rows = [json.loads(line) for line in options.results.read_text(encoding="utf-8").splitlines()]
        done = {(row["architecture"], row["checkpoint"]) for row in rows}
    counts = {name: parameters(name)[0] for name in known if options.only in name}
    for name, count in sorted(counts.items(), key=lambda each: each[1]):
        if any((name, tag) not in done for tag in known[name] or ("",)):
            _add(name, known[name], count, options)


def _add(name: str, tags: Sequence[str], count: float, options: argparse.Namespace) -> None:
    depth, size = (CUT, WORDS) if count > options.most else (None, None)
    start = time.perf_counter()
    config = _config(name, None, None)
    toy = "hf_tokenizer_name" in config["text_cfg"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            found, error = compare(name, tags, Path(folder, "model"), depth, size), ""
        except Exception as fault:  # a row says what went wrong, and the others are still measured
            found, error = [Compared(tag, float("nan"), float("nan")) for tag in tags or ("",)], repr(fault)[:300]
    seconds = round(time.perf_counter() - start, 1)
    place = environment(1)
    for each in found:
        row = {
            "architecture": name,
            "checkpoint": each.tag,
            "towers": _family(config),
            "parameters": int(count),
            "loaded": not error,
            "error": error,
            "image_difference": None if error else each.image,
            "text_difference": None if error else each.text,
            "depth": depth,
            "vocabulary": size if toy else None,
            "tokenizer": "toy" if toy else "real",
            "seconds": seconds,
            "peer": "open_clip",
            "peer_version": importlib.metadata.version("open_clip_torch"),
            "timm": importlib.metadata.version("timm"),
            **place,
        }
        with open(options.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{name}: {error or max(max(each.image, each.text) for each in found)}  {seconds} s", flush=True)


if __name__ == "__main__":
    main()
