"""Functions whose settings are dataclasses take the fields as keywords, too: `adapt(data, splits=3)`."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from deixis.apps.common.options import ComputeSettings
from deixis.errors import DeixisError

__all__ = ["change_settings", "takes_settings"]

T = TypeVar("T")
S = TypeVar("S")


def takes_settings(**kinds: Any) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorates a function so that fields of its settings may be given as keywords of its own, and computes where the
    settings say, if they do.

    Args:
        **kinds: name of an argument -> the dataclass that it takes, which must have a default for each field. The
            function itself need not have the argument, where only what it does to the device counts.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        own = inspect.signature(function)
        fields = {
            field.name: argument
            for argument, kind in kinds.items()
            for field in dataclasses.fields(kind)
            if field.name not in own.parameters
        }

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> T:
            given: dict[str, dict[str, Any]] = {}
            apart = {each: keywords.pop(each, None) for each in kinds if each not in own.parameters}
            for name in [name for name in keywords if name not in own.parameters]:
                if name not in fields:
                    raise _unknown(function.__name__, name, [*own.parameters, *fields])
                given.setdefault(fields[name], {})[name] = keywords.pop(name)
            bound = own.bind(*args, **keywords)
            settings = {
                argument: change_settings(
                    bound.arguments.get(argument) or apart.get(argument) or kind(), given.get(argument, {})
                )
                for argument, kind in kinds.items()
            }
            bound.arguments.update({name: each for name, each in settings.items() if name not in apart})
            with contextlib.ExitStack() as stack:
                for each in settings.values():
                    if isinstance(each, ComputeSettings):
                        stack.enter_context(each.active())
                return function(*bound.args, **bound.kwargs)

        call.__signature__ = own.replace(parameters=_parameters(own, fields, kinds))  # type: ignore[attr-defined]
        return call

    return decorate


def change_settings(settings: S, changes: dict[str, Any]) -> S:
    """Settings with some fields changed; a single value may be given where a field takes several.

    Args:
        settings: a dataclass.
        changes: field -> value.

    Raises:
        DeixisError: there is no such field, or no such choice.
    """
    kinds = typing.get_type_hints(type(settings)) if changes else {}
    for name, value in changes.items():
        if name not in kinds:
            raise _unknown("", name, list(kinds))
        choices = typing.get_args(kinds[name]) if typing.get_origin(kinds[name]) is Literal else ()
        if choices and value not in choices:
            raise DeixisError(f"There is no {name} {value!r}.", f"There are: {', '.join(map(str, choices))}.")
        if typing.get_origin(kinds[name]) is tuple:
            single = isinstance(value, str) or not isinstance(value, Iterable)
            changes = {**changes, name: (value,) if single else tuple(value)}
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def _unknown(function: str, name: str, known: list[str]) -> DeixisError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    said = f"{function} takes no {name!r}." if function else f"There is no setting {name!r}."
    return DeixisError(said, f"{hint}There are: {', '.join(known)}.")


def _parameters(own: inspect.Signature, fields: dict[str, str], kinds: dict[str, Any]) -> list[inspect.Parameter]:
    """Those of the function, then the fields: what `help` shows."""
    defaults = {argument: kind() for argument, kind in kinds.items()}
    rest = [each for each in own.parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    return [
        *(each for each in own.parameters.values() if each not in rest),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults[argument], name))
            for name, argument in fields.items()
        ),
        *rest,
    ]
