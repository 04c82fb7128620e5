"""From a name to a method with its parts in place."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from deixis import zoo
from deixis.engine.training.stages import Method
from deixis.errors import DeixisError
from deixis.methods import get, read
from deixis.nn.frozen import freeze
from deixis.types import Part

__all__ = ["build", "configure"]


def configure(name: str, preset: str = "desk", overrides: Mapping[str, Any] | None = None) -> Any:
    """The config of method `name`: a preset (`tiny`, `desk`, `paper`) with some fields changed.

    Raises:
        DeixisError: no such method, preset or field, or none of a field's values; what there is, is told.
    """
    config_class = read(name).config
    if preset not in ("tiny", "desk", "paper"):
        raise DeixisError(f"There is no preset {preset!r}.", "The presets are tiny, desk and paper.")
    fields = {field.name for field in dataclasses.fields(config_class)}
    for key in overrides or {}:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=2) or sorted(fields)
            raise DeixisError(f"{name} has no setting {key!r}.", f"Its settings include {', '.join(near)}.")
    hints = typing.get_type_hints(get(name).Config)
    for key, value in (overrides or {}).items():
        choices = typing.get_args(hints[key]) if typing.get_origin(hints[key]) is Literal else ()
        if choices and value not in choices:
            *most, last = map(str, choices)
            raise DeixisError(f"{name} has no {key} {value!r}.", f"Choose {', '.join(most)} or {last}.")
    # The class that was read is equal to the imported one, but methods compare against their own.
    config = getattr(get(name).Config, preset)()
    return dataclasses.replace(config, **(overrides or {}))


def build(
    name: str,
    preset: str = "desk",
    overrides: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Method:
    """Builds a method: its config, its parts (loaded by what the config names, frozen where the card says so), itself.

    Args:
        name: of the method.
        preset: `tiny`, `desk` or `paper`.
        overrides: fields of the config to change.
        parts: parts that exist already, by name, used as they are (and frozen where the card says so).
        seed: of the initial weights.

    Raises:
        DeixisError: an unknown name, preset or setting, or a part that cannot be loaded.
    """
    card = get(name).CARD
    config = configure(name, preset, overrides)
    loaded = {part.name: _part(part, config, parts or {}) for part in card.parts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get(name).Method(config, **loaded)


def _part(part: Part, config: Any, given: Mapping[str, Any]) -> Any:
    """The part itself: the given one, or what the config's field of that name says."""
    value = given[part.name] if part.name in given else getattr(config, part.name)
    if value is None or (isinstance(value, str | tuple | list) and not value):
        if part.optional:
            return () if part.many else None
        raise DeixisError(f"The part {part.name!r} is missing.", f"Name one with --{part.name.replace('_', '-')}.")
    return tuple(_one(part, each) for each in value) if part.many else _one(part, value)


def _one(part: Part, value: Any) -> Any:
    """One thing of the kind that `part` asks for, loaded if `value` is a name, frozen if the part is."""
    if part.kind in ("dual_encoder", "image_tower") and isinstance(value, str):
        value = zoo.load(value)
    if part.kind == "image_tower" and hasattr(value, "image_tower"):
        value = value.image_tower
    if part.frozen and isinstance(value, nn.Module):
        freeze(value)
    return value
