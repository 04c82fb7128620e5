"""The last rows that were seen, newest first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.ops.collective import gather

__all__ = ["RowQueue"]


class RowQueue(nn.Module):
    """A queue of rows, which all ranks hold alike; its tensors are part of the state.

    Args:
        length: rows it holds.
        width: of a row.

    Raises:
        DeixisError: it would hold no row.
    """

    rows: Tensor
    filled: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        if length < 1:
            raise DeixisError(f"A queue of {length} rows holds nothing.", "Give a length of 1 or more.")
        self.register_buffer("rows", torch.zeros(length, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, rows: Float[Tensor, "B D"]) -> None:
        """Puts the rows of all ranks in front, in the order of ranks; the oldest drop out.

        Args:
            rows: those of this rank.
        """
        new = gather(rows.detach().to(self.rows))
        self.rows.copy_(torch.cat([new, self.rows])[: len(self.rows)])
        self.filled.copy_((self.filled + len(new)).clamp(max=len(self.rows)))

    @property
    def is_full(self) -> bool:
        """Whether as many rows were pushed as it holds."""
        return int(self.filled) == len(self.rows)
