"""Eval mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from deixis.types.protocols import TorchModule

__all__ = ["evaluating"]


@contextlib.contextmanager
def evaluating(module: TorchModule) -> Iterator[None]:
    """Eval mode; afterwards every module inside has the mode that it had, each its own."""
    modes = [(each, each.training) for each in module.modules()]
    try:
        if any(mode for _, mode in modes):
            module.eval()
        yield
    finally:
        for each, mode in modes:
            each.training = mode
