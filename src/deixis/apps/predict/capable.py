"""A method that offers a capability, from a run folder; or the one message that says which methods do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deixis.engine.training.build import build
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.methods import list_methods, read, summaries
from deixis.nn.compute import current
from deixis.types import Card
from deixis.types.protocols import AnyMethod

__all__ = ["Model", "class_names", "methods_offering", "open_method", "open_or_default", "refusal"]

Model = Any
"""The folder of a run, or a method that was built or loaded already."""


def methods_offering(capability: str) -> list[str]:
    """Names of the methods of the registry whose card lists a capability."""
    return [name for name in list_methods() if capability in read(name).card.capabilities]


def open_method(model: Model, capability: str, others: Sequence[str] = ()) -> Any:
    """A method that offers a capability.

    Args:
        model: the folder of a run, or a method.
        capability: a name in `deixis.types.CAPABILITIES`.
        others: capabilities that will do as well.

    Raises:
        DeixisError: no model was named, it is no run of a method, or its method does not offer this.
    """
    if isinstance(model, str | os.PathLike):
        from deixis.apps.train.method_runs import STATE, load_method  # the default needs none of it

        if not str(model):
            raise refusal(f"`{capability}` needs a model that offers it, and none was named.", capability)
        if not (Path(model) / STATE).is_file():
            raise refusal(f"{os.fspath(model)} is no run of a method.", capability)
        model = load_method(model).to(current().device)
    card = getattr(sys.modules[type(model).__module__], "CARD", None)
    if not isinstance(card, Card):
        raise refusal(f"A {type(model).__name__} is no method.", capability)
    if not {capability, *others} & set(card.capabilities):
        offered = ", ".join(card.capabilities) or "nothing"
        raise refusal(f"The method {card.title!r} offers {offered}, and not `{capability}`.", capability)
    return model


def open_or_default(model: Model, capability: str, others: Sequence[str] = ()) -> Any:
    """A method that offers a capability: that of a run, or, where no model is named, one that needs no training.

    Args:
        model: as for `open_method`; empty for the default.
        capability: a name in `deixis.types.CAPABILITIES`.
        others: capabilities of a named model that will do as well.

    Raises:
        DeixisError: as `open_method`, or what the default is made of is not there: the message says how to get it.
    """
    free = [name for name, each in summaries().items() if each.kind == "training-free"]
    ready = [name for name in free if capability in read(name).card.capabilities]
    if not isinstance(model, str) or model or not ready:
        return open_method(model, capability, others)
    return build(ready[0]).eval().to(current().device)


def class_names(method: AnyMethod, count: int) -> tuple[str, ...]:
    """Names of the classes of which a method gives scores: those of its part of the kind `names`, with the background
    before them where there is one class more; numbers where it has no names."""
    parts = [getattr(method, part.name, None) for part in card_of(method).parts if part.kind == "names"]
    names = tuple(str(name) for part in parts if part is not None for name in part)
    if len(names) == count:
        return names
    return ("background", *names) if len(names) + 1 == count else tuple(f"class {each}" for each in range(count))


def refusal(found: str, capability: str) -> DeixisError:
    """The error that a model does not offer a capability, with the methods that do, and how to get one.

    Args:
        found: what the model is, a sentence.
        capability: a name in `deixis.types.CAPABILITIES`.
    """
    able = methods_offering(capability)
    if not able:
        return DeixisError(found, f"No method here offers `{capability}` yet: `deixis list` shows all.")
    learned = [name for name in able if read(name).card.kind != "training-free"]
    if not learned:
        return DeixisError(found, f"{', '.join(able)} offers it without training: leave --model out.")
    return DeixisError(
        found,
        f"It is offered by {', '.join(able)}. Get one: deixis train {learned[0]} --data DATA --out RUN, "
        "then --model RUN.",
    )
