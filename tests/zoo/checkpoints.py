"""Tiny checkpoints with random weights, made by open_clip and transformers themselves, and pictures to try them on."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from deixis.files import cache_dir
from deixis.inputs.clip_bpe import MERGES, ClipTokenizer
from tests.copies import copier

PAIRS = ("t h", "th e</w>", "r e", "re d</w>", "b i", "bi r", "bir d</w>", "o n</w>")
VOCABULARY = 512 + len(PAIRS) + 2
TEXTS = ["the red bird", "", "A photo of the RED bird on a roof, at 12:30!", "the " * 40, "cafÃ© 😀 &amp; 日本"]
VIT = {"layers": 2, "width": 128, "head_width": 64, "patch_size": 8, "image_size": 32}
RESNET = {"layers": [1, 2, 1, 1], "width": 16, "head_width": 64, "image_size": 64}
TEXT = {"context_length": 16, "vocab_size": VOCABULARY, "width": 64, "heads": 1, "layers": 3}


def put_merges() -> Path:
    """A small table of merges where `deixis data get clip-bpe` would put CLIP's."""
    path = cache_dir(*MERGES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(("#version", *PAIRS)).encode("utf-8")))
    return path


def tokenizer() -> ClipTokenizer:
    return ClipTokenizer.from_merges(put_merges())


def oracle_tokens(length: int) -> torch.Tensor:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(bpe_path=str(put_merges()))(TEXTS, length)


def photographs(folder: Path) -> list[Path]:
    """JPEG files of many shapes: gradients, discs and noise, as a camera would give them."""
    folder.mkdir(exist_ok=True)
    generator, paths = np.random.default_rng(0), []
    for index, (width, height) in enumerate(((64, 48), (37, 90), (121, 64), (33, 33), (32, 65), (200, 151))):
        across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        image = np.stack([across, down, 255 - across], -1) + generator.normal(0, 20, (height, width, 3))
        image[(across - 128) ** 2 + (down - 90) ** 2 < 60**2] = (200, 30, 40)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=92)
    return paths


def shake(model: nn.Module) -> nn.Module:
    """Every number random, so that no norm is 1, no bias 0 and no block without effect."""
    for name, value in model.state_dict().items():
        if name in ("logit_scale", "logit_bias") or not value.is_floating_point():
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        else:
            value.add_(torch.randn_like(value) * 0.05)
    return model.eval()


def open_clip_config(vision: dict[str, Any], quick: bool = True, **more: Any) -> dict[str, Any]:
    return {"embed_dim": 32, "vision_cfg": dict(vision), "text_cfg": dict(TEXT), "quick_gelu": quick, **more}


_made: dict[str, tuple[Callable[[], nn.Module], dict[str, bytes]]] = {}
"""Models that were made, by what they were asked for, as their copies, and the files of those that wrote some."""


def open_clip_model(config: dict[str, Any]) -> nn.Module:
    """The model of open_clip for a config; a copy, as the same one is wanted by many tests."""
    from open_clip.model import CLIP, CustomTextCLIP

    name = f"open_clip {config}"
    if name not in _made:
        rest = {key: value for key, value in config.items() if key != "custom_text"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # it must not hang on who asks first
            _made[name] = copier(shake((CustomTextCLIP if config.get("custom_text") else CLIP)(**rest))), {}
    return _made[name][0]()


def open_clip_folder(
    folder: Path, config: dict[str, Any], preprocess: dict[str, Any] | None = None, weights: str = "safetensors"
) -> nn.Module:
    """Writes what open_clip's own `save_for_hf` writes, tokenizer left out; gives the model."""
    return write_open_clip(folder, config, open_clip_model(config), preprocess, weights)


def write_open_clip(
    folder: Path,
    config: dict[str, Any],
    model: nn.Module,
    preprocess: dict[str, Any] | None = None,
    weights: str = "safetensors",
) -> nn.Module:
    """As `open_clip_folder`, for a model that is made already."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    folder.mkdir(parents=True)
    default = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD, "interpolation": "bicubic"}
    whole = {"model_cfg": config, "preprocess_cfg": preprocess or {**default, "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    if weights == "safetensors":
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    else:
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    put_merges()
    return model


def open_clip_outputs(model: nn.Module, paths: list[Path], **preprocess: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """open_clip's embeddings of files and `TEXTS`, through open_clip's own preprocessing."""
    from open_clip.transform import image_transform

    size = model.visual.image_size
    transform = image_transform(size[0] if isinstance(size, tuple) else size, is_train=False, **preprocess)
    images = torch.stack([transform(Image.open(path)) for path in paths])
    length = getattr(model, "context_length", None) or model.text.context_length
    with torch.no_grad():
        return model.encode_image(images, normalize=True), model.encode_text(oracle_tokens(length), normalize=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers prints progress and warns of what is no fault here."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import transformers

        transformers.utils.logging.set_verbosity_error()
        yield


def transformers_folder(folder: Path, kind: str, **changes: dict[str, Any]) -> nn.Module:
    """Writes what transformers writes for a tiny model of its own; gives the model: a copy, as of `open_clip_model`."""
    name = f"{kind} {changes} {PAIRS}"
    if name not in _made:
        with tempfile.TemporaryDirectory() as place, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = _write_transformers(Path(place), kind, changes)
            _made[name] = copier(model), {path.name: path.read_bytes() for path in Path(place).iterdir()}
    copied, files = _made[name]
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    if kind == "clip":
        put_merges()
    return copied()


def _write_transformers(folder: Path, kind: str, changes: dict[str, dict[str, Any]]) -> nn.Module:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": VOCABULARY, "max_position_embeddings": 16, **changes.get("text", {})}
    vision = {**sizes, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8, **changes.get("vision", {})}
    with quiet():
        import transformers as peers

        if kind == "clip":
            text = {"eos_token_id": VOCABULARY - 1, "bos_token_id": VOCABULARY - 2, **text}
            model = peers.CLIPModel(peers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
            processor = peers.CLIPImageProcessor(
                size={"shortest_edge": 32}, crop_size=32, **changes.get("processor", {})
            )
        else:
            model = peers.SiglipModel(peers.SiglipConfig(text_config=text, vision_config=vision))
            nn.init.constant_(model.logit_scale, 2.3)
            nn.init.constant_(model.logit_bias, -9.7)
            processor = peers.SiglipImageProcessor(size={"height": 32, "width": 32}, **changes.get("processor", {}))
        shake(model).save_pretrained(folder)
        processor.save_pretrained(folder)
    if kind == "clip":
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer().to_dict()))
    else:
        (folder / "tokenizer.json").write_text(json.dumps(word_rules()))
        (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))
    return model


def word_rules() -> dict[str, Any]:
    """A tokenizer of whole words that ends each text, as SigLIP's does; 1 ends a text and fills it up."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "the", "red", "bird", "a", "photo", "of", "on", "roof"]
    rules = tokenizers.Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    rules.normalizer = normalizers.Lowercase()
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.add_special_tokens(["<pad>", "</s>", "<unk>"])
    rules.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return dict(json.loads(rules.to_str()))


def edit(path: Path, *keys: str, value: Any) -> None:
    """Changes one entry of a JSON file."""
    whole = json.loads(path.read_text())
    inner = whole
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(whole))
