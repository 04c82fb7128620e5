"""Checkpoints of open_clip: a folder with `open_clip_config.json` and the weights; OpenAI's names of tensors.

All that open_clip publishes weights for is read: its own towers, those it takes from timm and transformers (which
needs `deixis[hf]`), and the two encoders of CoCa, whose decoder is left out. What it builds ours of is written, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.files import atomic_folder
from deixis.inputs.cleaned import CleanedTokenizer
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.class_token_text import ClassTokenText, ClassTokenTextConfig
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.language.transformers_text import TransformersText, TransformersTextConfig
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.query_pooled_vit import QueryPooledVit, QueryPooledVitConfig
from deixis.nn.vision.timm_tower import TimmTower, TimmTowerConfig
from deixis.nn.vision.transformers_image import TransformersImage, TransformersImageConfig
from deixis.nn.vision.variable_vit import VariableVit, VariableVitConfig
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.zoo.layouts.openclip_config import (
    ImageConfig,
    TextConfigs,
    TextReading,
    read_preprocess,
    read_towers,
    unlike,
    write_preprocess,
    write_towers,
)
from deixis.zoo.layouts.places import Hint, NameRule, TowerPlaces, fill, gather, places
from deixis.zoo.layouts.settings import (
    StrictConfig,
    check_seal,
    licence_of,
    no_weights,
    padding_of,
    read_json,
    read_tokenizer,
    require_vocabulary,
    scale_of,
    scale_tensors,
    write_seal,
)
from deixis.zoo.layouts.weights import Weights, open_weights

__all__ = ["CONFIG", "HINTS", "WEIGHTS", "build", "folded", "load", "parts", "require", "save", "side_of"]

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
_QUERY_POOLED = (
    NameRule(r"^query_pool\.queries$", "attn_pool.query"),
    NameRule(r"^query_pool\.query_norm\.", "attn_pool.ln_q."),
    NameRule(r"^query_pool\.state_norm\.", "attn_pool.ln_k."),
    NameRule(r"^query_pool\.out\.", "attn_pool.attn.out_proj."),
    NameRule(r"^query_pool\.query\.bias$", "attn_pool.attn.in_proj_bias", third=0),
    NameRule(r"^query_pool\.key\.bias$", "attn_pool.attn.in_proj_bias", third=1),
    NameRule(r"^query_pool\.value\.bias$", "attn_pool.attn.in_proj_bias", third=2),
)
_QUERY_WEIGHTS = tuple(
    NameRule(rf"^query_pool\.{name}\.weight$", f"attn_pool.attn.{name[0]}_proj_weight")
    for name in ("query", "key", "value")
)
_QUERY_THIRDS = tuple(
    NameRule(rf"^query_pool\.{name}\.weight$", "attn_pool.attn.in_proj_weight", third=third)
    for third, name in enumerate(("query", "key", "value"))
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
_NETWORK = (NameRule(r"^projection\.", "proj."),)
_NETWORK_LINEAR = (NameRule(r"^projection\.0\.", "proj."),)
_TEXT = (
    NameRule(r"^class_token$", "cls_emb"),
    NameRule(r"^words\.", "token_embedding."),
    NameRule(r"^positions$", "positional_embedding"),
    NameRule(r"^norm\.", "ln_final."),
    *_BLOCKS,
)
_PLAIN_PROJECTION = NameRule(r"^projection\.weight$", "text_projection", turned=True)
_BIASED_PROJECTION = NameRule(r"^projection\.", "text_projection.")
_SPARE = r"(text\.)?attn_mask|text\.transformer\.embeddings\.position_ids|text_decoder\..*"

HINTS = (
    Hint(r"^(text\.)?positional_embedding$", "the context length"),
    Hint(r"^visual\.(attnpool\.)?positional_embedding$", "the image size or the patch size"),
    Hint(r"^visual\.conv1\.", "the patch size or the width of the image tower"),
    Hint(r"token_embedding", "the tokenizer"),
    Hint(r"^visual\.proj$|text_projection", "a projection that is turned or of another width"),
)


def load(
    folder: Path, name: str, *, settings: Mapping[str, Any] | None = None, words: Path | None = None
) -> DualEncoder:
    """Reads an open_clip folder, in eval mode.

    Args:
        folder: with `open_clip_config.json` and one of `WEIGHTS`.
        name: that the model gets.
        settings: what stands in that file, where there is none.
        words: another folder that has the tokenizer.

    Raises:
        DeixisError: something is missing, damaged, or not what the config says; the message names it.
    """
    source = str(folder / CONFIG)
    words = words or folder
    config = read_json(folder / CONFIG) if settings is None else settings
    model = StrictConfig(config.get("model_cfg", {}), f"{source}, model_cfg")
    image, text, reading = read_towers(model, folder)
    numbers = ["logit_scale", *(["logit_bias"] if model.take("init_logit_bias", math.inf) != math.inf else [])]
    model.done()
    pixels = StrictConfig(config.get("preprocess_cfg", {}), f"{source}, preprocess_cfg")
    preprocess = read_preprocess(pixels, side_of(image))
    weights = folded(open_weights(_weights(folder)))
    tokenizer = _tokenizer(words, reading)
    if isinstance(text, TextConfig):
        exact = not isinstance(text, ClassTokenTextConfig)  # a decoder's vocabulary may be larger
        require_vocabulary(tokenizer, text.vocabulary, text.end, str(folder), exact=exact)
        if text.fill is not None and reading.tokenizer:
            text = dataclasses.replace(text, fill=padding_of(words, tokenizer))
    towers = build(image, text, source)
    prefix = "text." if any(name.startswith("text.") for name in weights.shapes) else ""
    found = fill(weights, parts(*towers, prefix), numbers, _SPARE, HINTS)
    scale, bias = scale_of(found["logit_scale"], str(folder)), found.get("logit_bias")
    traits = Traits(name, text.length, scale, bias, licence_of(folder))
    encoder = DualEncoder(*towers, tokenizer=tokenizer, preprocess=preprocess, traits=traits).eval()
    check_seal(encoder, folder)
    return encoder


def _tokenizer(folder: Path, reading: TextReading) -> Tokenizer:
    """The tokenizer of a folder, in front of which its texts are cleaned."""
    tokenizer = read_tokenizer(folder, clip=not reading.tokenizer, name=reading.tokenizer)
    if not reading.tokenizer or (isinstance(tokenizer, ClipTokenizer) and reading.cleaning == "lower"):
        return tokenizer
    return CleanedTokenizer(tokenizer.backend, reading.cleaning, "[SEP]" if reading.dropped else "")


def folded(weights: Weights) -> Weights:
    """Weights whose layer scales (`ls_1`, `ls_2`) are multiplied into the linear maps before them."""
    scales = {
        name: name.replace(".ls_1.", ".attn.out_proj.").replace(".ls_2.", ".mlp.c_proj.") for name in weights.shapes
    }
    scales = {name: target.removesuffix("gamma") for name, target in scales.items() if name != target}
    if not scales:
        return weights
    by_target = {target: name for name, target in scales.items()}

    def read(name: str) -> Tensor:
        value, base = weights.read(name), name.rpartition(".")[0] + "."
        if base not in by_target:
            return value
        gamma = kept.get(base)
        if gamma is None:
            gamma = kept[base] = weights.read(by_target[base])
        return value * (gamma if value.ndim == 1 else gamma[:, None])

    kept: dict[str, Tensor] = {}
    shapes = {name: shape for name, shape in weights.shapes.items() if name not in scales}
    return dataclasses.replace(weights, shapes=shapes, read=read)


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


def side_of(image: ImageConfig) -> int:
    """The side of the images that a tower is for, in pixels."""
    return image.vit.image_size if isinstance(image, QueryPooledVitConfig) else image.image_size


def build(image: ImageConfig, text: TextConfigs, source: str) -> tuple[nn.Module, nn.Module]:
    """The towers, without memory for their weights where they are ours, else with weights of no values.

    Raises:
        DeixisError: the sizes contradict one another, or a package has no such network.
    """
    try:
        own = isinstance(image, VitConfig | ModifiedResNetConfig | QueryPooledVitConfig)
        with torch.device("meta") if own else contextlib.nullcontext():
            tower: nn.Module = _IMAGE_TOWERS[type(image)](image)
        if isinstance(text, TransformersTextConfig):
            return tower, TransformersText(text)
        with torch.device("meta"):
            if isinstance(text, ClassTokenTextConfig):
                return tower, ClassTokenText(text)
            return tower, TextTransformer(text)
    except (ValueError, ZeroDivisionError, OverflowError, RuntimeError, AssertionError) as error:
        raise DeixisError(f"{source}: {error}.", "Take the config that came with the weights.") from error


_IMAGE_TOWERS: dict[type, Any] = {
    VitConfig: Vit,
    ModifiedResNetConfig: ModifiedResNet,
    QueryPooledVitConfig: QueryPooledVit,
    VariableVitConfig: VariableVit,
    TimmTowerConfig: TimmTower,
    TransformersImageConfig: TransformersImage,
}


def parts(image: nn.Module, text: nn.Module, prefix: str = "") -> list[TowerPlaces]:
    """The places of both towers' tensors.

    Args:
        image: an image tower as `build` makes it.
        text: a text tower as `build` makes it.
        prefix: of the text tower's names (`text.` in models with `custom_text`).
    """
    biased = "projection.bias" in text.state_dict()
    rules: tuple[NameRule, ...] = (_BIASED_PROJECTION if biased else _PLAIN_PROJECTION, *_TEXT)
    if isinstance(text, TransformersText):
        rules = _NETWORK if len(text.projection) > 1 else _NETWORK_LINEAR
    words = places(text, rules, prefix)
    return [TowerPlaces(image, places(image, _image_rules(image), "visual.")), TowerPlaces(text, words)]


def _image_rules(image: nn.Module) -> tuple[NameRule, ...]:
    if isinstance(image, TimmTower):
        return ()
    if isinstance(image, QueryPooledVit):
        same = image.query_pool.key.weight.shape == image.query_pool.query.weight.shape
        return (*_QUERY_POOLED, *(_QUERY_THIRDS if same else _QUERY_WEIGHTS), *_VIT)
    return _VIT if isinstance(image, Vit) else _RESNET


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
