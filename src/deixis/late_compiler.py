"""torchvision and timm without torch's compiler, until that is used.

Both ask `torch._dynamo` for a small function while they are imported: whether an operation can be compiled
(torchvision's `roi_align`), and a decorator that keeps a function from being compiled (a model of timm). To import it
takes about as long as torch itself, and most commands never compile anything. So while either of the two is imported,
a stand-in answers: its functions import the compiler when they are called. Whatever else is wanted of it gets the real
one at once, and where that goes wrong the library is imported as it is.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # this is loaded with `import deixis`, which takes as long as Python takes to start
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["COMPILER", "install"]

COMPILER = "torch._dynamo"
_LIBRARIES = ("torchvision", "timm")


def install() -> None:
    """Watches for the first import of the two libraries."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]


class _Finder:
    """Finds the libraries where they are, and has them imported beside the stand-in."""

    def __init__(self) -> None:
        self._inside = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder` has it."""
        if name not in _LIBRARIES or self._inside or COMPILER in sys.modules:
            return None
        from importlib.util import find_spec  # `import deixis` does without

        self._inside = True
        try:
            spec = find_spec(name)
        finally:
            self._inside = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a library beside the stand-in, and then leaves it to its own loader.

    Args:
        own: the library's.
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As its own does."""
        module: ModuleType | None = self._own.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs the library; once more without the stand-in, if that is what it minds."""
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        before = set(sys.modules)
        _stand_in()
        try:
            self._own.exec_module(module)
        except Exception:
            for name in set(sys.modules) - before:
                if name.partition(".")[0] == module.__name__:
                    del sys.modules[name]
            _withdraw()
            self._own.exec_module(module)
        finally:
            _withdraw()


class _StandIn(type(sys)):  # type: ignore[misc]
    """A module with a few functions; whatever else is wanted of it is the real one's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _stand_in() -> None:
    """Puts modules with the two functions where the compiler would be."""
    for name, function in ((COMPILER, disable), (f"{COMPILER}.utils", is_compile_supported)):
        module = _StandIn(name)
        module.__dict__.update({function.__name__: function, "__path__": []})
        sys.modules[name] = module


def _withdraw() -> None:
    """Takes the stand-in away; the next import of the compiler finds it."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
        del sys.modules[name]


def _real(name: str = "") -> ModuleType:
    import importlib

    _withdraw()
    return importlib.import_module(name or COMPILER)


def is_compile_supported(device_type: str) -> bool:
    """Of `torch._dynamo.utils`: asks the compiler.

    Args:
        device_type: as there.
    """
    return bool(_real(f"{COMPILER}.utils").is_compile_supported(device_type))


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """Of `torch._dynamo`: a function as it is, until the compiler is there; then one that it leaves alone.

    Args:
        fn: the function; None: this is a decorator.
        recursive: as there.
        **options: as there.
    """
    import functools

    if fn is None:
        return functools.partial(disable, recursive=recursive, **options)
    known: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def late(*arguments: Any, **named: Any) -> Any:
        if COMPILER not in sys.modules:
            return fn(*arguments, **named)
        if not known:
            known.append(_real().disable(fn, recursive, **options))
        return known[0](*arguments, **named)

    return late
