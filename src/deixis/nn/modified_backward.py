"""Other backward passes for the same forward pass: a table says which functions pass back something else.

    with Rewritten(GUIDED):
        output = model(images)        # the numbers are the same, the gradients are not

The table's keys are torch's functions, not modules, so that `nn.ReLU` and `F.relu` are one entry and nothing in the
model is replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deixis.errors import DeixisError

__all__ = ["EXCITATION", "GUIDED", "BackwardRules", "Rewritten"]

Rule = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Tensor]
SMALL = 1e-20


@dataclasses.dataclass(frozen=True)
class BackwardRules:
    """Rules by function.

    Attributes:
        name: of the backward pass, for messages.
        rules: function of torch -> rule, which is given the function and its arguments and gives its value.
        plain: names of functions that keep their own gradient; None: all others do.
    """

    name: str
    rules: Mapping[Callable[..., Any], Rule]
    plain: frozenset[str] | None = None


class Rewritten(TorchFunctionMode):
    """While it is entered, functions follow the table.

    Raises:
        DeixisError: at the end, no function of the table was called; or at once, a function has no rule.

    Args:
        table: the rules.
    """

    def __init__(self, table: BackwardRules) -> None:
        super().__init__()
        self.table, self._used = table, False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = self.table.rules.get(func)
        if rule is not None:
            self._used = True
            return rule(func, args, kwargs or {})
        found = func(*args, **(kwargs or {}))
        name, plain = getattr(func, "__name__", str(func)), self.table.plain
        if plain is not None and name not in plain and isinstance(found, Tensor) and found.requires_grad:
            raise DeixisError(
                f"{self.table.name} has no rule for {name!r}, which this model computes with.",
                "Take a map that needs plain gradients, such as norm_grad.",
            )
        return found

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        super().__exit__(kind, value, trace)
        if kind is None and not self._used:
            raise DeixisError(
                f"{self.table.name} changes nothing in this model: it has none of the layers that it has rules for.",
                "Take a map that needs plain gradients, such as norm_grad.",
            )


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        return (grad * (values >= 0)).clamp(min=0)


def _guided(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return cast(Tensor, _Guided.apply(args[0] if args else kwargs["input"]))


def _guided_in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return cast(Tensor, args[0]).copy_(cast(Tensor, _Guided.apply(args[0].clone())))


class _Excited(torch.autograd.Function):
    """p_in = x * vjp_f+(p_out / f+(x)), f+ being the function without its negative weights."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[..., Tensor], positive: Callable[..., Tensor]) -> Tensor:
        ctx.save_for_backward(values)
        ctx.positive = positive
        return function(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = values.detach().requires_grad_()
            reached = ctx.positive(leaf)
        (share,) = torch.autograd.grad(reached, leaf, grad / (reached.detach() + SMALL))
        return values * share, None, None


def _weighted(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Convolutions and linear maps: of (input, weight, bias, ...) the weight loses what is negative, the bias goes."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    values, weight, bias, rest = given.pop("input"), given.pop("weight"), given.pop("bias", None), args[3:]
    lifted = weight.detach().clamp(min=0)
    return cast(
        Tensor,
        _Excited.apply(
            values, lambda x: func(x, weight, bias, *rest, **given), lambda x: func(x, lifted, None, *rest, **given)
        ),
    )


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left + right

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        left, right = ctx.saved_tensors
        share = grad / (left + right + SMALL)
        return left * share, right * share


def _added(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A residual sum: each side gets its part."""
    shapes = {value.shape if isinstance(value, Tensor) else None for value in args}
    if kwargs or len(shapes) != 1:
        raise DeixisError(
            "Excitation backpropagation has no rule for sums of unlike shapes, which this model computes with.",
            "Take a map that needs plain gradients, such as norm_grad.",
        )
    return cast(Tensor, _Added.apply(*args))


def _mean(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    def function(values: Tensor) -> Tensor:
        return cast(Tensor, func(values, *args[1:], **kwargs))

    return cast(Tensor, _Excited.apply(args[0], function, function))


def _unchanged(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The function's value, with what comes back handed to its input as it is."""
    found = func(*args, **kwargs).detach()
    return found + (args[0] - args[0].detach())


GUIDED = BackwardRules(
    "Guided backpropagation",
    {
        **dict.fromkeys((F.relu, torch.relu, Tensor.relu), _guided),
        **dict.fromkeys((torch.relu_, Tensor.relu_), _guided_in_place),
    },
)
"""Springenberg et al. 2015: a ReLU passes back only what is positive, where its input was not negative."""

EXCITATION = BackwardRules(
    "Excitation backpropagation",
    {
        **dict.fromkeys((F.conv2d, F.linear), _weighted),
        **dict.fromkeys((F.adaptive_avg_pool2d, F.avg_pool2d, torch.mean, Tensor.mean), _mean),
        **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__iadd__, Tensor.add_), _added),
        F.batch_norm: _unchanged,
    },
    frozenset(
        "relu relu_ max_pool2d boolean_dispatch _max_pool2d dropout flatten reshape view squeeze unsqueeze contiguous "
        "clone detach requires_grad_ __get__ to".split()
    ),
)
"""Zhang et al. 2018: each unit hands its share to those that excite it, in proportion to activation and weight."""
