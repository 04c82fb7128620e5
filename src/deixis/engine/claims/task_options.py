"""What arenas have in common: options, and, where arms are no runs by steps, curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from deixis.errors import DeixisError

__all__ = ["CurveTask", "options_of"]

Options = TypeVar("Options")


@runtime_checkable
class CurveTask(Protocol):
    """An arena whose curves run over something else than steps of training: images a class, scenes explained."""

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> tuple[tuple[tuple[float, float], ...], float]:
        """What the metric is at each point, ascending; and the seconds that the method took."""

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """About how many seconds a curve takes at the most."""


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
