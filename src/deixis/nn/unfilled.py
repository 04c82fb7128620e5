"""Networks of other packages without random weights, where weights are read from a file next."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]

_DRAWS = frozenset(
    "normal_ uniform_ trunc_normal_ kaiming_uniform_ kaiming_normal_ xavier_uniform_ xavier_normal_ orthogonal_ "
    "bernoulli_ exponential_".split()
)


class Unfilled(TorchFunctionMode):
    """A context in which 0 is put where random numbers would be drawn: a network that is built in it takes little time
    to initialise and leaves the global generator as it was, and its tables (of positions, say) are computed as always.

    Zeros, and not what lay in memory: some functions draw again until all numbers lie between two bounds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes everything on but draws."""
        if getattr(func, "__name__", "") not in _DRAWS:
            return func(*args, **(kwargs or {}))
        with torch.no_grad():
            return (args[0] if args else (kwargs or {})["tensor"]).zero_()
