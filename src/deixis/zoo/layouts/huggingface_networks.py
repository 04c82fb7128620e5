"""Models of transformers of which at least one tower is a network of that package: how each is put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.nn.language.transformers_text import TransformersTextConfig
from deixis.nn.vision.transformers_image import TransformersImageConfig
from deixis.nn.vision.vit import VitConfig
from deixis.zoo.layouts.huggingface_config import read_clip_image
from deixis.zoo.layouts.places import NameRule
from deixis.zoo.layouts.settings import StrictConfig, read_json, scale_of

__all__ = ["NETWORKS", "Assembly", "side_of"]


@dataclasses.dataclass(frozen=True)
class Assembly:
    """A model before its weights are read.

    Attributes:
        image: config of the image tower; a `VitConfig` has the names of a CLIP of transformers.
        text: config of the text tower.
        image_rules: names of the image tower's tensors, for a network of transformers.
        text_rules: names of the text tower's tensors.
        scale: the number that the scores' scale is stored as.
        scale_from: makes the scale of it, and of the source for messages.
        spare: a regular expression: further tensors, which belong to other heads.
        square: whether images are resized to squares by default.
        renamed: patterns of names in a file, and what takes their place before the rules are applied.
    """

    image: VitConfig | TransformersImageConfig
    text: TransformersTextConfig
    image_rules: tuple[NameRule, ...]
    text_rules: tuple[NameRule, ...]
    scale: str = "logit_scale"
    scale_from: Callable[[float, str], float] = scale_of
    spare: str = ""
    square: bool = False
    renamed: tuple[tuple[str, str], ...] = ()


_IMAGE = (NameRule(r"^network\.", "vision_model."), NameRule(r"^projection\.", "visual_projection."))
_TEXT = (NameRule(r"^transformer\.", "text_model."), NameRule(r"^projection\.0\.", "text_projection."))


def _length(folder: Path, positions: int) -> int:
    """Tokens of a text: what the tokenizer's config says, as far as there are positions."""
    path = folder / "tokenizer_config.json"
    told = read_json(path).get("model_max_length") if path.is_file() else None
    return min(positions, int(told)) if isinstance(told, int | float) and told > 0 else positions


def _text(network: dict[str, Any], folder: Path, out: int, **more: Any) -> TransformersTextConfig:
    positions = int(network.get("max_position_embeddings", 512))
    # RoBERTa's positions count from the one behind the padding token's
    first = int(network.get("pad_token_id") or 1) + 1 if network["model_type"] == "altclip_text_model" else 0
    return TransformersTextConfig(network, _length(folder, positions - first), out, projection=(out,), **more)


def _group(config: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    """The entries of one tower, completed by the defaults of transformers."""
    given = config.get(name) or {}
    if not isinstance(given, Mapping):
        raise DeixisError(f"{name} is {given!r}, and no group of settings.", "Fetch the config again.")
    return {**given, "model_type": kind}


def _chinese_clip(config: dict[str, Any], folder: Path, source: str) -> Assembly:
    image = read_clip_image(config, source)
    text = _group(config, "text_config", "chinese_clip_text_model")
    assert image.out is not None
    return Assembly(image, _text(text, folder, image.out, pool="class"), (), _TEXT)


def _altclip(config: dict[str, Any], folder: Path, source: str) -> Assembly:
    config = {"projection_dim": 768, **config}
    image = read_clip_image(config, source)
    text = _group(config, "text_config", "altclip_text_model")
    assert image.out is not None
    words = _text(text, folder, image.out, pool="class", width=int(text.get("project_dim") or 768))
    # versions of transformers call the layers of both towers by the name that only one of them has
    renamed = ((r"^(vision_model\.encoder)\.layer\.", r"\1.layers."), (r"^(text_model.*)\.layer\.", r"\1.layers."))
    return Assembly(image, words, (), _TEXT, renamed=renamed)


def _align(config: dict[str, Any], folder: Path, source: str) -> Assembly:
    entries = StrictConfig(config, source)
    out = entries.count("projection_dim", 640)
    vision = _group(config, "vision_config", "align_vision_model")
    width = int(vision.get("hidden_dim") or 2560)
    if width != out:
        raise entries.wrong("projection_dim", out, f"The image tower gives vectors of {width} numbers.")
    strides = vision.get("strides") or (1, 2, 2, 2, 1, 2, 1)
    side = side_of(folder, int(vision.get("image_size") or 600))
    image = TransformersImageConfig(vision, side, width, 2 * math.prod(strides), None)
    words = _text(_group(config, "text_config", "align_text_model"), folder, out, pool="class", projection_bias=True)
    spare = r"text_model\.pooler\..*"
    return Assembly(image, words, _IMAGE, _TEXT, "temperature", _from_temperature, spare, square=True)


def _from_temperature(value: float, source: str) -> float:
    if not value > 0:
        raise DeixisError(f"{source}: temperature is {value:g}, and must be above 0.", "Take another file.")
    return 1 / value


def side_of(folder: Path, default: int) -> int:
    """The side that the preprocessing of a folder gives; `default` where it does not say it."""
    told = read_json(folder / "preprocessor_config.json")
    size = told.get("crop_size" if told.get("do_center_crop") else "size")
    side = size.get("height") if isinstance(size, dict) else size
    return int(side) if isinstance(side, int) else default


def _blip(config: dict[str, Any], folder: Path, source: str) -> Assembly:
    """Of a model for retrieval the two embeddings that are compared without its matching head; of a `BlipModel` its
    features. Scores of the former have no stored scale; CLIP's at the start of training stands for it."""
    vision, text = (
        _group(config, "vision_config", "blip_vision_model"),
        _group(config, "text_config", "blip_text_model"),
    )
    names = config.get("architectures") or ["BlipModel"]
    width, side, patch = (
        int(vision.get(key) or default)
        for key, default in (("hidden_size", 768), ("image_size", 384), ("patch_size", 16))
    )
    entries = StrictConfig(config, source)
    if "BlipForImageTextRetrieval" in names:
        out = entries.count("image_text_hidden_size", 256)
        image = TransformersImageConfig(vision, side, width, patch, out, "class", projection_bias=True)
        words = _text(text, folder, out, pool="class", projection_bias=True)
        image_rules = (_IMAGE[0], NameRule(r"^projection\.", "vision_proj."))
        text_rules = (NameRule(r"^transformer\.", "text_encoder."), NameRule(r"^projection\.0\.", "text_proj."))
        return Assembly(image, words, image_rules, text_rules, "", spare=r"itm_head\..*", square=True)
    if "BlipModel" in names:
        out = entries.count("projection_dim", 512)
        image = TransformersImageConfig(vision, side, width, patch, out)
        return Assembly(image, _text(text, folder, out, pool="pooler"), _IMAGE, _TEXT, square=True)
    raise entries.wrong(
        "architectures", names, "Of BLIP, BlipForImageTextRetrieval and BlipModel have a text encoder to compare with."
    )


NETWORKS: dict[str, Callable[[dict[str, Any], Path, str], Assembly]] = {
    "chinese_clip": _chinese_clip,
    "altclip": _altclip,
    "align": _align,
    "blip": _blip,
}
"""Value of `model_type` -> what puts such a model together from its config, its folder and what errors call it."""
