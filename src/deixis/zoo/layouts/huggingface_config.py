"""What the configs of transformers say of CLIP and SigLIP, as configs of towers and preprocessing, and the way back."""

from __future__ import annotations

import math
from typing import Any

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.language.text_transformer import TextConfig
from deixis.nn.vision.variable_vit import VariableVitConfig
from deixis.nn.vision.vit import VitConfig
from deixis.zoo.layouts.openclip_config import MEAN, STD
from deixis.zoo.layouts.settings import StrictConfig

__all__ = ["OWN", "read_clip_image", "read_preprocess", "read_towers", "refuse", "write_preprocess", "write_towers"]

_ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
OWN = {"clip": "clip", "metaclip_2": "clip", "clipseg": "clip", "siglip": "siglip", "siglip2": "siglip"}
"""Values of `model_type` whose two towers are built here -> the layout that they have."""

_RESAMPLING = {3: "bicubic", 2: "bilinear"}
_SIZES = {
    "clip": (
        {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 32},
    ),
    "siglip": (
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 16},
    ),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "siglip": {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
}
# What training asks for, and what transformers once wrote into every config for models that write text.
_SILENT = frozenset(
    "model_type architectures dtype torch_dtype transformers_version _name_or_path initializer_range "
    "initializer_factor attention_dropout dropout projection_dim bos_token_id pad_token_id sep_token_id num_channels "
    "add_cross_attention bad_words_ids begin_suppress_tokens chunk_size_feed_forward cross_attention_hidden_size "
    "decoder_start_token_id diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size "
    "exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label label2id "
    "is_decoder is_encoder_decoder length_penalty max_length min_length no_repeat_ngram_size num_beam_groups "
    "num_beams num_return_sequences output_attentions output_hidden_states output_scores prefix problem_type "
    "pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate suppress_tokens "
    "task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k "
    "top_p torchscript typical_p use_bfloat16".split()
)


def _group(config: dict[str, Any], name: str, defaults: dict[str, Any], source: str) -> StrictConfig:
    values, old = config.get(name) or {}, config.get(f"{name}_dict") or {}
    if wrong := [each for each in (values, old) if not isinstance(each, dict)]:
        raise StrictConfig(config, source).wrong(name, wrong[0], "It must be a group of settings.")
    if old:  # early configs hold it twice, and the second one counts, defaults included
        values = {**values, **defaults, **old}
    silent = {key: value for key, value in values.items() if key not in _SILENT and value is not None}
    return StrictConfig({**defaults, **silent}, f"{source}, {name}")


def read_towers(kind: str, config: dict[str, Any], source: str, fill_with: int | None) -> tuple[VitConfig, TextConfig]:
    """The towers that a `config.json` describes.

    Args:
        kind: one of `OWN`.
        config: the whole file.
        source: what errors call it.
        fill_with: the token that fills the texts of a SigLIP.

    Raises:
        DeixisError: it describes something that is not built here; the message names the entry.
    """
    if OWN[kind] == "siglip":
        return _siglip(kind, config, source, fill_with)
    image = read_clip_image(config, source)
    words = _group(config, "text_config", {**_SIZES["clip"][0], **_DEFAULTS["clip"]}, source)
    end = words.count("eos_token_id", 49407)
    # 2 stands in configs from before transformers looked for the end token, and means the highest number
    old = end == 2 and kind != "metaclip_2"
    pool: dict[str, Any] = {"pool": "argmax"} if old else {"pool": "eos", "end": end}
    text = TextConfig(**_sizes(words), **_long(words, 49408, 77), **pool, out=image.out)
    words.done()
    return image, text


def read_clip_image(config: dict[str, Any], source: str) -> VitConfig:
    """The image tower of a CLIP, which Chinese-CLIP and AltCLIP have, too.

    Raises:
        DeixisError: as `read_towers`.
    """
    out = StrictConfig(config, source).count("projection_dim", 512)
    vision = _group(config, "vision_config", {**_SIZES["clip"][1], **_DEFAULTS["clip"]}, source)
    image = VitConfig(**_sizes(vision), **_square(vision), out=out)
    vision.done()
    return image


def _siglip(kind: str, config: dict[str, Any], source: str, fill_with: int | None) -> tuple[VitConfig, TextConfig]:
    words, vision = (
        _group(config, name, {**sizes, **_DEFAULTS["siglip"]}, source)
        for name, sizes in zip(("text_config", "vision_config"), _SIZES["siglip"], strict=True)
    )
    if not vision.flag("vision_use_head", True):
        raise vision.wrong("vision_use_head", False, "Without its head this model pools nothing.")
    flags: dict[str, Any] = {"class_token": False, "pre_norm": False, "patch_bias": True, "pool": "map"}
    if kind == "siglip2":
        patch, count = vision.count("patch_size"), vision.count("num_patches", 256)
        if math.isqrt(count) ** 2 != count:
            raise vision.wrong("num_patches", count, "Positions must lie on a square.")
        square: dict[str, Any] = {"image_size": patch * math.isqrt(count), "patch_size": patch}
        image: VitConfig = VariableVitConfig(**_sizes(vision), **square, **flags, out=None)
    else:
        image = VitConfig(**_sizes(vision), **_square(vision), **flags, out=None)
    words.ignore("eos_token_id")
    long, sizes = _long(words, 32000, 64), _sizes(words)
    flags = {"causal": False, "pool": "last", "fill": fill_with, "projection_bias": True}
    text = TextConfig(**sizes, **long, **flags, out=words.count("projection_size", sizes["width"]))
    if text.out != image.width:
        raise words.wrong("projection_size", text.out, f"The image tower's width is {image.width}.")
    words.done()
    vision.done()
    return image, text


def _sizes(tower: StrictConfig) -> dict[str, Any]:
    return {
        "width": tower.count("hidden_size"),
        "hidden": tower.count("intermediate_size"),
        "depth": tower.count("num_hidden_layers", 12, most=1000),
        "heads": tower.count("num_attention_heads"),
        "activation": tower.choice("hidden_act", _ACTIVATIONS, ""),
        "epsilon": tower.number("layer_norm_eps"),
    }


def _square(vision: StrictConfig) -> dict[str, Any]:
    return {"image_size": vision.count("image_size", 224), "patch_size": vision.count("patch_size")}


def _long(words: StrictConfig, vocabulary: int, length: int) -> dict[str, Any]:
    return {
        "vocabulary": words.count("vocab_size", vocabulary),
        "length": words.count("max_position_embeddings", length),
    }


def _normalised(config: StrictConfig) -> tuple[Any, Any]:
    """Mean and deviation that images of 0 to 1 are normalised with."""
    factor, offset = config.number("rescale_factor", 1 / 255), config.flag("rescale_offset", False)
    wanted = 1 / 127.5 if offset else 1 / 255
    if not math.isclose(factor, wanted, rel_tol=1e-6):
        raise config.wrong("rescale_factor", factor, "Images are brought to 0 to 1 here, by 1/255.")
    normalised = config.flag("do_normalize", True)
    mean, std = (config.take(f"image_{name}", list(value)) for name, value in (("mean", MEAN), ("std", STD)))
    if offset and normalised:
        raise config.wrong("rescale_offset", True, "Images are normalised once here.")
    if offset:  # to -1 to 1
        return [0.5] * 3, [0.5] * 3
    return (mean, std) if normalised else ([0.0] * 3, [1.0] * 3)


def read_preprocess(config: StrictConfig, side: int, square: bool, resample: int = 3) -> Preprocess:
    """The preprocessing that a `preprocessor_config.json` describes.

    Args:
        config: its entries.
        side: of the model's images, in pixels.
        square: whether images are resized to squares where the entries do not say it.
        resample: how, where the entries do not say it, by its number in Pillow.

    Raises:
        DeixisError: it describes another size, or something that is not done here; the message names the entry.
    """
    config.ignore("image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "data_format")
    config.ignore("input_data_format", "device", "disable_grouping", "return_tensors", "default_to_square")
    config.refuse(["do_pad", "pad_size"], "Images are resized and cut here, never padded.")
    config.ignore("patch_size", "max_num_patches")
    config.refuse(["include_top"], "Images are normalised once here.")
    for step in ("do_resize", "do_rescale"):
        if not config.flag(step, True):
            raise config.wrong(step, False, "This step is always taken here.")
    mean, std = _normalised(config)
    values = {
        "size": side,
        "interpolation": config.choice_number("resample", _RESAMPLING, resample),
        "mean": mean,
        "std": std,
        **_shape(config, side, square),
    }
    config.done()
    return Preprocess.from_dict(values)


def _shape(config: StrictConfig, side: int, square: bool) -> dict[str, Any]:
    """How the image becomes a square."""
    size = config.take("size", {"height": side, "width": side} if square else {"shortest_edge": side})
    cut, crop = config.flag("do_center_crop", not square), config.take("crop_size", side)
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    if isinstance(size, dict) and set(size) == {"height", "width"} and (not cut or crop == size):
        if size != {"height": side, "width": side}:
            raise config.wrong("size", size, f"The image size of the model is {side}.")
        return {"mode": "squash"}
    if not cut or not isinstance(size, dict) or set(size) != {"shortest_edge"}:
        raise config.wrong(
            "size", size, "Either both sides are resized, or the shorter one and then the centre is cut."
        )
    if crop != {"height": side, "width": side}:
        raise config.wrong("crop_size", crop, f"The image size of the model is {side}.")
    edge = StrictConfig(size, f"{config.source}, size").count("shortest_edge")
    if edge < side:
        raise config.wrong("size", size, f"The shorter side must not be below the image size, {side}.")
    return {"mode": "crop_floor", "crop_share": _share(side, edge)}


def _share(side: int, edge: int) -> float:
    """The share whose inverse, times `side` and rounded down, is `edge`."""
    share = side / edge
    return share if math.floor(side / share) == edge else side / (edge + 0.5)


def refuse(what: str) -> DeixisError:
    """The error that says why a model can't be written in this layout."""
    return DeixisError(f"The model can't be written as transformers': {what}.", "Use layout='openclip', or zoo.save.")


def _require_layout(kind: str, image: dict[str, Any], text: dict[str, Any]) -> None:
    siglip = kind == "siglip"
    wanted = {
        **{"class_token": not siglip, "pre_norm": not siglip, "patch_bias": siglip, "projection_bias": False},
        **{"pool": "map" if siglip else "class", "patch_dropout": 0.0},
    }
    if wrong := [name for name, value in wanted.items() if image[name] != value]:
        raise refuse(f"its image tower has {wrong[0]}={image[wrong[0]]!r}")
    wanted = {"causal": not siglip, "projection_bias": siglip}
    if wrong := [name for name, value in wanted.items() if text[name] != value]:
        raise refuse(f"its text tower has {wrong[0]}={text[wrong[0]]!r}")
    if text["end"] == 2:  # which transformers takes for an old config, whose texts are read at their highest token
        raise refuse("its text tower reads texts at token 2")
    if (text["pool"] == "last") != siglip or text["out"] is None or (image["out"] is None) != siglip:
        raise refuse(f"its text tower reads at {text['pool']!r}, and its projections are {image['out']}, {text['out']}")


def write_towers(kind: str, image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """The `config.json` of a model.

    Args:
        kind: `clip` or `siglip`.
        image: the config of its image tower, a `Vit`.
        text: the config of its text tower, a `TextTransformer`.

    Raises:
        DeixisError: transformers has no such towers; the message names what it lacks.
    """
    _require_layout(kind, image, text)
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    vision, words = (
        {
            "hidden_size": tower["width"],
            "intermediate_size": tower["hidden"],
            "num_hidden_layers": tower["depth"],
            "num_attention_heads": tower["heads"],
            "hidden_act": names[tower["activation"]],
            "layer_norm_eps": tower["epsilon"],
        }
        for tower in (image, text)
    )
    vision |= {
        "model_type": f"{kind}_vision_model",
        "image_size": image["image_size"],
        "patch_size": image["patch_size"],
    }
    words |= {"model_type": f"{kind}_text_model", "vocab_size": text["vocabulary"]}
    words["max_position_embeddings"] = text["length"]
    top: dict[str, Any] = {"model_type": kind, "architectures": ["CLIPModel" if kind == "clip" else "SiglipModel"]}
    if kind == "clip":
        top["projection_dim"] = words["projection_dim"] = vision["projection_dim"] = text["out"]
        words |= {"eos_token_id": text["end"] or 2, "bos_token_id": text["vocabulary"] - 2, "pad_token_id": 1}
    else:
        words |= {"projection_size": text["out"], "pad_token_id": text["fill"], "bos_token_id": None, "eos_token_id": 1}
    return {**top, "text_config": words, "vision_config": vision, "dtype": "float32"}


def write_preprocess(preprocess: Preprocess, kind: str) -> dict[str, Any]:
    """The `preprocessor_config.json` of a model.

    Raises:
        DeixisError: transformers has no such preprocessing.
    """
    side, name = preprocess.size, "CLIP" if kind == "clip" else "Siglip"
    told: dict[str, Any] = {
        "image_processor_type": f"{name}ImageProcessor",
        **{"do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True},
        "rescale_factor": 1 / 255,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
        "resample": {ours: number for number, ours in _RESAMPLING.items()}[preprocess.interpolation],
    }
    if preprocess.mode == "squash":
        return {**told, "size": {"height": side, "width": side}, "do_center_crop": False}
    if preprocess.mode == "pad":
        raise refuse("its preprocessing pads images to a square")
    edge = math.floor(side / preprocess.crop_share)
    return {
        **told,
        "size": {"shortest_edge": edge},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
    }
