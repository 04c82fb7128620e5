"""Every call of the package is checked against its signature: types, and shapes of arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping

__all__ = ["check_shapes"]


def check_shapes(package: str) -> None:
    """Checks all functions of `package`, which must not have been imported yet, at each of their calls.

    What checks a function is made at its first call: made at import, for thousands of functions of which a test calls
    few, it took most of the time to collect the tests.
    """
    eagerly = jaxtyping.jaxtyped

    def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
        check = eagerly(typechecker=typechecker)

        def decorate(function: Any) -> Any:
            if isinstance(function, type) or inspect.iscoroutinefunction(function):
                return check(function)
            return _checked_later(function, check)

        return decorate

    jaxtyping.jaxtyped = jaxtyped  # the hook writes `@jaxtyping.jaxtyped(...)` above each function
    jaxtyping.install_import_hook(package, "beartype.beartype")


def _checked_later(function: Callable[..., Any], check: Callable[[Any], Any]) -> Callable[..., Any]:
    checked: Callable[..., Any] | None = None

    @functools.wraps(function)
    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked is None:
            checked = check(function)
        return checked(*args, **kwargs)

    return first
