"""What open_clip's `open_clip_config.json` says, as the configs of towers and preprocessing, and the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias, get_args

from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import Cleaning
from deixis.inputs.preprocess import Mode, Preprocess
from deixis.nn.dual import DualEncoder
from deixis.nn.language.class_token_text import ClassTokenTextConfig
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.language.transformers_text import TransformersTextConfig
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.query_pooled_vit import QueryPooledVitConfig
from deixis.nn.vision.timm_tower import TimmTowerConfig
from deixis.nn.vision.transformers_image import TransformersImageConfig
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.zoo.layouts.settings import StrictConfig
from deixis.zoo.layouts.text_networks import text_network

__all__ = [
    "MEAN",
    "STD",
    "ImageConfig",
    "TextConfigs",
    "TextReading",
    "read_preprocess",
    "read_towers",
    "unlike",
    "write_preprocess",
    "write_towers",
]

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures CLIP was trained on, in units of 0 to 1; what a config without its own means."""

_CUSTOM = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
_CUSTOM_CURE = "Blocks of this kind are not built here; load the model with open_clip."
_RESIZES = {"shortest": "crop", "squash": "squash"}
_DEEPEST = 1000
_POOLS = {"tok": "class", "avg": "mean"}
_TEXT_POOLS = {
    "mean_pooler": "mean",
    "max_pooler": "max",
    "cls_pooler": "class",
    "cls_last_hidden_state_pooler": "class",
}
_TIMM_POOLS = ("", "avg", "avgmax", "max", "token", "map", "abs_attn", "rot_attn")
_TIMM_PROJECTIONS: dict[str, Any] = {"linear": "linear", "mlp": "mlp", "": "classifier", "none": "none"}
_VIT_ENTRIES = ("width", "layers", "head_width", "mlp_ratio", "patch_size", "pool_type", "no_ln_pre", "pos_embed_type")

ImageConfig: TypeAlias = (
    VitConfig | ModifiedResNetConfig | QueryPooledVitConfig | TimmTowerConfig | TransformersImageConfig
)
TextConfigs: TypeAlias = TextConfig | TransformersTextConfig


@dataclasses.dataclass(frozen=True)
class TextReading:
    """How the texts of a model become tokens.

    Attributes:
        tokenizer: the repository that its tokenizer is from; empty: it is CLIP's.
        cleaning: what is done to a text first.
        dropped: whether the token that ends a text gives way to number 0.
    """

    tokenizer: str = ""
    cleaning: Cleaning = "lower"
    dropped: bool = False


def read_towers(model: StrictConfig, folder: Path | None = None) -> tuple[ImageConfig, TextConfigs, TextReading]:
    """The towers that a `model_cfg` describes; `init_logit_bias` is left in it.

    Of a model that also writes captions (CoCa) the two encoders are described; its decoder is left out.

    Args:
        model: the entries.
        folder: of the checkpoint, for settings of a text tower that are not known.

    Raises:
        DeixisError: it describes something that is not built here; the message names the entry.
    """
    model.ignore("init_logit_scale", "nonscalar_logit_scale", "multimodal_cfg", "custom_text")
    out, quick = model.count("embed_dim"), model.flag("quick_gelu", False)
    vision = StrictConfig(model.take("vision_cfg"), f"{model.source}.vision_cfg")
    words = StrictConfig(model.take("text_cfg"), f"{model.source}.text_cfg")
    for each in (vision, words):
        each.refuse(("block_type", *_CUSTOM), _CUSTOM_CURE)
        each.ignore("output_tokens", "ls_init_value")  # weights tell of layer scales
    network, reading = words.take("hf_model_name", ""), _reading(words)
    if network:
        text: TextConfigs = _text_network(words, str(network), out, folder)
        return _image(vision, out, quick), text, dataclasses.replace(reading, tokenizer=reading.tokenizer or network)
    return _image(vision, out, quick), _text(words, out, quick), reading


def _reading(words: StrictConfig) -> TextReading:
    words.refuse(["tokenizer_mode"], "Texts of this kind are not read here.")
    options = StrictConfig(words.take("tokenizer_kwargs", {}), f"{words.source}.tokenizer_kwargs")
    name = str(words.take("hf_tokenizer_name", ""))
    kinds: dict[str, Cleaning] = {each: each for each in get_args(Cleaning)}
    cleaning: Cleaning = options.choice("clean", kinds, "whitespace" if name else "lower")
    reading = TextReading(name, cleaning, options.flag("strip_sep_token", False))
    options.done()
    if not name and reading != TextReading():
        raise words.wrong("tokenizer_kwargs", {"clean": cleaning}, "CLIP's tokenizer has no such settings here.")
    return reading


def _text_network(words: StrictConfig, name: str, out: int, folder: Path | None) -> TransformersTextConfig:
    network = text_network(name, folder)
    width = int(network.get("hidden_size") or network["d_model"])
    kind = words.choice("hf_proj_type", {"mlp": "mlp", "linear": "linear", "none": ""}, "mlp")
    maps = {"mlp": ((width + out) // 2, out), "linear": (out,), "": ()}[kind]
    pool = words.choice("hf_pooler_type", _TEXT_POOLS, "mean_pooler")
    if pool == "class" and network["model_type"] in ("roberta", "xlm-roberta", "bert"):
        pool = "pooler"
    length = words.count("context_length", 77)
    words.ignore(*(f.name for f in dataclasses.fields(TextConfig)), "hf_model_pretrained", "vocab_size", "layers")
    words.ignore("mlp_ratio", "proj_type", "proj_bias", "pool_type", "no_causal_mask", "pad_id", "eos_id", "embed_cls")
    words.done()
    return TransformersTextConfig(network, length, out, pool, projection=maps)


def _activation(tower: StrictConfig, quick: bool) -> Any:
    options = tower.take("act_kwargs", {})
    if quick and not options:
        return "quick_gelu"
    known = {"none": "gelu", "tanh": "gelu_tanh"}
    if quick or not isinstance(options, dict) or set(options) - {"approximate"}:
        raise tower.wrong("act_kwargs", options, "Of activations there are GELU, its tanh form, and QuickGELU.")
    return StrictConfig(options, f"{tower.source}.act_kwargs").choice("approximate", known, "none")


def _epsilon(tower: StrictConfig) -> float:
    options = StrictConfig(tower.take("norm_kwargs", {}), f"{tower.source}.norm_kwargs")
    epsilon = options.number("eps", 1e-5)
    options.done()
    return epsilon


def _timm(vision: StrictConfig, name: str, out: int) -> TimmTowerConfig:
    pool = vision.choice("timm_pool", {each: each for each in _TIMM_POOLS}, "avg")
    proj = str(vision.take("timm_proj", "")) if vision.has("timm_proj") else "linear"
    if proj not in _TIMM_PROJECTIONS:
        raise vision.wrong("timm_proj", proj, "It must be linear, mlp, none or nothing.")
    projection = _TIMM_PROJECTIONS[proj]
    if pool in ("abs_attn", "rot_attn") and projection == "classifier":
        projection = "none"
    bias, size = vision.flag("timm_proj_bias", False), vision.count("image_size", 224)
    vision.ignore("timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout", *_VIT_ENTRIES)
    vision.done()
    return TimmTowerConfig(name, size, out, pool, projection, bias)


def _image(vision: StrictConfig, out: int, quick: bool) -> ImageConfig:
    if name := str(vision.take("timm_model_name", "")):
        return _timm(vision, name, out)
    width, size = vision.count("width", 768), vision.count("image_size", 224)
    layers = vision.take("layers", 12)
    per_head = vision.count("head_width", 64)
    vision.ignore(*(f"timm_{name}" for name in ("model_pretrained", "pool", "proj", "proj_bias", "drop", "drop_path")))
    queries, query_heads = vision.count("attn_pooler_queries", 256), vision.count("attn_pooler_heads", 8)
    pooled_by_queries = vision.flag("attentional_pool", False)
    if isinstance(layers, list | tuple):
        vision.ignore("patch_size", "mlp_ratio", "patch_dropout", "pool_type")
        vision.done()
        if len(layers) != 4 or not all(isinstance(count, int) and 0 < count <= _DEEPEST for count in layers):
            raise vision.wrong("layers", layers, "A modified ResNet has four stages.")
        first, second, third, fourth = layers
        return ModifiedResNetConfig(size, (first, second, third, fourth), width, width * 32 // per_head, out)
    vision.choice("pos_embed_type", {"learnable": 0, "sin_cos_2d": 0}, "learnable")
    config = VitConfig(
        image_size=size,
        patch_size=vision.count("patch_size", 16),
        width=width,
        depth=StrictConfig({"layers": layers}, vision.source).count("layers", most=_DEEPEST),
        heads=width // per_head,
        hidden=int(width * vision.number("mlp_ratio", 4.0)),
        out=out,
        activation=_activation(vision, quick),
        pool=vision.choice("pool_type", _POOLS, "tok"),
        pre_norm=not vision.flag("no_ln_pre", False),
        norm_after_pool=vision.flag("final_ln_after_pool", False),
        epsilon=_epsilon(vision),
        patch_dropout=vision.number("patch_dropout", 0.0),
    )
    vision.done()
    if not pooled_by_queries:
        return config
    if config.pool != "class":
        raise vision.wrong("pool_type", "avg", "With attentional_pool, the first query is the image.")
    return QueryPooledVitConfig(config, queries, query_heads)


def _text(words: StrictConfig, out: int, quick: bool) -> TextConfig:
    words.refuse(["final_ln_after_pool"], "open_clip passes over it in text towers; so should the config.")
    words.ignore("hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
    kind = ClassTokenTextConfig if words.flag("embed_cls", False) else TextConfig
    causal = not words.flag("no_causal_mask", False)
    pool = words.choice("pool_type", {each: each for each in ("argmax", "eos", "last")}, "argmax")
    end, pad, width = words.count("eos_id", 2), words.take("pad_id", 0), words.count("width", 512)
    projected = words.choice("proj_type", {"linear": True, "none": False}, "linear")
    config = kind(
        vocabulary=words.count("vocab_size", 49408),
        length=words.count("context_length", 77),
        width=width,
        depth=words.count("layers", 12, most=_DEEPEST),
        heads=words.count("heads", 8),
        hidden=int(width * words.number("mlp_ratio", 4.0)),
        out=out if projected else None,
        activation=_activation(words, quick),
        causal=causal,
        pool=pool,
        end=end if pool == "eos" else None,
        fill=0 if pool == "last" or not causal else None,
        projection_bias=projected and words.flag("proj_bias", False),
        epsilon=_epsilon(words),
    )
    if pad != 0:
        raise words.wrong("pad_id", pad, "CLIP's tokenizer pads with 0.")
    if not projected and width != out:
        raise words.wrong("proj_type", "none", f"Without a projection the width {width} must be embed_dim, {out}.")
    words.done()
    return config


def read_preprocess(config: StrictConfig, size: int) -> Preprocess:
    """The preprocessing that a `preprocess_cfg` describes.

    Args:
        config: the entries.
        size: of the model's images, in pixels.

    Raises:
        DeixisError: it describes another size, or something that is not done here; the message names the entry.
    """
    told = config.count("size", size)
    if told != size:
        raise config.wrong("size", told, f"The image size of the model is {size}.")
    config.choice("mode", {"RGB": 0}, "RGB")
    config.ignore("fill_color")
    known = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}  # random in training only
    preprocess = Preprocess.from_dict(
        {
            "size": size,
            "mode": config.choice("resize_mode", _RESIZES, "shortest"),
            "interpolation": config.choice("interpolation", known, "bicubic"),
            "mean": config.take("mean", MEAN),
            "std": config.take("std", STD),
        }
    )
    config.done()
    return preprocess


def write_preprocess(preprocess: Preprocess) -> tuple[Preprocess, dict[str, Any]]:
    """A `preprocess_cfg`, and what it is read back as: odd pixels are cut off as open_clip does, there is no padding.

    Raises:
        DeixisError: open_clip has no such preprocessing.
    """
    if preprocess.mode == "pad" or preprocess.crop_share != 1:
        raise unlike(f"its preprocessing is {preprocess.mode!r} with crop_share {preprocess.crop_share:g}")
    mode: Mode = "squash" if preprocess.mode == "squash" else "crop"
    told = {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": {ours: theirs for theirs, ours in _RESIZES.items()}[mode],
    }
    return dataclasses.replace(preprocess, mode=mode, fill=255, reduce=Preprocess.reduce), told


def write_towers(encoder: DualEncoder) -> dict[str, Any]:
    """The `model_cfg` of a model.

    Raises:
        DeixisError: open_clip has no such towers; the message names what it lacks.
    """
    image, text = encoder.image_tower, encoder.text_tower
    if not isinstance(text, TextTransformer) or not isinstance(image, Vit | ModifiedResNet):
        raise unlike(f"{type(image).__name__} and {type(text).__name__} are no towers of open_clip's")
    config, words = image.config, text.config
    quick = words["activation"] == "quick_gelu"
    tower: dict[str, Any] = {"image_size": config["image_size"], "width": config["width"]}
    if isinstance(image, ModifiedResNet):
        tower |= {"layers": config["blocks"], "head_width": config["width"] * 32 // config["heads"]}
    else:
        quick = _same(quick, config)
        tower |= _vision_config(config)
    told = {
        "embed_dim": encoder.width,
        "quick_gelu": quick,
        "vision_cfg": tower,
        "text_cfg": _text_config(words),
    }
    return told if encoder.bias is None else {**told, "init_logit_bias": encoder.bias}


def _same(quick: bool, config: dict[str, Any]) -> bool:
    if quick != (config["activation"] == "quick_gelu"):
        raise unlike("its towers have different activations, of which one is QuickGELU")
    return quick


def _vision_config(config: dict[str, Any]) -> dict[str, Any]:
    plain = {"class_token": True, "patch_bias": False, "projection_bias": False}
    if wrong := [name for name, value in plain.items() if config[name] != value]:
        raise unlike(f"its image tower has {wrong[0]}={config[wrong[0]]}")
    if config["pool"] not in _POOLS.values() or config["out"] is None:
        raise unlike(f"its image tower pools by {config['pool']!r} to a width of {config['out']}")
    return {
        "layers": config["depth"],
        "head_width": config["width"] // config["heads"],
        "mlp_ratio": config["hidden"] / config["width"],
        "patch_size": config["patch_size"],
        "pool_type": "tok" if config["pool"] == "class" else "avg",
        "no_ln_pre": not config["pre_norm"],
        "final_ln_after_pool": config["norm_after_pool"],
        "patch_dropout": config["patch_dropout"],
        **_kwargs(config),
    }


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    if config["fill"]:
        raise unlike(f"its text tower fills texts with token {config['fill']}")
    return {
        "context_length": config["length"],
        "vocab_size": config["vocabulary"],
        "width": config["width"],
        "heads": config["heads"],
        "layers": config["depth"],
        "mlp_ratio": config["hidden"] / config["width"],
        "no_causal_mask": not config["causal"],
        "pool_type": config["pool"],
        "proj_type": "linear" if config["out"] else "none",
        "proj_bias": config["projection_bias"],
        **({} if config["end"] is None else {"eos_id": config["end"]}),
        **_kwargs(config),
    }


def _kwargs(config: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {} if config["epsilon"] == 1e-5 else {"norm_kwargs": {"eps": config["epsilon"]}}
    return options | ({"act_kwargs": {"approximate": "tanh"}} if config["activation"] == "gelu_tanh" else {})


def unlike(what: str) -> DeixisError:
    """The error for a model that open_clip has no place for.

    Args:
        what: it has no place for, as the end of a sentence.
    """
    return DeixisError(f"The model can't be written as open_clip's: {what}.", "Use layout='huggingface', or zoo.save.")
