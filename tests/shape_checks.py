"""Every call of the package is checked against its signature: types, and shapes of arrays.

jaxtyping's own decorator has each argument checked twice and binds each call to its signature in Python, which took
half of the time of the tests. Here beartype checks a function once, and only a signature that names axes gets the
context in which their sizes are compared.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping

__all__ = ["check_shapes"]

_check_types = beartype.beartype(conf=beartype.BeartypeConf(violation_type=jaxtyping.TypeCheckError))
_jaxtyped = jaxtyping.jaxtyped
_axis_sizes = _jaxtyped("context")
_evaluated: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
"""Of each module: its names, and its annotations, most of which stand there many times."""


def check_shapes(package: str) -> Any:
    """Checks all functions of `package`, which must not have been imported yet, at each of their calls.

    What is returned has `uninstall()`.

    What checks a function is made at its first call: made at import, for thousands of functions of which a test calls
    few, it took most of the time to collect the tests.
    """

    def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            if isinstance(function, type):
                if dataclasses.is_dataclass(function) and not hasattr(function.__init__, "checks_shapes"):
                    function.__init__ = _checked_later(function.__init__)  # type: ignore[method-assign]
                return function
            if inspect.iscoroutinefunction(function):
                return _jaxtyped(function, typechecker=typechecker)
            return _checked_later(function)

        return decorate

    jaxtyping.jaxtyped = jaxtyped  # the hook writes `@jaxtyping.jaxtyped(...)` above each function
    return jaxtyping.install_import_hook(package, "beartype.beartype")


def _checked_later(function: Callable[..., Any]) -> Callable[..., Any]:
    checked: Callable[..., Any] | None = None
    settings = jaxtyping.config

    @functools.wraps(function)
    def first(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked
        if settings.jaxtyping_disable:
            return function(*args, **kwargs)
        if checked is None:
            checked = _checked(function)
        return checked(*args, **kwargs)

    first.checks_shapes = True  # type: ignore[attr-defined]
    return first


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(function):  # beartype would check its arguments no sooner than at the first value
        return _jaxtyped(function, typechecker=_check_types)
    hints = _hints(function)
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, hints
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    check = _check_types(copy)
    if not any(map(_has_shape, hints.values())):
        return check

    def within(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with _axis_sizes:
            return check(*args, **kwargs)

    return within


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, and `Any` for what is imported for type checkers only."""
    namespace = function.__globals__
    _, known = _evaluated.setdefault(id(namespace), (namespace, {}))
    hints = {}
    for name, hint in function.__annotations__.items():
        if isinstance(hint, str):
            if hint not in known:
                known[hint] = _hint(hint, namespace)
            hint = known[hint]
        hints[name] = hint
    return hints


def _hint(text: str, namespace: dict[str, Any]) -> Any:
    try:
        return eval(text, namespace)
    except NameError:
        return Any


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_shape, typing.get_args(hint)))
