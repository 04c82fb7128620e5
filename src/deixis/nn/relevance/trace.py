"""Watching a network run, and putting a step with a rule in the place of each function that relevance flows through."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deixis.errors import DeixisError
from deixis.nn.relevance.functions import FUNCTIONS, ROUTES, Call, Record, refuse
from deixis.nn.relevance.rules import Rule, Rules

__all__ = ["Tracer"]


def _canonical(name: str) -> tuple[str, bool]:
    """The name without what marks a special method or one that works in place, and whether it does."""
    if name.startswith("__"):
        short = name.strip("_")
        in_place = short in ("iadd", "isub", "imul", "itruediv", "ipow", "imatmul")
        short = short[1:] if in_place or short in ("radd", "rmul") else short
        return short, in_place
    return name.rstrip("_"), name.endswith("_")


class Tracer(TorchFunctionMode):
    """While it is entered, every torch function the network calls goes through `__torch_function__`.

    Args:
        model: whose modules are named in messages and in `Rules.named`.
        rules: that hold.
        words: whether the first embedding of token numbers is where relevance ends; it is kept in `embedded`.
    """

    def __init__(self, model: nn.Module, rules: Rules, words: bool = False) -> None:
        super().__init__()
        self.model, self.rules = model, rules
        self.waiting, self.embedded = words, None if not words else torch.empty(0)
        self.made: dict[int, tuple[Tensor, Record]] = {}
        self.places: list[tuple[str, nn.Module]] = []
        self.first = True

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Knows which module runs, and is entered."""
        handles = []
        try:
            for name, module in self.model.named_modules():
                enter = self._entering(name, module)
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
            self.made.clear()

    def _entering(self, name: str, module: nn.Module) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self.places.append((name, module))

        return enter

    def _leave(self, *_: Any) -> None:
        self.places.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, in_place = _canonical(getattr(func, "__name__", str(func)))
        in_place = in_place or bool(kwargs.get("inplace"))
        if self.waiting and name == "embedding":
            return self._words(func(*args, **kwargs))
        call = Call(name, func, args, kwargs, self._place(), in_place, self.rules, self._choose, self.made)
        if not call.carriers:
            return func(*args, **kwargs)
        if name in FUNCTIONS:
            return FUNCTIONS[name](call)
        if name in ROUTES:
            return self._routed(getattr(torch.Tensor, name) if in_place else func, args, kwargs)
        if in_place or name in ("setitem", "copy"):
            raise DeixisError(
                f"{call.place} writes into a tensor in place ({name}), which relevance cannot follow.",
                "Use --method normgrad, or write the module without it.",
            )
        return refuse(call)

    def _routed(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """As it is. A plain copy, as a tap makes it, still is the output of the layer before, for a batch norm."""
        found = func(*args, **kwargs)
        if func is torch.Tensor.clone and id(args[0]) in self.made:
            self.made[id(found)] = (found, self.made[id(args[0])][1])
        return found

    def _words(self, found: Tensor) -> Tensor:
        self.waiting, self.embedded = False, found.detach().requires_grad_()
        assert self.embedded is not None
        return self.embedded

    def _place(self) -> str:
        name, module = self.places[-1] if self.places else ("", self.model)
        return f"the module {name!r} ({type(module).__name__})" if name else f"{type(module).__name__} itself"

    def _choose(self, kind: str) -> Rule:
        """The rule of a layer: by its module's name, as the first, or by its kind."""
        name = self.places[-1][0] if self.places else ""
        first, self.first = self.first, False
        for pattern, rule in self.rules.named:
            if fnmatch.fnmatchcase(name, pattern):
                return rule
        if first and self.rules.first is not None and kind != "norm":
            return self.rules.first
        chosen: Rule = getattr(self.rules, kind)
        return chosen
