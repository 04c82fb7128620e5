"""Which tensor of a checkpoint belongs where in a tower, in both directions, and nothing left over on either side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.zoo.layouts.weights import Weights

__all__ = ["Hint", "NameRule", "Place", "TowerPlaces", "fill", "gather", "places"]


class Place(NamedTuple):
    """Where a tensor of a tower lies in a checkpoint.

    Attributes:
        key: its name there.
        third: which third of the rows it is, for queries, keys and values that are stored as one; None: it is whole.
        turned: whether it is stored transposed.
        lead: axes of length 1 that stand before its own.
    """

    key: str
    third: int | None = None
    turned: bool = False
    lead: int = 0

    def stored(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that the checkpoint's tensor has, for one of `shape` in the tower."""
        sizes = tuple(reversed(shape)) if self.turned else tuple(shape)
        sizes = sizes if self.third is None else (3 * sizes[0], *sizes[1:])
        return (1,) * self.lead + sizes

    def pick(self, value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The tower's tensor out of the checkpoint's."""
        value = value.reshape(value.shape[self.lead :])
        value = value if self.third is None else value.chunk(3)[self.third].clone()
        return value.T.contiguous() if self.turned else value


class NameRule(NamedTuple):
    """One step from names in a tower to names in a checkpoint; see `places`.

    Attributes:
        pattern: a regular expression, searched in the name.
        name: what takes its place.
        third: as in `Place`.
        turned: as in `Place`.
        lead: as in `Place`.
    """

    pattern: str
    name: str
    third: int | None = None
    turned: bool = False
    lead: int = 0


class TowerPlaces(NamedTuple):
    """A tower and the places of its tensors."""

    module: nn.Module
    places: Mapping[str, Place]


class Hint(NamedTuple):
    """What it means when a tensor has another shape: the tensor's name as a pattern, and the words for it."""

    pattern: str
    meaning: str


def places(module: nn.Module, rules: Sequence[NameRule], prefix: str = "") -> dict[str, Place]:
    """The place of every tensor of `module`: all rules are applied to its name, in order."""
    found = {}
    for name in module.state_dict():
        key, third, turned, lead = name, None, False, 0
        for rule in rules:
            key, hits = re.subn(rule.pattern, rule.name, key)
            if hits:
                third = third if rule.third is None else rule.third
                turned, lead = turned or rule.turned, lead or rule.lead
        found[name] = Place(prefix + key, third, turned, lead)
    return found


def fill(
    weights: Weights, parts: Sequence[TowerPlaces], numbers: Sequence[str], spare: str = "", hints: Sequence[Hint] = ()
) -> dict[str, float]:
    """Puts a checkpoint's tensors into towers whose weights have no values, one at a time.

    Args:
        weights: the checkpoint.
        parts: the towers.
        numbers: names of single numbers that must be there, too.
        spare: a regular expression: names that may be there without a place.
        hints: what a wrong shape means.

    Returns:
        The numbers.

    Raises:
        DeixisError: a tensor is missing, has no place, or has another shape than the towers' sizes ask for.
    """
    states = [part.module.state_dict() for part in parts]
    expected = {
        place.key: place.stored(state[name].shape)
        for part, state in zip(parts, states, strict=True)
        for name, place in part.places.items()
    }
    del states  # it would hold what is replaced below
    _require(weights, expected, numbers, spare, hints)
    for part in parts:
        _assign(weights, part)
    return {name: float(weights.take(name)) for name in numbers}


def _assign(weights: Weights, part: TowerPlaces) -> None:
    """Puts tensor by tensor in place of what the tower has, so that there are never two of all."""
    by_key: dict[str, list[str]] = {}
    for name, place in part.places.items():
        by_key.setdefault(place.key, []).append(name)
    for key, names in by_key.items():
        counted = key.endswith("num_batches_tracked") and key not in weights.shapes
        value = torch.zeros((), dtype=torch.int64) if counted else weights.take(key)
        for name in names:
            owner, _, leaf = name.rpartition(".")
            module, own = part.module.get_submodule(owner), part.places[name].pick(value)
            if leaf in module._parameters:
                setattr(module, leaf, nn.Parameter(own))
            else:
                setattr(module, leaf, own)


def _require(
    weights: Weights,
    expected: Mapping[str, tuple[int, ...]],
    numbers: Sequence[str],
    spare: str,
    hints: Sequence[Hint],
) -> None:
    there = weights.shapes
    missing = [key for key in (*expected, *numbers) if key not in there and not key.endswith("num_batches_tracked")]
    known = {*expected, *numbers}
    extra = [key for key in there if key not in known and not (spare and re.fullmatch(spare, key))]
    other = [key for key in expected if key in there and there[key] != expected[key]]
    other += [key for key in numbers if key in there and max((1, *there[key])) != 1]
    if not (missing or extra or other):
        return
    meanings = dict.fromkeys(hint.meaning for key in other for hint in hints if re.search(hint.pattern, key))
    faults = [
        f"{len(missing)} tensors are missing ({_some(missing)})" if missing else "",
        f"{len(extra)} have no place in this model ({_some(extra)})" if extra else "",
        f"{len(other)} have another shape than the config asks for "
        f"({_some([f'{key} {list(there[key])} instead of {list(expected.get(key, ()))}' for key in other])})"
        if other
        else "",
        f"this points at {', or '.join(meanings)}" if meanings else "",
    ]
    raise DeixisError(
        f"{weights.source} does not hold the weights that its config describes: {'; '.join(filter(None, faults))}.",
        "Use config and weights of the same model; nothing was loaded.",
    )


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")


def gather(parts: Sequence[TowerPlaces]) -> dict[str, Tensor]:
    """The towers' tensors under the checkpoint's names: the way back of `fill`."""
    found: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for part in parts:
        state = part.module.state_dict()
        for name, place in part.places.items():
            value = state[name].detach().cpu()
            value = value.T if place.turned else value
            value = value.reshape((1,) * place.lead + tuple(value.shape)).contiguous()
            if place.third is None:
                found[place.key] = value
            else:
                thirds.setdefault(place.key, {})[place.third] = value
    joined = {key: torch.cat([pieces[third] for third in range(3)]) for key, pieces in thirds.items()}
    return {**found, **joined}
