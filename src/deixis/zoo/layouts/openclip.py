"""Checkpoints of open_clip: a folder with `open_clip_config.json` and the weights; OpenAI's names of tensors.

What open_clip builds itself is read (CLIP's ViT and ResNet, with the bias of SigLIP's loss where there is one). Towers
that it takes from timm or transformers, and parts of its custom blocks, are refused by name.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from deixis.errors import DeixisError
from deixis.files import atomic_folder
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.zoo.layouts.openclip_config import read_preprocess, read_towers, unlike, write_preprocess, write_towers
from deixis.zoo.layouts.places import Hint, NameRule, TowerPlaces, fill, gather, places
from deixis.zoo.layouts.settings import (
    StrictConfig,
    check_seal,
    licence_of,
    no_weights,
    read_json,
    read_tokenizer,
    require_vocabulary,
    scale_of,
    scale_tensors,
    write_seal,
)
from deixis.zoo.layouts.weights import open_weights

__all__ = ["CONFIG", "HINTS", "WEIGHTS", "build", "load", "parts", "require", "save"]

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights, the one that is taken first in front."""

_BLOCKS = (
    NameRule(r"^blocks\.", "transformer.resblocks."),
    NameRule(r"\.attention_norm\.", ".ln_1."),
    NameRule(r"\.norm\.", ".ln_2."),
    NameRule(r"\.attention\.query\.", ".attn.in_proj_", third=0),
    NameRule(r"\.attention\.key\.", ".attn.in_proj_", third=1),
    NameRule(r"\.attention\.value\.", ".attn.in_proj_", third=2),
    NameRule(r"\.attention\.out\.", ".attn.out_proj."),
    NameRule(r"\.perceptron\.widen\.", ".mlp.c_fc."),
    NameRule(r"\.perceptron\.narrow\.", ".mlp.c_proj."),
)
_VIT = (
    NameRule(r"^patches\.", "conv1."),
    NameRule(r"^class_token$", "class_embedding"),
    NameRule(r"^positions$", "positional_embedding"),
    NameRule(r"^pre_norm\.", "ln_pre."),
    NameRule(r"^post_norm\.", "ln_post."),
    NameRule(r"^projection\.weight$", "proj", turned=True),
    *_BLOCKS,
)
_RESNET = (
    NameRule(r"^pool\.positions$", "attnpool.positional_embedding"),
    NameRule(r"^pool\.attention\.query\.", "attnpool.q_proj."),
    NameRule(r"^pool\.attention\.key\.", "attnpool.k_proj."),
    NameRule(r"^pool\.attention\.value\.", "attnpool.v_proj."),
    NameRule(r"^pool\.attention\.out\.", "attnpool.c_proj."),
    *(NameRule(rf"^stages\.{number}\.", f"layer{number + 1}.") for number in range(4)),
    NameRule(r"(^|\.)shortcut_conv\.", r"\1downsample.0."),
    NameRule(r"(^|\.)shortcut_norm\.", r"\1downsample.1."),
    NameRule(r"(^|\.)norm(\d)\.", r"\1bn\2."),
)
_TEXT = (
    NameRule(r"^words\.", "token_embedding."),
    NameRule(r"^positions$", "positional_embedding"),
    NameRule(r"^norm\.", "ln_final."),
    *_BLOCKS,
)
_PLAIN_PROJECTION = NameRule(r"^projection\.weight$", "text_projection", turned=True)
_BIASED_PROJECTION = NameRule(r"^projection\.", "text_projection.")

HINTS = (
    Hint(r"^(text\.)?positional_embedding$", "the context length"),
    Hint(r"^visual\.(attnpool\.)?positional_embedding$", "the image size or the patch size"),
    Hint(r"^visual\.conv1\.", "the patch size or the width of the image tower"),
    Hint(r"token_embedding", "the tokenizer"),
    Hint(r"^visual\.proj$|text_projection", "a projection that is turned or of another width"),
)


def load(folder: Path, name: str) -> DualEncoder:
    """Reads an open_clip folder, in eval mode.

    Args:
        folder: with `open_clip_config.json` and one of `WEIGHTS`.
        name: that the model gets.

    Raises:
        DeixisError: something is missing, damaged, or not what the config says; the message names it.
    """
    source = str(folder / CONFIG)
    config = read_json(folder / CONFIG)
    model = StrictConfig(config.get("model_cfg", {}), f"{source}, model_cfg")
    image, text = read_towers(model)
    prefix = "text." if model.flag("custom_text", False) else ""
    numbers = ["logit_scale", *(["logit_bias"] if model.take("init_logit_bias", math.inf) != math.inf else [])]
    model.done()
    pixels = StrictConfig(config.get("preprocess_cfg", {}), f"{source}, preprocess_cfg")
    preprocess = read_preprocess(pixels, image.image_size)
    tokenizer = read_tokenizer(folder, clip=True)
    require_vocabulary(tokenizer, text.vocabulary, text.end, str(folder))
    towers = build(image, text, source)
    found = fill(open_weights(_weights(folder)), parts(*towers, prefix), numbers, r"(text\.)?attn_mask", HINTS)
    scale, bias = scale_of(found["logit_scale"], str(folder)), found.get("logit_bias")
    traits = Traits(name, text.length, scale, bias, licence_of(folder))
    encoder = DualEncoder(*towers, tokenizer=tokenizer, preprocess=preprocess, traits=traits).eval()
    check_seal(encoder, folder)
    return encoder


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    if len(others) == 1:
        return others[0]
    if others:
        raise DeixisError(
            f"{folder} holds several models: {', '.join(path.name for path in others)}.",
            f"Leave one of them there, or call the one to load {WEIGHTS[0]}.",
        )
    raise no_weights(folder, WEIGHTS)


def build(
    image: VitConfig | ModifiedResNetConfig, text: TextConfig, source: str
) -> tuple[Vit | ModifiedResNet, TextTransformer]:
    """The towers on the meta device, without memory for their weights.

    Raises:
        DeixisError: the sizes contradict one another.
    """
    try:
        with torch.device("meta"):
            tower = Vit(image) if isinstance(image, VitConfig) else ModifiedResNet(image)
            return tower, TextTransformer(text)
    except (ValueError, ZeroDivisionError, OverflowError, RuntimeError) as error:
        raise DeixisError(f"{source}: {error}.", "Take the config that came with the weights.") from error


def parts(image: nn.Module, text: nn.Module, prefix: str = "") -> list[TowerPlaces]:
    """The places of both towers' tensors.

    Args:
        image: a `Vit` or a `ModifiedResNet`.
        text: a `TextTransformer`.
        prefix: of the text tower's names (`text.` in models with `custom_text`).
    """
    biased = "projection.bias" in text.state_dict()
    rules = (_BIASED_PROJECTION if biased else _PLAIN_PROJECTION, *_TEXT)
    return [
        TowerPlaces(image, places(image, _VIT if isinstance(image, Vit) else _RESNET, "visual.")),
        TowerPlaces(text, places(text, rules, prefix)),
    ]


def require(encoder: DualEncoder) -> None:
    """Makes sure that `save` can write a model.

    Raises:
        DeixisError: as `save`.
    """
    write_towers(encoder)
    write_preprocess(encoder.preprocess)
    if not isinstance(encoder.tokenizer, ClipTokenizer):
        raise unlike("its tokenizer is not CLIP's, with which open_clip reads all texts")


def save(encoder: DualEncoder, folder: Path) -> None:
    """Writes an open_clip folder that open_clip loads as `local-dir:FOLDER`.

    Images cut in mode `crop_floor` are cut in mode `crop` from there on.

    Raises:
        DeixisError: the model has parts that open_clip's own towers don't have; the message names them.
    """
    require(encoder)
    image, text = encoder.image_tower, encoder.text_tower
    model = write_towers(encoder)
    numbers = scale_tensors(encoder)
    preprocess, told = write_preprocess(encoder.preprocess)
    config = {"model_cfg": model, "preprocess_cfg": told}
    with atomic_folder(folder) as part:
        save_file({**gather(parts(image, text)), **numbers}, part / WEIGHTS[0], {"format": "pt"})
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (part / "tokenizer.json").write_text(json.dumps(encoder.tokenizer.to_dict(), ensure_ascii=False), "utf-8")
        write_seal(encoder, part, preprocess)
