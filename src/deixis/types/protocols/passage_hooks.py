"""What the engine asks of a method that learns which passage answers a query (`Has...`), where it has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from deixis.types.mining import MiningRule
from deixis.types.specs import Stage

__all__ = ["HasMining"]


@runtime_checkable
class HasMining(Protocol):
    """Compares queries with passages; hard negatives are mined for it between its stages."""

    def mining(self, stage: Stage) -> MiningRule | None:
        """What is mined ahead of a stage, for samples with too few passages; None: nothing."""

    def read_queries(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Vectors of length 1."""

    def read_passages(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Vectors of length 1, to be compared with those of queries."""
