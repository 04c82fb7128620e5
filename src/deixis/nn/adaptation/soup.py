"""Model soup: one model whose weights are the mean of several, fine-tuned from the same weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from deixis.errors import DeixisError

__all__ = ["soup"]

_Model = TypeVar("_Model", bound=nn.Module)

_APART = 0.5
"""Cosine of the weights of two models below which they hardly began with the same ones."""


def soup(models: Sequence[_Model], weights: Sequence[float] | None = None) -> _Model:
    """A model like the given ones, each of whose weights is the mean over them (model soup; Wortsman et al., 2022; the
    third stage of KaLM-Embedding-V2's first version).

    Floating-point buffers, such as the statistics of batch norms, are averaged as well; whole numbers are those of the
    first. It costs as much to run as one of them. Means of weights mean something where the models began with the same
    ones and lie near to each other: where they do not, it is warned.

    Args:
        models: of one layout, such as runs from one model with other seeds, rates or data.
        weights: how much each counts, relative to the sum; by default equally.

    Raises:
        DeixisError: no model; other layouts; as many weights are needed as there are models, none negative.
    """
    shares = _shares(len(models), weights)
    states = [model.state_dict() for model in models]
    for number, state in enumerate(states[1:], 2):
        _require_same_layout(states[0], state, number)
    mean = {name: _mean([state[name] for state in states], shares) for name in states[0]}
    if any(_cosine(models[0], other) < _APART for other in models[1:]):
        warnings.warn(
            "The models hardly began with the same weights, and the mean of such knows nothing. Average runs that were "
            "fine-tuned from one model.",
            stacklevel=2,
        )
    made = copy.deepcopy(models[0])
    made.load_state_dict(mean)
    return made


def _shares(count: int, weights: Sequence[float] | None) -> list[float]:
    shares = [1.0] * count if weights is None else [float(each) for each in weights]
    if count == 0 or len(shares) != count or min(shares) < 0 or sum(shares) <= 0:
        raise DeixisError(
            f"A soup of {count} models can't be made with the weights {shares}.",
            "Give one or more models, and none or one weight of at least 0 for each.",
        )
    return [each / sum(shares) for each in shares]


def _require_same_layout(first: Mapping[str, Tensor], state: Mapping[str, Tensor], number: int) -> None:
    differ = sorted(
        name
        for name in first.keys() | state.keys()
        if name not in first or name not in state or first[name].shape != state[name].shape
    )
    if differ:
        raise DeixisError(
            f"Model {number} has another layout than model 1: {', '.join(differ[:3])}"
            f"{'...' if len(differ) > 3 else ''} of one differ from those of the other.",
            "Average runs that were fine-tuned from one model.",
        )


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Summed in double precision, so that the mean of equal values is the value."""
    if not values[0].is_floating_point():
        return values[0]
    total = sum((value.double() * share for value, share in zip(values, shares, strict=True)), torch.zeros(()))
    return total.to(values[0])


def _cosine(one: nn.Module, other: nn.Module) -> float:
    """Between all parameters of two models, as vectors."""
    pairs = [
        (a.detach().double(), b.detach().double()) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    ]
    dot, left, right = (
        sum(float((a * b).sum()) for a, b in some)
        for some in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    return dot / max((left * right) ** 0.5, 1e-300)
