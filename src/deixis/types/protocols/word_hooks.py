"""What claims ask of a method that reads words beside regions (`Has...`), where it has it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int64
from torch import Tensor

from deixis.types.batch import Batch

__all__ = ["HasTellWords"]


@runtime_checkable
class HasTellWords(Protocol):
    """Tells hidden words from the others and from all regions."""

    def tell_words(self, batch: Batch, hidden: Bool[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """The tokens of the first caption, with the likeliest word in each hidden place."""
        ...
