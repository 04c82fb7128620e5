"""One step of gradient descent on all weights of a network, taken back at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.taps import eval_with_grad

__all__ = ["inner_step"]


@contextlib.contextmanager
def inner_step(model: nn.Module, loss: Callable[[], Float[Tensor, ""]], rate: float) -> Iterator[None]:
    """One step of gradient descent on all weights, taken back at the end: theta - rate * d loss / d theta.

    In eval mode: running statistics stay. The weights themselves are put aside, not recomputed, so that they come back
    bit for bit.

    Args:
        model: whose weights.
        loss: computes what is descended.
        rate: size of the step; below 0 it ascends.
    """
    weights = [value for value in model.parameters() if value.is_floating_point()]
    kept = [value.data for value in weights]
    with eval_with_grad(model, gradients=True):
        found = torch.autograd.grad(loss(), weights, allow_unused=True)
        moved = [old if g is None else old - rate * g for old, g in zip(kept, found, strict=True)]
    try:
        for value, new in zip(weights, moved, strict=True):
            value.data = new
        yield
    finally:
        for value, old in zip(weights, kept, strict=True):
            value.data = old
