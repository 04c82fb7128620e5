"""Taps: the activations at named layers of any module, and the gradients of scores there.

    with taps(model, ("layer3", "layer4")) as tapped:
        output = model(images)
        gradients = tapped.gradients(output[:, 3])          # name -> tensor, like tapped.activation(name)

What a layer gives is passed on as a copy, so that a layer behind it may change it in place. Inside, the model is in
eval mode and its weights need no gradient: what lies before the first tap costs no graph. All of it is undone at the
end, on errors, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.modes import evaluating
from deixis.ops.precision import to_float32

__all__ = [
    "Tapped",
    "eval_with_grad",
    "is_transformer",
    "names",
    "require_tappable",
    "taps",
    "to_grid",
]

ASIDE = 16
"""Class and register tokens that a transformer may have before its patches."""
HALF = 1024.0
"""What gradients in float16 are multiplied by on their way, so that small ones do not become 0."""


def names(model: nn.Module) -> list[str]:
    """The names of all layers of a model that can be tapped, in the order in which they were registered."""
    return [name for name, _ in model.named_modules(remove_duplicate=False) if name]


@dataclasses.dataclass(frozen=True)
class _Name:
    """A layer's name taken apart: `relu#1` is the second call, `blocks.3:in` what the layer is given."""

    layer: str
    entry: bool
    call: int | None

    @classmethod
    def read(cls, text: str) -> _Name:
        layer, _, call = text.partition("#")
        if call and not call.removeprefix("-").isdigit():
            raise DeixisError(f"{text!r} names no call of a layer.", "Write a number, as in 'relu#0'.")
        entry = layer == "input" or layer.endswith(":in")
        layer = "" if layer == "input" else layer.removesuffix(":in")
        return cls(layer, entry, int(call) if call else None)

    @property
    def key(self) -> tuple[str, bool]:
        return self.layer, self.entry


class Tapped:
    """What the taps of a model hold.

    Args:
        layers: the names, each as in `taps`.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self._names = {name: _Name.read(name) for name in layers}
        self._calls: dict[tuple[str, bool], list[Tensor]] = {each.key: [] for each in self._names.values()}
        self._recording = True

    def activation(self, name: str) -> Float[Tensor, "B ..."]:
        """What the layer gave, of the model's own dtype, as part of the graph.

        Raises:
            DeixisError: the layer did not run, or ran several times and the name does not say which call is meant.
        """
        place = self._names[name]
        calls = self._calls[place.key]
        if not calls:
            raise DeixisError(
                f"The layer {name!r} did not run.",
                "Name one that the model calls itself; what is called inside a fused layer can't be tapped.",
            )
        if place.call is None and len(calls) > 1:
            raise DeixisError(
                f"The layer {name!r} ran {len(calls)} times.",
                f"Name one of the calls: {name}#0 is the first, {name}#{len(calls) - 1} the last.",
            )
        if not -len(calls) <= (place.call or 0) < len(calls):
            raise DeixisError(f"There is no {name!r}: the layer ran {len(calls)} times.", "Calls count from 0.")
        return calls[place.call or 0]

    def gradients(
        self, score: Float[Tensor, "..."], layers: Sequence[str] | None = None, keep: bool = False
    ) -> dict[str, Float[Tensor, "B ..."]]:
        """The gradient of the sum of `score` at each tap; for a score a sample, each sample's own.

        Args:
            score: computed from what the model gave.
            layers: some of the tapped; all by default.
            keep: whether other gradients of the same forward pass follow.

        Returns:
            name -> gradient, in float32 where the model computes in less.

        Raises:
            DeixisError: the score does not hang on a layer, or on none.
        """
        self._recording = False
        layers = self.layers if layers is None else layers
        values = [self.activation(name) for name in layers]
        if not score.requires_grad:
            raise DeixisError(
                "The score has no gradient.",
                "Compute it from what the model gives, without detach(), item(), argmax() or torch.no_grad().",
            )
        factor = HALF if any(value.dtype == torch.float16 for value in values) else 1.0
        found = torch.autograd.grad(
            score.sum(), values, score.new_full((), factor), retain_graph=keep, allow_unused=True
        )
        for name, gradient in zip(layers, found, strict=True):
            if gradient is None:
                raise DeixisError(f"The score does not depend on the layer {name!r}.", "Name one that lies before it.")
        return {name: to_float32(each) / factor for name, each in zip(layers, found, strict=True)}

    def _take(self, key: tuple[str, bool], value: Tensor) -> Tensor:
        """Keeps what passes, and gives the copy that is passed on."""
        if not torch.is_grad_enabled():
            raise DeixisError(
                f"The layer {key[0]!r} runs without gradients.",
                "Take torch.no_grad() out of the model; call torch.utils.checkpoint with use_reentrant=False.",
            )
        if not value.requires_grad:
            value = value.detach().requires_grad_()
        if self._recording:  # a checkpointed layer runs a second time while gradients are computed
            self._calls[key].append(value)
        return value.clone()


@contextlib.contextmanager
def taps(model: nn.Module, layers: Sequence[str]) -> Iterator[Tapped]:
    """Taps layers of a model for the time of a `with` block.

    Args:
        model: any module; what is called inside the block is up to the caller.
        layers: names as in `names(model)`: what the layer gives. `NAME:in` is what it is given, `input` what the model
            is given; `NAME#0` is the first call of a layer that runs several times.

    Raises:
        DeixisError: there is no such layer (near names are told), or the model can't be tapped.
    """
    require_tappable(model)
    tapped = Tapped(layers)
    with contextlib.ExitStack() as stack:
        for key in tapped._calls:
            stack.callback(_hook(_layer(model, key[0]), tapped, key).remove)
        stack.enter_context(eval_with_grad(model, gradients=False))
        yield tapped


@contextlib.contextmanager
def eval_with_grad(model: nn.Module, gradients: bool) -> Iterator[None]:
    """Eval mode, with a graph whatever the caller's mode is; afterwards each module and weight is as before.

    Args:
        model: any module.
        gradients: whether its weights, frozen ones too, need gradients inside, or none does.
    """
    needs = [(value, value.requires_grad) for value in model.parameters() if value.is_floating_point()]
    try:
        for value, _ in needs:
            value.requires_grad = gradients
        with evaluating(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for value, need in needs:
            value.requires_grad = need


def require_tappable(model: nn.Module) -> None:
    """Makes sure that a model's inner layers can be watched.

    Raises:
        DeixisError: it is compiled, TorchScript or wrapped, or made in inference mode; and what to give instead.
    """
    for name, module in model.named_modules():
        where = f"The layer {name!r}" if name else "The model"
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            raise DeixisError(
                f"{where} is compiled: its inner layers can't be hooked.",
                "Give the model from before torch.compile (`model._orig_mod`), or create it again.",
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise DeixisError(f"{where} is TorchScript: its inner layers can't be hooked.", "Give the Python model.")
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise DeixisError(f"{where} is wrapped in {type(module).__name__}.", "Give what it wraps: `model.module`.")
    if any(value.is_inference() for value in model.parameters()):
        raise DeixisError(
            "The weights were made in torch.inference_mode(), which rules out gradients.",
            "Load the model outside of it, or copy it: copy.deepcopy(model).",
        )


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = names(model)
        ends = [each for each in known if each.endswith(f".{name}")]
        near = [*ends[:3], *difflib.get_close_matches(name, known, n=5, cutoff=0.4)]
        told = list(dict.fromkeys(near))[:5] or [child for child, _ in model.named_children()]
        raise DeixisError(
            f"The model has no layer {name!r}.", f"Near names: {', '.join(told)}. `names(model)` lists all."
        ) from None


def _hook(module: nn.Module, tapped: Tapped, key: tuple[str, bool]) -> torch.utils.hooks.RemovableHandle:
    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if given:
            return _through(given, tapped, key), named
        first = next((name for name, value in named.items() if isinstance(value, Tensor)), "")
        return given, {**named, first: _through(named.get(first), tapped, key)}

    def after(_: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        return _through(output, tapped, key)

    if key[1]:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _through(value: Any, tapped: Tapped, key: tuple[str, bool]) -> Any:
    """Taps a tensor, or the first thing of a tuple or list."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return tapped._take(key, value)
    if type(value) in (tuple, list) and value:
        return type(value)([_through(value[0], tapped, key), *value[1:]])
    raise DeixisError(
        f"The layer {key[0]!r} handles {type(value).__name__} and no tensor of numbers.",
        "Name a layer inside it.",
    )


def is_transformer(model: nn.Module) -> bool:
    """Whether a network works on tokens: it has layer norms and no batch norms."""
    kinds = {type(each) for each in model.modules()}
    return nn.LayerNorm in kinds and nn.BatchNorm2d not in kinds


def to_grid(
    states: Float[Tensor, "B ..."], size: tuple[int, int], before: int | None = None
) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B k D"]]:
    """The states of a layer as a grid over the image, and what stands before it: class and register tokens.

    Args:
        states: [B, D, h, w] is a grid already, [B, h, w, D] is turned, [B, N, D] are tokens, row by row.
        size: height and width of the image in pixels; tells how tokens lie.
        before: tokens before the first patch; by default as few as the image's shape allows, 16 at the most.

    Raises:
        DeixisError: the states lie on no grid of the image's shape.
    """
    if states.dim() == 4:
        turned = _skew(states.shape[1:3], size) < _skew(states.shape[2:4], size)
        cells = states.permute(0, 3, 1, 2) if turned else states
        return cells, states.new_zeros(len(states), 0, cells.shape[1])
    if states.dim() != 3:
        raise DeixisError(
            f"A layer that gives {list(states.shape)} has no positions.",
            "Name one before the pooling, that gives [B, D, h, w] or [B, N, D].",
        )
    count = states.shape[1]
    grid = _lay(count, size, range(ASIDE + 1) if before is None else (before,))
    if grid is None:
        raise DeixisError(
            f"{count} tokens do not lie on a grid over an image of {size[0]} x {size[1]} pixels.",
            "Say how many stand before the first patch, or name another layer.",
        )
    first = count - grid[0] * grid[1]
    cells = states[:, first:].transpose(1, 2).unflatten(2, grid)
    return cells, states[:, :first]


def _skew(shape: Sequence[int], size: tuple[int, int]) -> float:
    """How far a grid's shape is from the image's; 0 where they are the same."""
    return abs(math.log(shape[0] / shape[1] * size[1] / size[0]))


def _lay(count: int, size: tuple[int, int], before: Container[int]) -> tuple[int, int] | None:
    """Rows and columns of square patches that leave as few of `count` tokens over as may be, a number in `before`;
    patches that leave no pixels over come first."""
    found = []
    for patch in range(1, min(size) + 1):
        rows, columns = size[0] // patch, size[1] // patch
        if rows * columns <= count and count - rows * columns in before:
            uneven = bool(size[0] % patch or size[1] % patch)
            found.append((uneven, count - rows * columns, (rows, columns)))
    return min(found)[2] if found else None
