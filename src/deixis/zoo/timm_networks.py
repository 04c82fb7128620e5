"""Networks of timm as image encoders: `timm:NAME`, and after colons `untrained` and the side of the images."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from typing import Any, Literal

import torch

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.encoders import TimmEncoder
from deixis.zoo.hub import require_reachable

__all__ = ["PREFIX", "load", "weights_note"]

PREFIX = "timm:"
_UNTRAINED = "untrained"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MODES: dict[str, Literal["crop", "squash", "pad"]] = {"center": "crop", "squash": "squash", "border": "pad"}


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a name asks for."""

    network: str
    pretrained: bool = True
    size: int | None = None


def load(name: str, seed: int = 0) -> TimmEncoder:
    """A network of timm without its classifier, in eval mode, preprocessed as timm does it.

    Args:
        name: `timm:resnet18`, `timm:resnet18:untrained`, `timm:resnet18:96`.
        seed: of random weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: timm has no such network, or its weights can't be had.
    """
    import timm
    from timm.data.config import resolve_model_data_config

    request = _read(name)
    if not timm.is_model(request.network.partition(".")[0]):
        close = difflib.get_close_matches(request.network, timm.list_models(), n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "`timm.list_models()` has all."
        raise DeixisError(f"timm has no network {request.network!r}.", hint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _create(name, request)
    settings = resolve_model_data_config(network)
    fixed = bool(network.pretrained_cfg.get("fixed_input_size"))
    encoder = TimmEncoder(
        network,
        _preprocess(settings, request.size),
        name=name,
        licence=str(network.pretrained_cfg.get("license") or "") if request.pretrained else "",
        fixed=fixed,
    )
    return encoder.eval()


def weights_note(name: str) -> str:
    """From which repository of the hub the weights of a network come, and by which licence; empty where from none.

    >>> weights_note("timm:regnety_320.seer")
    'timm/regnety_320.seer of the Hugging Face hub, licence seer-license'

    Args:
        name: as for `load`.
    """
    import timm

    request = _read(name)
    known = timm.get_pretrained_cfg(request.network, allow_unregistered=True) if request.pretrained else None
    if known is None or not known.hf_hub_id:
        return ""
    return f"{known.hf_hub_id} of the Hugging Face hub, licence {known.license or 'see its page'}"


def _read(name: str) -> _Request:
    network, *options = name.removeprefix(PREFIX).split(":")
    sizes = [option for option in options if option.isdigit()]
    other = [option for option in options if not option.isdigit() and option != _UNTRAINED]
    if not network or other or len(sizes) > 1:
        raise DeixisError(
            f"{name!r} names no network of timm.",
            f"Write {PREFIX}NAME, and after colons {_UNTRAINED} or the side of the images in pixels, or both.",
        )
    return _Request(network, _UNTRAINED not in options, int(sizes[0]) if sizes else None)


def _create(name: str, request: _Request) -> Any:
    import timm

    settings: dict[str, Any] = {"num_classes": 0}
    try:
        known = timm.get_pretrained_cfg(request.network, allow_unregistered=True)
        if request.size and known is not None and known.fixed_input_size:
            settings["img_size"] = request.size
        if request.pretrained and known is not None and known.hf_hub_id:
            require_reachable(known.hf_hub_id, [known.hf_hub_filename] if known.hf_hub_filename else _WEIGHTS)
        return _created(request, settings, known is not None and known.fixed_input_size)
    except Exception as error:  # the hub's own, those of whatever it speaks through, and timm's of unknown weights
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cure = "Check the connection, and the tag after the dot"
        raise DeixisError(
            f"The network {name!r} is not available: {lines[0].rstrip('.') if lines else type(error).__name__}.",
            f"{cure}; or take random weights: {PREFIX}{request.network}:{_UNTRAINED}"
            if request.pretrained
            else "Choose another size or network.",
        ) from error


def _created(request: _Request, settings: dict[str, Any], fixed: bool) -> Any:
    """The network; one with positions interpolates them for images of other sizes, where timm can."""
    import timm

    create = functools.partial(timm.create_model, request.network, pretrained=request.pretrained, **settings)
    if not fixed:
        return create()
    try:
        return create(dynamic_img_size=True)
    except TypeError:  # has no such setting
        return create()


def _preprocess(settings: dict[str, Any], size: int | None) -> Preprocess:
    """The transform with which timm evaluates."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear" if settings["interpolation"] == "bilinear" else "bicubic"
    return Preprocess(
        size or int(settings["input_size"][-1]),
        mode=_MODES[settings.get("crop_mode", "center")],
        interpolation=interpolation,
        mean=settings["mean"],
        std=settings["std"],
        crop_share=float(settings["crop_pct"]),
        reduce=0,
    )
