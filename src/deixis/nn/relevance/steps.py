"""Steps of a network through which relevance flows back: a forward as it is, and a backward that is a rule.

Autograd carries relevance in the place of gradients. What only moves numbers about (views, transpositions, indexing)
needs nothing: its gradient is the right relevance. Everything else becomes a `Step`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.nn.relevance.rules import Affine, Rule, stabilise

__all__ = ["Step", "affine", "attach", "linear", "passing", "product", "softmax"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        output: what comes out.
        inputs: the tensors that relevance flows back to.
        back: relevance of the output -> relevance of each input.
    """

    output: Float[Tensor, "..."]
    inputs: tuple[Float[Tensor, "..."], ...]
    back: Callable[[Tensor], Sequence[Tensor]]


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, *inputs: Tensor) -> Tensor:
        ctx.step = step
        return step.output.detach()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:  # type: ignore[override]
        return None, *ctx.step.back(relevance)


def attach(step: Step) -> Float[Tensor, "..."]:
    """The step's output, from which relevance flows back by the step's rule."""
    found: Tensor = _Attach.apply(step, *step.inputs)  # type: ignore[no-untyped-call]
    return found


def linear(
    function: Callable[..., Tensor], inputs: Sequence[Float[Tensor, "..."]], epsilon: float, share: int = 1
) -> Float[Tensor, "..."]:
    """A function that is linear in its inputs together, or in each of `share` of them alone, by the epsilon rule.

        R_x = x J^T (R / stab(share y))

    Args:
        function: of the inputs.
        inputs: those that relevance flows to; what else the function adds keeps its part, as a bias does.
        epsilon: of the rule.
        share: 1 for sums; for products (AttnLRP, Achtibat et al. 2024, equation 13) how many factors share.
    """
    leaves = tuple(each.detach().requires_grad_() for each in inputs)
    with torch.enable_grad():
        output = function(*leaves)

    def back(relevance: Tensor) -> Sequence[Tensor]:
        weighed = relevance / stabilise(share * output.detach(), epsilon)
        found = torch.autograd.grad(output, leaves, weighed, retain_graph=True)
        return [leaf.detach() * each for leaf, each in zip(leaves, found, strict=True)]

    return attach(Step(output, tuple(inputs), back))


def product(
    left: Float[Tensor, "..."], right: Float[Tensor, "..."], epsilon: float, function: Callable[..., Tensor]
) -> Float[Tensor, "..."]:
    """A product of two tensors, each of which gets half where both carry relevance."""
    if not right.requires_grad:
        return linear(lambda x: function(x, right), [left], epsilon)
    if not left.requires_grad:
        return linear(lambda x: function(left, x), [right], epsilon)
    return linear(function, [left, right], epsilon, share=2)


def passing(output: Float[Tensor, "..."], x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A function of each element alone: the relevance stays where it is."""
    return attach(Step(output, (x,), lambda relevance: (relevance,)))


def softmax(scores: Float[Tensor, "..."], dim: int, mask: Float[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
    """The softmax s of x, to first order: R_x = x (R - s sum R) (AttnLRP, Achtibat et al. 2024, equation 11).

    The expansion has a constant, which takes up relevance; the sum is not kept here.

    Args:
        scores: x.
        dim: over which the weights sum to 1.
        mask: added to the scores; a constant, it gets no relevance.
    """
    x = scores.detach()
    weights = (x if mask is None else x + mask).softmax(dim)
    x = x.masked_fill(x.isinf(), 0)  # where nothing is let through, by a mask added before

    def back(relevance: Tensor) -> Sequence[Tensor]:
        return (x * (relevance - weights * relevance.sum(dim, keepdim=True)),)

    return attach(Step(weights, (scores,), back))


def affine(layer: Affine, output: Float[Tensor, "..."], x: Float[Tensor, "..."], rule: Rule) -> Float[Tensor, "..."]:
    """An affine layer under a rule; `x` is the layer's input with its history."""
    return attach(Step(output, (x,), lambda relevance: (rule(layer, output, relevance),)))
