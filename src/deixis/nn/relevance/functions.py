"""The table of functions: how relevance passes through each that a network may call.

`ROUTES` only move numbers about and run as they are; `FUNCTIONS` are run as a step with a rule. What stands in neither
is refused, by the name of the module that called it, once relevance reaches it; what no relevance reaches (a confidence
beside the embedding, the denominator of a norm) may be anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.errors import DeixisError
from deixis.nn.relevance import steps
from deixis.nn.relevance.attention import fused_attention, multi_head_attention
from deixis.nn.relevance.layers import batch_norm, convolution, fully_connected, transposed_convolution
from deixis.nn.relevance.rules import Affine, Rule, Rules

__all__ = ["FUNCTIONS", "ROUTES", "Call", "Record", "refuse"]


@dataclasses.dataclass(frozen=True)
class Record:
    """How an output was made: by an affine layer, at this input, under this rule. A batch norm is folded into it."""

    layer: Affine
    x: Tensor
    rule: Rule


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a function by the network.

    Attributes:
        name: of the function, without what marks it as working in place.
        function: itself.
        args: of the call.
        kwargs: of the call.
        place: the module that calls, in words.
        in_place: whether it would write into its input; a copy is taken.
        rules: that hold.
        choose: kind of layer (`convolution`, `linear`, `norm`) -> the rule it has here.
        made: identity of an output -> how it was made.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: str
    in_place: bool
    rules: Rules
    choose: Callable[[str], Rule]
    made: dict[int, tuple[Tensor, Record]]

    @property
    def carriers(self) -> list[Float[Tensor, "..."]]:
        """The arguments that relevance flows back to."""
        return [each for each in _tensors((self.args, self.kwargs)) if each.requires_grad]

    def of(self, *carriers: Float[Tensor, "..."]) -> Any:
        """The function with other tensors in the place of the carriers."""
        values = iter([each.clone() for each in carriers] if self.in_place else carriers)
        args, kwargs = _replaced((self.args, dict(self.kwargs)), lambda each: next(values))
        return self.function(*args, **kwargs)

    def native(self) -> Any:
        """What the function gives, without a history."""
        with torch.no_grad():
            return self.of(*(each.detach() for each in self.carriers))

    def bound(self, *names: str) -> dict[str, Any]:
        """The arguments by name, None where one is not given."""
        return {**dict.fromkeys(names), **dict(zip(names, self.args, strict=False)), **self.kwargs}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _replaced(value: Any, new: Callable[[Tensor], Tensor]) -> Any:
    """The same structure, with what carries relevance replaced, in the order of `_tensors`."""
    if isinstance(value, Tensor):
        return new(value) if value.requires_grad else value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)([_replaced(each, new) for each in value])
    if isinstance(value, dict):
        return {key: _replaced(each, new) for key, each in value.items()}
    return value


def _is_number(value: Any) -> bool:
    return not isinstance(value, Tensor) or (value.ndim == 0 and not value.requires_grad)


def refuse(call: Call) -> Any:
    """Runs the function and raises once relevance comes to it.

    Raises:
        DeixisError: from the backward pass.
    """

    def back(relevance: Tensor) -> Sequence[Tensor]:
        raise DeixisError(
            f"Relevance has no rule for {call.name}(), called by {call.place}.",
            "Use --method normgrad, which needs no rules, or add one to deixis.nn.relevance.FUNCTIONS.",
        )

    def attached(value: Any) -> Any:
        if isinstance(value, Tensor):
            floating = value.is_floating_point()
            return steps.attach(steps.Step(value, tuple(call.carriers[:1]), back)) if floating else value
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)([attached(each) for each in value])
        return value

    return attached(call.native())


def _linear(call: Call) -> Any:
    return steps.linear(call.of, call.carriers, call.rules.epsilon)


def _multilinear(call: Call) -> Any:
    return steps.linear(call.of, call.carriers, call.rules.epsilon, share=len(call.carriers))


def _passing(call: Call) -> Any:
    return steps.passing(call.native(), call.carriers[0]) if len(call.carriers) == 1 else refuse(call)


def _times(call: Call) -> Any:
    return _passing(call) if any(map(_is_number, call.args)) else _multilinear(call)


def _over(call: Call) -> Any:
    """A denominator is a constant, as the deviation of a layer norm is."""
    above, below = call.args[:2]
    if not isinstance(above, Tensor) or not above.requires_grad:
        return refuse(call)
    if _is_number(below):
        return _passing(call)
    below = below.detach()
    return steps.linear(lambda x: x / below, [above], call.rules.epsilon)


def _power(call: Call) -> Any:
    """A power is homogeneous; a root is one, and a negative power would turn large into small."""
    exponent = call.args[1] if len(call.args) > 1 else call.kwargs.get("exponent")
    return _passing(call) if isinstance(exponent, int | float) and exponent > 0 else refuse(call)


def _pooling(call: Call) -> Any:
    with_indices = call.kwargs.get("return_indices") or call.name.endswith("indices")
    return refuse(call) if with_indices else _linear(call)


def _matmul(call: Call) -> Any:
    left, right = call.args[0], call.args[1] if len(call.args) > 1 else call.kwargs.get("other")
    if len(call.carriers) == 1 and left.requires_grad and isinstance(right, Tensor) and right.ndim == 2:
        rule = call.choose("linear")
        layer = Affine(left.detach(), right, None, lambda x, w, b: x @ w, lambda s, w: s @ w.T)
        return steps.affine(layer, call.native(), left, rule)
    return _multilinear(call)


def _layer(build: Callable[..., Affine | None], kind: str) -> Callable[[Call], Any]:
    """An affine layer of the table `layers`."""

    def handler(call: Call) -> Any:
        x = call.args[0] if call.args else call.kwargs["input"]
        if len(call.carriers) > 1 or not x.requires_grad or (layer := build(call)) is None:
            return refuse(call)
        rule = call.choose(kind)
        found = steps.affine(layer, call.native(), x, rule)
        call.made[id(found)] = (found, Record(layer, x, rule))
        return found

    return handler


def _batch_norm(call: Call) -> Any:
    """Folded into the affine layer before it: w' = w g / deviation, b' = (b - mean) g / deviation + beta."""
    x = call.args[0] if call.args else call.kwargs["input"]
    scaling = batch_norm(call)
    if scaling is None or len(call.carriers) > 1:
        return refuse(call)
    _, record = call.made.get(id(x), (None, None))
    output = call.native()
    if record is None or record.layer.scaled is None:
        return steps.affine(scaling, output, x, call.choose("norm"))
    layer, (factor, shift) = record.layer, (scaling.weight, scaling.bias)
    assert shift is not None
    bias = shift if layer.bias is None else layer.bias * factor + shift
    folded = dataclasses.replace(layer, weight=layer.scaled(factor, layer.weight), bias=bias)  # type: ignore[misc]
    return steps.affine(folded, output, record.x, record.rule)


def _frozen_norm(x: Tensor, dims: tuple[int, ...], epsilon: float, centred: bool) -> Tensor:
    """Brings x to mean 0 (if `centred`) and deviation 1 over `dims`, the deviation being a constant."""
    deviation = x.detach().var(dims, correction=0, keepdim=True) if centred else x.detach().square().mean(dims, True)
    moved = x - x.mean(dims, keepdim=True) if centred else x
    return moved * (deviation + epsilon).rsqrt()


def _layer_norm(call: Call) -> Any:
    given = call.bound("input", "normalized_shape", "weight", "bias", "eps")
    dims = tuple(range(-len(given["normalized_shape"]), 0))
    centred = call.name == "layer_norm"
    epsilon = given["eps"] if given["eps"] is not None else (1e-5 if centred else torch.finfo(given["input"].dtype).eps)
    if not centred:  # rms_norm has no bias, and its fourth argument is epsilon
        epsilon, given["bias"] = call.bound("input", "normalized_shape", "weight", "eps")["eps"] or epsilon, None

    def function(x: Tensor) -> Tensor:
        found = _frozen_norm(x, dims, epsilon, centred)
        found = found if given["weight"] is None else found * given["weight"]
        return found if given["bias"] is None else found + given["bias"]

    return steps.linear(function, [given["input"]], call.rules.epsilon)


def _group_norm(call: Call) -> Any:
    given = call.bound("input", "num_groups", "weight", "bias", "eps")
    x = given["input"]
    channels = (1, -1, *[1] * (x.ndim - 2))

    def function(x: Tensor) -> Tensor:
        groups = x.reshape(len(x), given["num_groups"], -1)
        found = _frozen_norm(groups, (-1,), 1e-5 if given["eps"] is None else given["eps"], True).reshape(x.shape)
        found = found if given["weight"] is None else found * given["weight"].view(channels)
        return found if given["bias"] is None else found + given["bias"].view(channels)

    return steps.linear(function, [x], call.rules.epsilon)


def _needs(build: Callable[..., Any]) -> Callable[[Call], Any]:
    """A function that gives None where it has no rule."""

    def handler(call: Call) -> Any:
        found = build(call)
        return refuse(call) if found is None else found

    return handler


def _softmax(call: Call) -> Any:
    given = call.bound("input", "dim")
    if call.rules.attention == "constant":
        return call.native()
    scores = call.carriers[0]
    return steps.softmax(scores, -1 if given["dim"] is None else given["dim"])


ROUTES = frozenset(
    """get view view_as reshape reshape_as flatten unflatten ravel transpose t swapaxes swapdims permute
    movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile contiguous to
    type type_as float double half clone cat concat concatenate stack hstack vstack split tensor_split chunk
    unbind narrow getitem select index_select gather take_along_dim topk sort masked_select flip roll pad unfold
    fold scatter where masked_fill pixel_shuffle pixel_unshuffle channel_shuffle tril triu diagonal max min amax
    amin detach cpu cuda len size dim numel is_floating_point is_contiguous element_size data_ptr stride
    ndimension argmax argmin argsort eq ne lt gt le ge isnan isinf isfinite equal allclose any all bool int long
    is_complex register_hook requires_grad_ new_zeros new_ones new_empty new_full new_tensor zeros_like
    ones_like empty_like full_like rand_like randn_like item tolist isclose __len__ repr format hash get_device
    is_same_size nonzero count_nonzero""".split()
)
"""Functions whose gradient is the right relevance, or that give nothing that carries any."""

_PASSING = """relu relu6 hardtanh leaky_relu prelu elu selu celu gelu silu mish hardswish hardsigmoid sigmoid
    tanh softplus softsign hardshrink softshrink tanhshrink threshold clamp clip clamp_min clamp_max abs neg
    square sqrt dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout normalize positive"""

_LINEAR = """add sub rsub mean sum nanmean cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d lp_pool2d interpolate upsample grid_sample"""

_POOLING = """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d adaptive_max_pool2d_with_indices"""

FUNCTIONS: dict[str, Callable[[Call], Any]] = {
    **dict.fromkeys(_PASSING.split(), _passing),
    **dict.fromkeys(_LINEAR.split(), _linear),
    **dict.fromkeys(_POOLING.split(), _pooling),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _layer(convolution, "convolution")),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), _layer(transposed_convolution, "convolution")),
    "linear": _layer(fully_connected, "linear"),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
    **dict.fromkeys(("matmul", "mm"), _matmul),
    **dict.fromkeys(("bmm", "einsum"), _multilinear),
    **dict.fromkeys(("mul", "multiply"), _times),
    **dict.fromkeys(("div", "divide", "truediv", "true_divide"), _over),
    "pow": _power,
    "softmax": _softmax,
    "scaled_dot_product_attention": _needs(fused_attention),
    "multi_head_attention_forward": _needs(multi_head_attention),
}
"""Name of a function -> what is done in its place: (call) -> output with a history."""
