"""Checkpoints of transformers: folders with `config.json`, `model.safetensors`, tokenizer and
`preprocessor_config.json`. CLIP, SigLIP and what has their layouts needs no transformers to be read; only these two are
written."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file
from torch import nn

from deixis.errors import DeixisError
from deixis.files import atomic_folder
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextTransformer
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.zoo.layouts.huggingface_config import (
    OWN,
    read_preprocess,
    read_towers,
    refuse,
    write_preprocess,
    write_towers,
)
from deixis.zoo.layouts.huggingface_networks import NETWORKS, side_of
from deixis.zoo.layouts.openclip import build
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
from deixis.zoo.sizes import resized

__all__ = ["CONFIG", "KINDS", "WEIGHTS", "load", "require", "save"]

CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
KINDS = (*OWN, *NETWORKS)
"""Values of `model_type` that can be loaded."""

_PROCESSOR = "preprocessor_config.json"
_BLOCKS = (
    NameRule(r"^blocks\.", "encoder.layers."),
    NameRule(r"\.attention_norm\.", ".layer_norm1."),
    NameRule(r"^(encoder.*)\.norm\.", r"\1.layer_norm2."),
    *(
        NameRule(rf"^(encoder.*)\.attention\.{long}\.", rf"\1.self_attn.{long[0]}_proj.")
        for long in ("query", "key", "value")
    ),
    NameRule(r"^(encoder.*)\.attention\.out\.", r"\1.self_attn.out_proj."),
    NameRule(r"\.perceptron\.widen\.", ".mlp.fc1."),
    NameRule(r"\.perceptron\.narrow\.", ".mlp.fc2."),
)
_IMAGE = (
    NameRule(r"^patches\.", "embeddings.patch_embedding."),
    NameRule(r"^class_token$", "embeddings.class_embedding"),
    NameRule(r"^positions$", "embeddings.position_embedding.weight"),
    NameRule(r"^pre_norm\.", "pre_layrnorm."),
    NameRule(r"^post_norm\.", "post_layernorm."),
    NameRule(r"^head\.probe$", "head.probe", lead=2),
    NameRule(r"^head\.norm\.", "head.layernorm."),
    *(
        NameRule(rf"^head\.attention\.{name}\.", "head.attention.in_proj_", third=third)
        for third, name in enumerate(("query", "key", "value"))
    ),
    NameRule(r"^head\.attention\.out\.", "head.attention.out_proj."),
    *_BLOCKS,
    NameRule(r"^", "vision_model."),
    NameRule(r"^vision_model\.projection\.", "visual_projection."),
)
_TEXT = (
    NameRule(r"^words\.", "embeddings.token_embedding."),
    NameRule(r"^positions$", "embeddings.position_embedding.weight"),
    NameRule(r"^norm\.", "final_layer_norm."),
    *_BLOCKS,
    NameRule(r"^", "text_model."),
)
_PROJECTIONS = {
    "clip": NameRule(r"^text_model\.projection\.", "text_projection."),
    "siglip": NameRule(r"^text_model\.projection\.", "text_model.head."),
}
_SPARE = r"(text|vision)_model\.embeddings\.position_ids"
_HINTS = (
    Hint(r"^text_model.*position_embedding", "the context length"),
    Hint(r"^vision_model.*position_embedding", "the image size or the patch size"),
    Hint(r"patch_embedding", "the patch size or the width of the image tower"),
    Hint(r"token_embedding", "the tokenizer"),
    Hint(r"projection|text_model\.head", "a projection that is turned or of another width"),
)


def load(folder: Path, name: str) -> DualEncoder:
    """Reads a folder of transformers, in eval mode.

    Texts of a CLIP are cleaned as OpenAI's and open_clip's code do, which transformers leaves out.

    Args:
        folder: with `config.json`, weights, tokenizer and `preprocessor_config.json`.
        name: that the model gets.

    Raises:
        DeixisError: something is missing, damaged, or not what the config says; the message names it.
    """
    source, config = str(folder / CONFIG), read_json(folder / CONFIG)
    kind = StrictConfig(config, source).choice("model_type", {each: each for each in KINDS}, "")
    if kind in NETWORKS:
        return _load_networks(folder, name, kind, config)
    clip = OWN[kind] == "clip"
    tokenizer = read_tokenizer(folder, clip=kind in ("clip", "clipseg"))
    padding = None if clip else padding_of(folder, tokenizer, config.get("text_config"))
    image, text = read_towers(kind, config, source, padding)
    require_vocabulary(tokenizer, text.vocabulary, text.end, str(folder))
    towers = build(image, text, source)
    processor = StrictConfig(read_json(folder / _PROCESSOR), str(folder / _PROCESSOR))
    side = side_of(folder, image.image_size) if kind == "clipseg" else image.image_size
    preprocess = read_preprocess(
        processor, side, kind != "clip" and kind != "metaclip_2", 2 if kind == "siglip2" else 3
    )
    weights = open_weights(_weights(folder))
    weights = _renamed(weights, r"^clip\.", "") if kind == "clipseg" else weights
    numbers = ["logit_scale", *([] if clip else ["logit_bias"])]
    spare = rf"{_SPARE}|decoder\..*" if kind == "clipseg" else _SPARE
    found = fill(weights, _parts(*towers, OWN[kind]), numbers, spare, _HINTS)
    scale, bias = scale_of(found["logit_scale"], str(folder)), found.get("logit_bias")
    traits = Traits(name, text.length, scale, bias, licence_of(folder))
    encoder = DualEncoder(*towers, tokenizer=tokenizer, preprocess=preprocess, traits=traits).eval()
    if side != image.image_size:  # CLIPSeg sees larger images than its CLIP was trained on
        encoder.image_tower = resized(encoder.image_tower, side, antialias=False)
    check_seal(encoder, folder)
    return encoder


def _load_networks(folder: Path, name: str, kind: str, config: dict[str, Any]) -> DualEncoder:
    """A model with a network of transformers for a tower."""
    source = str(folder / CONFIG)
    found = NETWORKS[kind](config, folder, source)
    tokenizer = read_tokenizer(folder, clip=False)
    require_vocabulary(tokenizer, int(found.text.network.get("vocab_size") or 10**9), None, str(folder))
    image, text = build(found.image, found.text, source)
    processor = StrictConfig(read_json(folder / _PROCESSOR), str(folder / _PROCESSOR))
    preprocess = read_preprocess(processor, found.image.image_size, found.square)
    own = isinstance(found.image, VitConfig)
    parts = [
        TowerPlaces(image, places(image, _IMAGE if own else found.image_rules)),
        TowerPlaces(text, places(text, found.text_rules)),
    ]
    spare = "|".join(filter(None, (r".*\.(position_ids|token_type_ids)", _SPARE, found.spare)))
    weights = open_weights(_weights(folder))
    for pattern, other in found.renamed:
        weights = _renamed(weights, pattern, other)
    numbers = fill(weights, parts, [found.scale] if found.scale else [], spare, _HINTS)
    default = float(config.get("logit_scale_init_value") or 2.6592)
    scale = found.scale_from(numbers.get(found.scale, default), str(folder))
    traits = Traits(name, found.text.length, scale, None, licence_of(folder))
    return DualEncoder(image, text, tokenizer=tokenizer, preprocess=preprocess, traits=traits).eval()


def _renamed(weights: Weights, pattern: str, name: str) -> Weights:
    """Weights under other names: what `pattern` finds in each gives way to `name`."""
    names = {re.sub(pattern, name, old): old for old in weights.shapes}
    shapes = {new: weights.shapes[old] for new, old in names.items()}
    return dataclasses.replace(weights, shapes=shapes, read=lambda new: weights.read(names[new]))


def _parts(image: nn.Module, text: nn.Module, layout: str) -> list[TowerPlaces]:
    return [TowerPlaces(image, places(image, _IMAGE)), TowerPlaces(text, places(text, (*_TEXT, _PROJECTIONS[layout])))]


def _weights(folder: Path) -> list[Path]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            names = set(read_json(folder / f"{name}.index.json").get("weight_map", {}).values())
            if wrong := [each for each in names if Path(each).name != each]:
                raise DeixisError(f"{folder}/{name}.index.json names {wrong[0]!r}, outside of its folder.")
            return [folder / each for each in sorted(names)]
    raise no_weights(folder, WEIGHTS)


def require(encoder: DualEncoder) -> None:
    """Makes sure that `save` can write a model.

    Raises:
        DeixisError: as `save`.
    """
    _configs(encoder)


def _configs(encoder: DualEncoder) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Which kind of model it is, its config and that of its preprocessing."""
    image, text = encoder.image_tower, encoder.text_tower
    if not isinstance(image, Vit) or not isinstance(text, TextTransformer):
        raise refuse(f"{type(image).__name__} and {type(text).__name__} are not its towers")
    kind = "siglip" if image.config["pool"] == "map" else "clip"
    if (kind == "clip") != (encoder.bias is None):
        raise refuse("its scores have a bias" if kind == "clip" else "its scores have no bias")
    return kind, write_towers(kind, image.config, text.config), write_preprocess(encoder.preprocess, kind)


def save(encoder: DualEncoder, folder: Path) -> None:
    """Writes a folder that transformers loads as a `CLIPModel` or a `SiglipModel`.

    Images cut in mode `crop` are cut in mode `crop_floor` from there on.

    Raises:
        DeixisError: the model has parts that these don't have; the message names them.
    """
    kind, config, preprocess = _configs(encoder)
    image, text = cast(Vit, encoder.image_tower), encoder.text_tower
    back = read_preprocess(StrictConfig(preprocess, _PROCESSOR), image.config["image_size"], kind == "siglip")
    numbers = scale_tensors(encoder, () if kind == "clip" else (1,))
    files = {
        CONFIG: config,
        _PROCESSOR: preprocess,
        "tokenizer_config.json": _tokenizer_config(encoder),
    }
    with atomic_folder(folder) as part:
        save_file({**gather(_parts(image, text, kind)), **numbers}, part / WEIGHTS[0], {"format": "pt"})
        for name, value in files.items():
            (part / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        (part / "tokenizer.json").write_text(json.dumps(encoder.tokenizer.to_dict(), ensure_ascii=False), "utf-8")
        write_seal(encoder, part, back)


def _tokenizer_config(encoder: DualEncoder) -> dict[str, Any]:
    if isinstance(encoder.tokenizer, ClipTokenizer):
        start, end = "<|startoftext|>", "<|endoftext|>"
        names = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
        return {"tokenizer_class": "CLIPTokenizer", "model_max_length": encoder.context_length, **names}
    fill_with = encoder.text_tower.config["fill"]  # type: ignore[index]
    added = {each["id"]: each["content"] for each in encoder.tokenizer.to_dict()["added_tokens"]}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": encoder.context_length}
    return {**told, "pad_token": added[fill_with]} if fill_with in added else told
