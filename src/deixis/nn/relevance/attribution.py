"""The relevance of an input, and of hidden layers, for a score."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.relevance.rules import RULES, Rules
from deixis.nn.relevance.steps import Step, attach
from deixis.nn.relevance.trace import Tracer
from deixis.nn.taps import eval_with_grad, taps
from deixis.ops.precision import to_float32

__all__ = ["Relevance", "relevance"]

HALF = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True)
class Relevance:
    """What carried a score.

    Attributes:
        scores: [B], or [B, K] where K scores were asked.
        input: like the input; for token numbers [B, L], the sum over each word embedding. With K scores there is an
            axis K behind B.
        layers: module name -> relevance like the module's output, in the same form.
    """

    scores: Float[Tensor, "..."]
    input: Float[Tensor, "..."]
    layers: Mapping[str, Float[Tensor, "..."]]


def relevance(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."] | Int64[Tensor, "B L"],
    score: Callable[[Any], Tensor],
    *,
    rules: Rules | str = "epsilon_plus",
    layers: Sequence[str] = (),
    forward: Callable[..., Any] | None = None,
    mask: Bool[Tensor, "B L"] | None = None,
) -> Relevance:
    """Relevance of the inputs for a score. Mode and weights are as before afterwards.

    Weights in half precision are copied to 32 bits, as relevance underflows in 16.

    Args:
        model: any network; it is run in eval mode.
        inputs: images or other numbers; token numbers, whose first embedding then is where relevance ends.
        score: the model's output -> [B], or [B, K] for several scores that share the forward pass.
        rules: a set, or the name of one in `RULES`.
        layers: names of modules whose outputs are asked for besides.
        forward: what to call on the inputs in place of the model, say one of its methods.
        mask: of token numbers, given on as `mask`: true where a token is real.

    Raises:
        DeixisError: there is no such set or layer; the model cannot be watched; relevance reached a function that has
            no rule; the score does not depend on the input.
    """
    chosen = _rules(rules)
    _require_plain(model)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        if any(parameter.dtype in HALF for parameter in model.parameters()):
            model, forward = _in_32_bits(model, forward)
        words = not inputs.is_floating_point()
        x = inputs.clone() if words else to_float32(inputs.detach().clone()).requires_grad_()
        tracer = Tracer(model, chosen, words)
        with eval_with_grad(model, gradients=False), taps(model, layers) as tapped:
            with tracer.watching():
                output = (forward or model)(x, **({} if mask is None else {"mask": mask}))
            _require_rules(output)
            ends = {"": tracer.embedded if words else x, **{name: tapped.activation(name) for name in layers}}
            return _collected(score(_started(output)), ends, inputs)


def _collected(scores: Tensor, ends: Mapping[str, Tensor | None], inputs: Tensor) -> Relevance:
    """Relevance at the input, whose name is empty, and at the layers, for each column of the scores."""
    reached = {name: each for name, each in ends.items() if each is not None}
    if "" not in reached or not scores.requires_grad or scores.ndim not in (1, 2):
        raise DeixisError(
            f"The score, of shape {list(scores.shape)}, does not depend on the input, or is not [B] or [B, K].",
            "Let it be a function of the model's output, and the model one that passes gradients on.",
        )
    rows = []
    for column in (scores[:, None] if scores.ndim == 1 else scores).unbind(1):
        found = torch.autograd.grad(column.sum(), list(reached.values()), retain_graph=True, allow_unused=True)
        rows.append([_reached(name, each) for name, each in zip(ends, found, strict=True)])
    several = [torch.stack(each, dim=1) for each in zip(*rows, strict=True)]
    first, *others = several if scores.ndim > 1 else [each[:, 0] for each in several]
    if not inputs.is_floating_point():
        first = _per_token(first.sum(-1), inputs.shape[-1])
    return Relevance(scores.detach(), first, dict(zip(list(ends)[1:], others, strict=True)))


def _reached(layer: str, found: Tensor | None) -> Tensor:
    if found is None:
        what = f"the output of {layer!r}" if layer else "the input"
        raise DeixisError(
            f"No relevance passes through {what}.",
            "Name the batch norm behind a convolution, which is folded into it, or a layer that the score depends on.",
        )
    return found


def _per_token(found: Tensor, length: int) -> Tensor:
    """As many as there are tokens: a tower may leave out, or add, padding at the end."""
    return torch.nn.functional.pad(found, (0, max(length - found.shape[-1], 0)))[..., :length]


def _started(output: Any) -> Any:
    """The output, from which relevance starts as its value times the gradient that comes."""

    def start(value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        known = value.detach()
        return attach(Step(known, (value,), lambda gradient: (known * gradient,)))

    return _mapped(output, start)


def _mapped(output: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same structure (tuples, dictionaries, dataclasses) with a function of each tensor."""
    if isinstance(output, Tensor):
        return function(output)
    if dataclasses.is_dataclass(output) and not isinstance(output, type) and not isinstance(output, Mapping):
        fields = {each.name: _mapped(getattr(output, each.name), function) for each in dataclasses.fields(output)}
        return dataclasses.replace(output, **fields)
    if isinstance(output, Mapping):
        mapped = {key: _mapped(value, function) for key, value in output.items()}
        return mapped if type(output) is dict else type(output)(**mapped)
    if isinstance(output, tuple | list):
        values = [_mapped(value, function) for value in output]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    return output


def _rules(rules: Rules | str) -> Rules:
    if isinstance(rules, Rules):
        return rules
    if rules not in RULES:
        raise DeixisError(f"There is no set of rules {rules!r}.", f"There are: {', '.join(RULES)}.")
    return RULES[rules]


def _require_plain(model: nn.Module) -> None:
    """Refuses what hides the functions a network calls; what taps refuse is refused there."""
    for name, module in model.named_modules():
        if getattr(module, "grad_checkpointing", False) is True:
            raise DeixisError(
                f"{f'The module {name!r}' if name else 'The model'} runs with activation checkpointing.",
                "Turn it off: model.set_grad_checkpointing(False).",
            )


def _require_rules(output: Any) -> None:
    """Refuses functions of the user's own making (torch.autograd.Function), which no table can see."""
    waiting: list[Any] = []
    _mapped(output, lambda each: waiting.append(each.grad_fn) or each)  # type: ignore[func-returns-value]
    waiting = [each for each in waiting if each is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        name = node.name()
        if not name[-1].isdigit() and name.endswith("Backward") and name != "_AttachBackward":
            raise DeixisError(
                f"Relevance has no rule for the autograd function {name.removesuffix('Backward')}.",
                "Use --method normgrad, which needs no rules, or a model without it (checkpointing is one, too).",
            )
        fresh = {each for each, _ in node.next_functions if each is not None} - seen
        seen |= fresh
        waiting.extend(fresh)


def _in_32_bits(model: nn.Module, forward: Callable[..., Any] | None) -> tuple[nn.Module, Callable[..., Any] | None]:
    """A copy in 32 bits, and the same method of the copy."""
    owner = getattr(forward, "__self__", None)
    if forward is not None and owner is not model:
        raise DeixisError("The model is in half precision.", "Explain a copy in 32 bits: model.float().")
    copied = copy.deepcopy(model).float()
    return copied, None if forward is None else getattr(copied, forward.__name__)
