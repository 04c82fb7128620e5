"""The encoders of `deixis eval --encoders`: image sides by name, `pixels`, `phash`, whitened, and layers."""

from __future__ import annotations

from collections.abc import Sequence

from deixis import zoo
from deixis.apps.common.loading import load, method_folder
from deixis.apps.eval.image_encoders import HashBits, LayerFeatures, Pixels, WhitenedModel
from deixis.apps.eval.models import load_model
from deixis.apps.eval.places import PlaceFeatures, block_places, method_places
from deixis.engine.evaluation.model import EvalModel
from deixis.errors import DeixisError

__all__ = ["WIDTH", "at_places", "base_name", "load_image_side"]

WIDTH = 256
"""Directions that `+whiten` keeps where no number is given."""

_WHITEN, _LAYER = "+whiten", "@"
_RIVALS = {"pixels": Pixels, "phash": HashBits}


def base_name(name: str) -> str:
    """The model that an encoder stands on: `my-eyes` of `my-eyes@blocks.3+whiten:64`."""
    return name.partition(_WHITEN)[0].partition(_LAYER)[0]


def at_places(names: Sequence[str], at: str) -> tuple[str, ...]:
    """Encoders at a place, or at each of their places: the blocks of the tower and what the method names.

    Args:
        names: of encoders; those that name a place already, or have none (`pixels`, `phash`), stay as they are.
        at: `all`, for each encoder followed by itself at each place; a place; or empty: the names as they are.

    Raises:
        DeixisError: there is no such encoder, or it has no tower whose layers can be named.
    """
    found: list[str] = []
    for name in names if at else ():
        plain, whiten, rest = name.partition(_WHITEN)
        if plain in _RIVALS or _LAYER in plain:
            found.append(name)
            continue
        method, end = load_model(plain).model, f"{whiten}{rest}"
        places = [*block_places(_tower(plain)), *method_places(method)] if at == "all" else [at]
        found += [name] if at == "all" else []
        found += [f"{plain}{_LAYER}{place}{end}" for place in places]
    return tuple(found) if at else tuple(names)


def load_image_side(name: str) -> EvalModel:
    """An encoder of images alone, to be measured by the protocols that need no more.

    Args:
        name: what `load_model` takes, `pixels` or `phash` (a perceptual hash); of a model also `NAME@LAYER`; of each
            also with `+whiten` or `+whiten:WIDTH` behind it.

    Raises:
        DeixisError: there is no such model or layer, it embeds no images, or the width is none.
    """
    plain, whiten, rest = name.partition(_WHITEN)
    if not whiten:
        return _plain(name)
    width = WIDTH if not rest else int(rest[1:]) if rest.startswith(":") and rest[1:].isdecimal() else 0
    if width < 1:
        raise DeixisError(f"{name!r} says no width to whiten to.", f"Write {plain}{_WHITEN}:{WIDTH}")
    return WhitenedModel(name, _plain(plain), width)


def _plain(name: str) -> EvalModel:
    if name in _RIVALS:
        return EvalModel(name, _RIVALS[name]())
    model, layer, place = name.partition(_LAYER)
    if layer:
        folder = method_folder(model)
        method = None if folder is None else load(folder)
        if place in method_places(method):
            return EvalModel(name, PlaceFeatures(method, place))
        return EvalModel(name, LayerFeatures(_tower(model), place))
    found = load_model(name)
    if "encode_image" not in found.capabilities and found.encoder is not None:
        found = EvalModel(name, found.encoder)
    found.capabilities &= {"encode_image", "image_tokens"}
    if "encode_image" not in found.capabilities:
        raise DeixisError(f"{name} embeds no images.", "Name a model that offers encode_image: see `deixis list`.")
    return found


def _tower(name: str) -> object:
    """The image tower of a model, or of the method of a run without text."""
    folder = method_folder(name)
    tower = zoo.load_part("image_tower", name) if folder is None else getattr(load(folder), "encoder", None)
    if not hasattr(tower, "network"):
        raise DeixisError(f"{name} has no image tower with layers that can be named.", "Leave out @LAYER.")
    return tower
