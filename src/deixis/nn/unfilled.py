"""Networks of other packages without values, for weights that are read from a file next."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["Unfilled"]

_DRAWS = frozenset(
    "normal_ uniform_ trunc_normal_ erfinv_ kaiming_uniform_ kaiming_normal_ xavier_uniform_ xavier_normal_ "
    "orthogonal_ bernoulli_ exponential_".split()
)


class Unfilled(TorchFunctionMode):
    """A context in which no random numbers are drawn: a network that is built in it takes no time to initialise and
    leaves the global generator as it was, and its tables (of positions, say) are computed as always."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes everything on but draws."""
        if getattr(func, "__name__", "") in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
