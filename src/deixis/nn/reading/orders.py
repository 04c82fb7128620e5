"""Orders in which the characters of a word are predicted, and what each position may look at in them (PARSeq)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from deixis.errors import DeixisError

__all__ = ["cloze_mask", "permutation_masks", "permutations"]


def permutations(length: int, count: int, rng: torch.Generator) -> Int64[Tensor, "P L"]:
    """Orders of a text's positions: forward, backward, and pairs of a random order and its mirror image.

    Position 0 is the start and comes first in all of them. The end comes last, but for the backward order, in which it
    comes first of all and is predicted from the start alone. No order comes twice.

    Args:
        length: characters of a text.
        count: orders: 1 (forward), or an even number; of short texts there are fewer.
        rng: what they are drawn from.

    Raises:
        DeixisError: there is no such number of orders.
    """
    if length < 1 or (count != 1 and (count < 2 or count % 2)):
        raise DeixisError(
            f"{count} orders of {length} characters are requested.", "Request 1, or an even number, of 1 or more."
        )
    forward = tuple(range(1, length + 1))
    pairs = [forward]
    drawn = {forward, forward[::-1]}
    most = min(count // 2, max(1, math.factorial(min(length, 8)) // 2))
    while len(pairs) < most:
        order = tuple((torch.randperm(length, generator=rng) + 1).tolist())
        if order not in drawn:
            drawn |= {order, order[::-1]}
            pairs.append(order)
    if count == 1 or length == 1:
        return torch.tensor([[0, *forward, length + 1]])
    rows = [[0, *each, length + 1] for order in pairs for each in (order, order[::-1])]
    rows[1] = [0, *range(length + 1, 0, -1)]
    return torch.tensor(rows)


def permutation_masks(order: Int64[Tensor, " L"]) -> tuple[Bool[Tensor, "M M"], Bool[Tensor, "M M"]]:
    """Who may look at whom when the positions of a text are predicted in an order.

    Args:
        order: positions from 0 (the start) to the end, in the order in which they are predicted.

    Returns:
        Of the content stream and of the query stream, true where a position (row) may look at another (column), M being
        one less than L. Row and column n of the first are position n. Row n of the second predicts position n + 1, from
        what comes before that position in the order, hence never from itself.
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    seen = place[None, :] <= place[:, None]
    before = place[None, :] < place[:, None]
    return seen[:-1, :-1], before[1:, :-1]


def cloze_mask(length: int) -> Bool[Tensor, "L L"]:
    """Each position is predicted from all others: row n predicts the character that stands in column n + 1."""
    return ~torch.ones(length, length, dtype=torch.bool).triu(1).tril(1)
