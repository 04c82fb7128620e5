"""Networks of the transformers package by their settings; the package is an extra, and imported when one is built."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from deixis.errors import DeixisError
from deixis.nn.unfilled import Unfilled

__all__ = ["create", "settings_of"]

_CLASSES = {
    "align_text_model": "AlignTextModel",
    "align_vision_model": "AlignVisionModel",
    "altclip_text_model": "AltCLIPTextModel",
    "blip_text_model": "BlipTextModel",
    "blip_vision_model": "BlipVisionModel",
    "chinese_clip_text_model": "ChineseCLIPTextModel",
}
"""Halves of image-text models by `model_type`; other types are found by `AutoModel`."""

_SILENT = ("transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path")


def create(settings: dict[str, Any], *, pooler: bool = False) -> nn.Module:
    """A network whose weights have no values yet; of one that encodes and decodes, the encoder.

    Args:
        settings: what its config says, with `model_type`.
        pooler: whether the layer belongs to it that some text encoders have on their first token.

    Raises:
        DeixisError: transformers is not installed, is too old for this network, or the settings are none of it.
    """
    transformers = _package()
    settings = {key: value for key, value in settings.items() if key not in _SILENT}
    kind = str(settings.pop("model_type", ""))
    try:
        with Unfilled():
            if kind in _CLASSES:
                named: Any = getattr(transformers, _CLASSES[kind])
                more = {"add_pooling_layer": pooler} if kind not in _POOLERLESS else {}
                network: nn.Module = named(named.config_class(**settings), **more)
                return network
            return _automatic(transformers, transformers.AutoConfig.for_model(kind, **settings), pooler)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise DeixisError(
            f"transformers {transformers.__version__} can't build a network {kind!r}: {_first_line(error)}",
            "Upgrade it: pip install --upgrade 'deixis[hf]'; or take the config that came with the weights.",
        ) from error


_POOLERLESS = ("align_vision_model", "altclip_text_model", "blip_vision_model")


def _automatic(transformers: Any, config: Any, pooler: bool) -> nn.Module:
    if getattr(config, "is_encoder_decoder", False):
        short = copy.deepcopy(config)
        for name in ("decoder_layers", "num_decoder_layers"):
            if hasattr(short, name):
                setattr(short, name, 1)
        encoder: nn.Module = transformers.AutoModel.from_config(short).get_encoder()
        return encoder
    network: nn.Module = transformers.AutoModel.from_config(config, add_pooling_layer=pooler)
    return network


def _package() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise DeixisError(
            "This model has a network of the transformers package, which is not installed.",
            "Run: pip install 'deixis[hf]'",
        ) from error
    return transformers


def settings_of(network: nn.Module) -> dict[str, Any]:
    """What `create` builds an equal network from, as plain values that do not depend on the package's version."""
    inside: Any = network
    told: dict[str, Any] = inside.config.to_diff_dict()
    kind = {"model_type": inside.config.model_type}
    return {**kind, **{key: value for key, value in told.items() if key not in _SILENT}}


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
