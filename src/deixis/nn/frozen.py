"""Parts that stay as they are: no gradient, eval mode, whatever the method around them does."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, TypeVar, cast

from torch import nn

__all__ = ["freeze", "is_frozen", "unfreeze"]

M = TypeVar("M", bound=nn.Module)


class _Frozen:
    """Mixed into the class of a frozen module: `train()` of whatever holds it does not reach it."""

    def train(self, mode: bool = True) -> Any:
        return super().train(False)  # type: ignore[misc]

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        return super().requires_grad_(False)  # type: ignore[misc]

    def __reduce__(self) -> tuple[Any, ...]:
        # The class below has no name that a pickle could find; this serves deepcopy, too.
        return _blank, (type(self).__mro__[2],), self.__dict__


@functools.cache
def _frozen_class(cls: Any) -> Any:
    return type(f"Frozen{cls.__name__}", (_Frozen, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _blank(cls: Any) -> Any:
    """A frozen module of `cls` with nothing in it yet."""
    frozen = _frozen_class(cls)
    return frozen.__new__(frozen)


def freeze(module: M) -> M:
    """Freezes `module` in place and returns it: its parameters need no gradient and it stays in eval mode, through
    `train()` of a parent and through `copy.deepcopy`; the keys of its state do not change."""
    if not is_frozen(module):
        module.requires_grad_(False)
        module.eval()
        module.__class__ = _frozen_class(cast(Hashable, type(module)))
    return module


def unfreeze(module: M) -> M:
    """Undoes `freeze` in place: parameters need gradients again and the mode follows the parent; what was frozen inside
    it by itself stays so."""
    if is_frozen(module):
        module.__class__ = type(module).__mro__[2]
        module.requires_grad_(True)
        for inner in module.modules():
            if is_frozen(inner):
                inner.requires_grad_(False)
    return module


def is_frozen(module: nn.Module) -> bool:
    """Whether `freeze` was applied to this very module."""
    return isinstance(module, _Frozen)
