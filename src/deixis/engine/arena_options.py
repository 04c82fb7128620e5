"""Options of an arena: a dataclass whose fields are their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from deixis.errors import DeixisError

__all__ = ["options_of"]

Options = TypeVar("Options")


def options_of(kind: type[Options], arena: str, options: Mapping[str, Any]) -> Options:
    """The options of an arena, from those that a claim names.

    Args:
        kind: the dataclass.
        arena: its name.
        options: name -> value; what is left out is as it is by default.

    Raises:
        DeixisError: there is no such option.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in options:
        if key not in known:
            raise DeixisError(f"The arena {arena!r} has no option {key!r}.", f"Its options are: {', '.join(known)}.")
    return kind(**options)
