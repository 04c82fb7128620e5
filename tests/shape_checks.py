"""Every call of the package is checked against its signature: types, and shapes of arrays.

jaxtyping's own decorator has each argument checked twice and binds each call to its signature in Python, which took
half of the time of the tests. Here each value is checked once: most are instances of a class or arrays of some axes,
which is seen at once. All else, and whatever is not as it should be, is left to beartype, asked by annotation and not
by function: most functions share theirs with others, and to write a check takes it longer than most calls.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import beartype
import jaxtyping
from jaxtyping._storage import _shape_storage, pop_shape_memo, push_shape_memo

__all__ = ["check_shapes"]

Check = Callable[[Any], None]
_check_types = beartype.beartype(conf=beartype.BeartypeConf(violation_type=jaxtyping.TypeCheckError))
_jaxtyped = jaxtyping.jaxtyped
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
                    function.__init__ = _checked(function.__init__)  # type: ignore[method-assign]
                return function
            if inspect.iscoroutinefunction(function):
                return _jaxtyped(function, typechecker=typechecker)
            return _checked(function)

        return decorate

    jaxtyping.jaxtyped = jaxtyped  # the hook writes `@jaxtyping.jaxtyped(...)` above each function
    return jaxtyping.install_import_hook(package, "beartype.beartype")


class _Annotation(NamedTuple):
    """What a value must be: of one of some classes, or what a check lets pass."""

    kinds: Any
    check: Check


class _Signature(NamedTuple):
    """What arguments by place must be and further ones, those by name and further ones, and what is returned."""

    places: tuple[_Annotation, ...]
    more_places: _Annotation
    names: dict[str, _Annotation]
    more_names: _Annotation
    returned: _Annotation
    shaped: bool


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:  # noqa: C901
    signature: _Signature | None = None
    settings = jaxtyping.config

    # All in one frame: there are more calls of this than of anything else.
    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:  # noqa: C901
        __tracebackhide__ = True
        nonlocal signature
        if settings.jaxtyping_disable:
            return function(*args, **kwargs)
        if signature is None:
            signature = _signature(function)
        places, more_places, names, more_names, (kinds_returned, check_returned), shaped = signature
        if shaped:
            push_shape_memo({})
        try:
            for (kinds, check), value in zip(places, args, strict=False):
                if not isinstance(value, kinds):
                    check(value)
            if len(args) > len(places):
                for value in args[len(places) :]:
                    if not isinstance(value, more_places.kinds):
                        more_places.check(value)
            if kwargs:
                for name, value in kwargs.items():
                    kinds, check = names.get(name, more_names)
                    if not isinstance(value, kinds):
                        check(value)
            value = function(*args, **kwargs)
            if not isinstance(value, kinds_returned):
                check_returned(value)
            return value
        except jaxtyping.TypeCheckError as error:
            if not hasattr(error, "__notes__"):
                error.add_note(f"in a call of {function.__module__}.{function.__qualname__}")
            raise
        finally:
            if shaped:
                pop_shape_memo()

    checked.checks_shapes = True  # type: ignore[attr-defined]
    return checked


def _signature(function: Callable[..., Any]) -> _Signature:
    hints, code = _hints(function), function.__code__
    anything = _Annotation(object, _passes)
    found = {name: _annotation(hint, name == "return", function.__module__) for name, hint in hints.items()}
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:count]
    extra = list(code.co_varnames[count : count + 2])
    more_places = extra.pop(0) if code.co_flags & inspect.CO_VARARGS else ""
    more_names = extra.pop(0) if code.co_flags & inspect.CO_VARKEYWORDS else ""
    return _Signature(
        tuple(found.get(name, anything) for name in names[: code.co_argcount]),
        found.get(more_places, anything),
        {name: found.get(name, anything) for name in names[code.co_posonlyargcount :]},
        found.get(more_names, anything),
        anything if inspect.isgeneratorfunction(function) else found.get("return", anything),  # it is a generator
        any(map(_has_shape, hints.values())),
    )


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
    return _is_array(hint) or any(map(_has_shape, typing.get_args(hint)))


def _is_array(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)


def _passes(value: Any) -> None:
    """Anything does."""


def _annotation(hint: Any, returned: bool, module: str) -> _Annotation:
    """The same one for all modules, unless a name stands in it that has yet to be looked up there."""
    make = _annotation_of if isinstance(hint, Hashable) else _annotation_of.__wrapped__
    return make(hint, returned, module if "'" in repr(hint) else "")


@functools.cache
def _annotation_of(hint: Any, returned: bool, module: str) -> _Annotation:
    if hint is Any or isinstance(hint, typing.ParamSpecArgs | typing.ParamSpecKwargs):
        return _Annotation(object, _passes)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    choices = typing.get_args(hint) if union else (hint,)
    kinds = tuple(kind for kind in map(_kind, choices) if kind is not None)
    arrays = [each for each in choices if _is_array(each)]
    if len(arrays) == 1 and len(kinds) + 1 == len(choices):
        return _Annotation(kinds, _array_check(arrays[0], _asked_later(hint, returned, module)))
    # What is asked of each value is made at once: then that is all that is called.
    return _Annotation(kinds, (_asked_later if kinds else _asked)(hint, returned, module))


def _kind(hint: Any) -> type | None:
    """The class whose instances an annotation stands for, if that is all."""
    if hint is None:
        return type(None)
    if not isinstance(hint, type) or typing.get_origin(hint) is not None or _is_array(hint):
        return None
    try:
        isinstance(None, hint)
    except TypeError:  # a Protocol, for instance, that is for type checkers alone
        return None
    return hint


def _asked(hint: Any, returned: bool, module: str) -> Check:
    """Has beartype look at the value."""

    def asked(value: Any) -> Any:
        return value

    asked.__annotations__ = {"return" if returned else "value": hint}
    asked.__module__ = module or __name__
    return _check_types(asked)


def _asked_later(hint: Any, returned: bool, module: str) -> Check:
    """The same, made when it is first called, which most are not."""
    asked: Check | None = None

    def check(value: Any) -> None:
        __tracebackhide__ = True
        nonlocal asked
        asked = asked or _asked(hint, returned, module)
        asked(value)

    return check


def _array_check(array: Any, refuse: Check) -> Check:
    """As `isinstance(value, array)`, which does the same for arrays of all libraries and kinds of axes."""
    axes, at = list(map(_axis, array.dims)), array.index_variadic
    several = None if at is None else axes.pop(at)
    plain = array.array_type is not Any and "" not in (*axes, several)
    kinds, dtypes = array.array_type, set()

    def check(value: Any) -> None:
        __tracebackhide__ = True
        if plain and isinstance(value, kinds) and value.dtype in dtypes:
            shape, fits, (sizes, sizes_of_several, *_) = value.shape, True, _shape_storage.memo_stack[-1]
            if at is not None and len(shape) >= len(axes):
                end = at + len(shape) - len(axes)
                size_of_several, shape = (False, shape[at:end]), (*shape[:at], *shape[end:])
                fits = several is None or sizes_of_several.setdefault(several, size_of_several) == size_of_several
            if fits and len(shape) == len(axes):
                for axis, size in zip(axes, shape, strict=False):
                    if axis is None:
                        continue
                    if (sizes.setdefault(axis, size) if axis.__class__ is str else axis) != size:
                        break
                else:
                    return
        if isinstance(value, array):
            dtypes.add(value.dtype)
        else:
            refuse(value)

    return check


def _axis(dim: Any) -> str | int | None:
    """The name or the size of an axis of jaxtyping, or of several; None for any; empty: it is none of these."""
    kind = type(dim).__name__
    if kind in ("_AnonymousDim", "_AnonymousVariadicDim"):
        return None
    if getattr(dim, "broadcastable", True) or getattr(dim, "treepath", None):
        return ""
    if kind in ("_NamedDim", "_NamedVariadicDim"):
        return str(dim.name)
    return int(dim.size) if kind == "_FixedDim" else ""
