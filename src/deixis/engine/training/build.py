"""From a name to a method with its parts in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deixis import zoo
from deixis.engine.training.optim import optim_spec
from deixis.errors import DeixisError
from deixis.methods import change_settings, get
from deixis.nn.frozen import freeze
from deixis.types import Part, Source
from deixis.types.protocols import AnyMethod, MethodConfig

__all__ = ["build", "configure", "restored"]


def configure(name: str, preset: str = "desk", overrides: Mapping[str, Any] | None = None) -> MethodConfig:
    """The config of method `name`: a preset (`tiny`, `desk`, `paper`) with some settings changed.

    Args:
        name: of the method.
        preset: `tiny`, `desk` or `paper`.
        overrides: as `deixis.methods.change_settings` takes them.

    Raises:
        DeixisError: no such method, preset or setting, or none of a setting's values; the message lists the valid ones.
    """
    config_class = get(name).Config  # not the one that is read: that is equal, but methods compare against their own
    if preset not in ("tiny", "desk", "paper"):
        raise DeixisError(f"There is no preset {preset!r}.", "The presets are tiny, desk and paper.")
    return change_settings(getattr(config_class, preset)(), overrides or {}, name)


def restored(name: str, saved: Mapping[str, Any]) -> MethodConfig:
    """The config that a method was saved with, be it by a release whose settings had other names.

    Args:
        name: of the method.
        saved: the settings as plain values, as JSON gives them.

    Raises:
        DeixisError: no such method, or it has no such setting.
    """
    return change_settings(get(name).Config.desk(), saved, name)


def build(
    name: str,
    preset: str = "desk",
    overrides: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
    seed: int = 0,
    source: Source | None = None,
) -> AnyMethod:
    """Builds a method: its config, its parts (loaded by what the config names, frozen where the card says so), itself.

    Args:
        name: of the method.
        preset: `tiny`, `desk` or `paper`.
        overrides: fields of the config to change.
        parts: parts that exist already, by name, or names of parts, in place of what the config names; frozen where
            the card says so.
        seed: of the initial weights, also of new parts.
        source: the data that new parts take words or labels from.

    Raises:
        DeixisError: an unknown name, preset or setting, or a part that cannot be loaded.
    """
    card = get(name).CARD
    config = configure(name, preset, overrides)
    options = {"seed": seed, "source": source}
    loaded = {part.name: _part(part, config, parts or {}, options) for part in card.parts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = get(name).Method(config, **loaded)
    optim_spec(method)  # refuses what could not be trained, before any work
    return method


def _part(part: Part, config: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The part itself: the given one, or what the config's field of that name says."""
    value = given[part.name] if part.name in given else getattr(config, part.name)
    if value is None or (isinstance(value, str | tuple | list) and not value):
        if part.optional:
            return () if part.many else None
        raise DeixisError(f"The part {part.name!r} is missing.", f"Name one with --{part.name.replace('_', '-')}.")
    return tuple(_one(part, each, options) for each in value) if part.many else _one(part, value, options)


def _one(part: Part, value: Any, options: Mapping[str, Any]) -> Any:
    """One thing of the kind that `part` declares, loaded if `value` is a name, frozen if the part is."""
    value = zoo.load_part(part.kind, value, **options)
    if part.frozen and isinstance(value, nn.Module):
        freeze(value)
    return value
