"""The encoders of `deixis eval --encoders`: image sides by name, `pixels`, `phash`, whitened, and layers."""

from __future__ import annotations

from collections.abc import Sequence

from deixis.apps.common.loading import AT
from deixis.apps.eval.image_encoders import HashBits, Pixels, WhitenedModel
from deixis.apps.eval.models import load_model
from deixis.apps.image_sides.places import block_places, features_at, method_places, tower_of
from deixis.engine.evaluation.model import EvalModel
from deixis.errors import DeixisError

__all__ = ["WIDTH", "at_places", "base_name", "load_image_side"]

WIDTH = 256
"""Directions that `+whiten` keeps where no number is given."""

_WHITEN = "+whiten"
_RIVALS = {"pixels": Pixels, "phash": HashBits}


def base_name(name: str) -> str:
    """The model that an encoder stands on: `my-eyes` of `my-eyes@blocks.3+whiten:64`."""
    return name.partition(_WHITEN)[0].partition(AT)[0]


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
        if plain in _RIVALS or AT in plain:
            found.append(name)
            continue
        method, end = load_model(plain).model, f"{whiten}{rest}"
        every = at == "all"
        places = [*block_places(tower_of(plain)), *method_places(method, default=False)] if every else [at]
        found += [name] if every else []  # which reads the method's default
        found += [f"{plain}{AT}{place}{end}" for place in places]
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
    model, at, place = name.partition(AT)
    if at:
        return EvalModel(name, features_at(model, place))
    found = load_model(name)
    if "encode_image" not in found.capabilities and found.encoder is not None:
        found = EvalModel(name, found.encoder)
    found.capabilities &= {"encode_image", "image_tokens"}
    if "encode_image" not in found.capabilities:
        raise DeixisError(f"{name} embeds no images.", "Name a model that offers encode_image: see `deixis list`.")
    return found
