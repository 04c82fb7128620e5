"""Settings of a method as a user types them: name=value."""

from __future__ import annotations

import ast
import typing
from collections.abc import Sequence
from typing import Any

from deixis.errors import DeixisError
from deixis.methods import all_settings, former_names, read, setting_types

__all__ = ["parse_overrides"]


def parse_overrides(method: str, texts: Sequence[str], preset: str) -> dict[str, Any]:
    """The settings that `texts` change, of the types that they have in the preset.

    Args:
        method: its name.
        texts: such as `optim.learning_rate=1e-4`; words, numbers, true and false, lists with commas.
        preset: whose values tell the types.

    Raises:
        DeixisError: a text is no assignment, there is no such setting, or the value is of another type.
    """
    config = read(method).config
    shown = getattr(config, preset)() if preset in ("tiny", "desk", "paper") else config.desk()
    held, kinds, former = all_settings(shown), setting_types(shown), former_names(shown)
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name.strip():
            raise DeixisError(
                f"--set {text!r} sets nothing.", "Write it as name=value, such as optim.learning_rate=1e-4."
            )
        name = name.strip().replace("-", "_")
        now = former.get(name, name)
        # An unknown name is an error of `configure`, which suggests near ones; a former one may mean part of a setting.
        known = now in held and not (now != name and isinstance(held[now], tuple))
        found[name] = _value(name, value.strip(), held[now], kinds[now]) if known else _literal(value.strip())
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _value(name: str, text: str, old: Any, kind: Any) -> Any:
    if isinstance(old, str):
        return text
    new = _literal(text)
    if isinstance(old, int) and float in typing.get_args(kind):
        old = float(old)
    if isinstance(old, tuple):
        return tuple(new) if isinstance(new, list | tuple) else (new,)
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        new = float(new)
    if type(new) is not type(old) and old is not None:
        kinds = {bool: "true or false", int: "a whole number", float: "a number"}
        wanted = kinds.get(type(old), f"of the kind of {old!r}")
        raise DeixisError(f"--set {name}={text} is {new!r}, and {wanted} is expected.", f"It is {old!r} in the preset.")
    return new
