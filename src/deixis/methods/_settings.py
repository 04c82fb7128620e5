"""Settings of a method by name: those inside of a value object, such as `optim.learning_rate`, by dotted names."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from deixis.errors import DeixisError
from deixis.types.optim import OptimGroup, OptimSpec

__all__ = ["all_settings", "change_settings", "former_names", "setting_types"]

_FORMER = ("optimiser", "learning_rate", "weight_decay", "momentum", "schedule", "warmup")
"""Settings that stood in a Config itself before it had an `OptimSpec`; claims, run folders and people still say so."""


def all_settings(config: Any) -> dict[str, Any]:
    """Name -> value of every setting of a config, those inside of value objects by dotted names."""
    return _by_name(config, lambda config, field: getattr(config, field.name))


def setting_types(config: Any) -> dict[str, Any]:
    """Name -> type of every setting, by the names of `all_settings`."""
    return _by_name(config, lambda config, field: typing.get_type_hints(type(config))[field.name])


def _by_name(config: Any, give: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}": each for name, each in _by_name(value, give).items()}
        else:
            found[field.name] = give(config, field)
    return found


def former_names(config: Any) -> dict[str, str]:
    """Names that settings of the optimiser had before `OptimSpec`, and still may be given by -> their own."""
    if not isinstance(getattr(config, "optim", None), OptimSpec):
        return {}
    other = {"epsilon": "eps", "beta1": "betas", "beta2": "betas", "text_rate": "groups"}
    names = dict.fromkeys(_FORMER) | other
    return {name: f"optim.{now or name}" for name, now in names.items() if name not in _fields(config)}


def change_settings(config: Any, overrides: Mapping[str, Any], owner: str) -> Any:
    """The config with some settings changed.

    Args:
        config: a dataclass of settings.
        overrides: name -> value, the name being a field, a dotted name (`optim.learning_rate`) or a former one
            (`learning_rate`); of a field that holds a value object a mapping of what changes in it, too. Lists may
            stand for tuples, as in JSON.
        owner: whose settings they are, for messages.

    Raises:
        DeixisError: there is no such setting, or no such value of it.
    """
    whole: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    hints, known = typing.get_type_hints(type(config)), {*_fields(config), *all_settings(config)}
    for name, value in _renamed(config, overrides).items():
        field, dot, rest = name.partition(".")
        if name not in known:
            raise _unknown(config, name, owner)
        if dot:
            inside.setdefault(field, {})[rest] = value
        elif isinstance(value, Mapping) and dataclasses.is_dataclass(getattr(config, field)):
            inside.setdefault(field, {}).update(value)
        else:
            whole[field] = _value(hints[field], value, f"{owner} has no {field}")
    config = dataclasses.replace(config, **whole)
    parts = {field: change_settings(getattr(config, field), each, f"{owner}.{field}") for field, each in inside.items()}
    return dataclasses.replace(config, **parts)


def _fields(config: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(config)}


def _renamed(config: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides by the names that settings have now."""
    found: dict[str, Any] = {}
    former = former_names(config)
    for name, value in overrides.items():
        if name not in former:
            found[name] = value
        elif name == "text_rate":
            found["optim.groups"] = () if value == 1 else (OptimGroup("encoder.text_tower.", scale=float(value)),)
        elif name in ("beta1", "beta2"):
            first, second = found.get("optim.betas", config.optim.betas)
            found["optim.betas"] = (value, second) if name == "beta1" else (first, value)
        else:
            found[former[name]] = value
    return found


def _value(hint: Any, value: Any, refusal: str) -> Any:
    """The value as a field of this type takes it.

    Raises:
        DeixisError: it is none of the choices that there are, or no number.
    """
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal and value not in kinds:
        *most, last = map(str, kinds)
        raise DeixisError(f"{refusal} {value!r}.", f"Choose {', '.join(most)} or {last}.")
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DeixisError(f"{refusal} {value!r}.", "Give a number.")
        return float(value)
    kind = next((each for each in (hint, *kinds) if dataclasses.is_dataclass(each)), None)
    if kind is not None and isinstance(value, Mapping):
        return _made(kind, value)
    several = next((each for each in (hint, *kinds) if typing.get_origin(each) is tuple), None)
    if several is not None and isinstance(value, list | tuple):
        kind = typing.get_args(several)[0]
        return tuple(_made(kind, each) if isinstance(each, Mapping) else _fixed(each) for each in value)
    return value


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    """A value object from plain values."""
    hints, name = typing.get_type_hints(kind), kind.__name__
    unknown = [key for key in values if key not in hints]
    if unknown:
        raise DeixisError(f"{name} has no {unknown[0]!r}.", f"It has {', '.join(hints)}.")
    return kind(**{key: _value(hints[key], each, f"{name} has no {key}") for key, each in values.items()})


def _fixed(value: Any) -> Any:
    """Lists as tuples, however deep."""
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def _unknown(config: Any, name: str, owner: str) -> DeixisError:
    names = all_settings(config)
    ends = {each.rpartition(".")[2]: each for each in names}
    near = difflib.get_close_matches(name, [*names, *ends], n=2)
    said = list(dict.fromkeys(ends.get(each, each) for each in near)) or sorted(names)
    return DeixisError(f"{owner} has no setting {name!r}.", f"Its settings include {', '.join(said)}.")
