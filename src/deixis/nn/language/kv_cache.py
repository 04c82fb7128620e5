"""Keys and values of what a language model has read, so that what follows is read without reading it again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["KvCache"]

_ROOM = 32
"""Positions that are reserved at once: a cache that were copied for each token would cost as much as it saves."""


class KvCache:
    """Grows by what a model is given to read with it. For use without gradients, as it is written to in place.

    Attributes:
        mask: true where a cached position is real; None as long as nothing was read.
    """

    def __init__(self) -> None:
        self.mask: Bool[Tensor, "B P"] | None = None
        self._blocks: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        """Positions that were read, those without a token included."""
        return 0 if self.mask is None else self.mask.shape[1]

    def counts(self) -> Int64[Tensor, " B"] | int:
        """How many real tokens each row has read: the place of its next one."""
        return 0 if self.mask is None else self.mask.sum(dim=1)

    def extend_mask(self, mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B M"]:
        """Tells which of the positions that are read next are real; gives this of all. Called before the blocks."""
        self.mask = mask if self.mask is None else torch.cat([self.mask, mask], dim=1)
        return self.mask

    def extend(
        self, block: int, key: Float[Tensor, "B h L d"], value: Float[Tensor, "B h L d"]
    ) -> tuple[Float[Tensor, "B h M d"], Float[Tensor, "B h M d"]]:
        """Adds keys and values of a block and gives all that it has.

        Args:
            block: its number.
            key: of the positions that were told to `extend_mask`.
            value: of these.
        """
        end, start = self.length, self.length - key.shape[2]
        if block == len(self._blocks):
            self._blocks.append((_with_room(key, end), _with_room(value, end)))
            return key, value
        if self._blocks[block][0].shape[2] < end:
            self._blocks[block] = tuple(_with_room(each[:, :, :start], end) for each in self._blocks[block])  # type: ignore[assignment]
        keys, values = self._blocks[block]
        keys[:, :, start:end], values[:, :, start:end] = key, value
        return keys[:, :, :end], values[:, :, :end]

    def take(self, rows: Int64[Tensor, " R"]) -> KvCache:
        """A cache of these rows, in this order; one may come several times."""
        taken = KvCache()
        if self.mask is not None:
            taken.mask = self.mask[rows]
            taken._blocks = [(key[rows], value[rows]) for key, value in self._blocks]
        return taken


def _with_room(states: Tensor, end: int) -> Tensor:
    """A copy with places for more positions than `end`."""
    return F.pad(states, (0, 0, 0, end + _ROOM - states.shape[2]))
