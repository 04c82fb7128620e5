"""Affine layers as `Affine`: convolutions, linear layers, and batch norms as scalings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad

from deixis.nn.relevance.rules import Affine

__all__ = ["batch_norm", "convolution", "fully_connected", "transposed_convolution"]


@runtime_checkable
class _Bound(Protocol):
    """What is asked of a call: its arguments by name."""

    @property
    def name(self) -> str: ...

    @property
    def function(self) -> Callable[..., Any]: ...

    def bound(self, *names: str) -> dict[str, Any]: ...


_INPUT_OF = {
    "conv1d": grad.conv1d_input,
    "conv2d": grad.conv2d_input,
    "conv3d": grad.conv3d_input,
}


def _by_autograd(apply: Callable[..., Tensor], x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def transpose(s: Tensor, weight: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = torch.zeros_like(x, requires_grad=True)
            return torch.autograd.grad(apply(leaf, weight, None), leaf, s)[0]

    return transpose


def _rows(factor: Tensor, weight: Tensor) -> Tensor:
    return weight * factor.view(-1, *[1] * (weight.ndim - 1))


def convolution(call: _Bound) -> Affine:
    """A convolution; batch norms behind it are folded."""
    given = call.bound("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    settings = {name: given[name] for name in ("stride", "padding", "dilation", "groups") if given[name] is not None}
    x, back = given["input"].detach(), _INPUT_OF[call.name]

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = call.function(x, weight, bias, **settings)
        return found

    def transpose(s: Tensor, weight: Tensor) -> Tensor:
        return back(x.shape, weight, s, **settings)

    by_words = isinstance(settings.get("padding"), str)
    whole = by_words or x.ndim != given["weight"].ndim  # one image without a batch axis
    return Affine(x, given["weight"], given["bias"], apply, _by_autograd(apply, x) if whole else transpose, _rows)


def transposed_convolution(call: _Bound) -> Affine:
    """A transposed convolution; a batch norm behind it stands alone."""
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    given = call.bound("input", "weight", "bias", *names)
    settings = {name: given[name] for name in names if given[name] is not None}
    x = given["input"].detach()

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = call.function(x, weight, bias, **settings)
        return found

    return Affine(x, given["weight"], given["bias"], apply, _by_autograd(apply, x))


def fully_connected(call: _Bound) -> Affine:
    """A linear layer."""
    given = call.bound("input", "weight", "bias")
    x = given["input"].detach()
    return Affine(x, given["weight"], given["bias"], F.linear, lambda s, weight: s @ weight, _rows)


def batch_norm(call: _Bound) -> Affine | None:
    """A batch norm with fixed statistics as a scaling of channels; None where it has none."""
    given = call.bound("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    if given["running_mean"] is None or given["training"]:
        return None
    x = given["input"].detach()
    factor = (given["running_var"] + (1e-5 if given["eps"] is None else given["eps"])).rsqrt()
    factor = factor if given["weight"] is None else factor * given["weight"]
    shift = -given["running_mean"] * factor
    shift = shift if given["bias"] is None else shift + given["bias"]
    channels = (1, -1, *[1] * (x.ndim - 2))

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found = x * weight.view(channels)
        return found if bias is None else found + bias.view(channels)

    return Affine(x, factor, shift, apply, lambda s, weight: s * weight.view(channels))
