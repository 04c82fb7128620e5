"""Questions and expressions as samples, for methods that learn from each of them by itself."""

from __future__ import annotations

from deixis.data.grounding import answer_masks, referring
from deixis.methods import read
from deixis.types import Source

__all__ = ["one_by_one"]


def one_by_one(name: str, source: Source) -> Source:
    """The samples that a method learns from: each question, where it learns where answers lie; each expression, among
    all regions of its picture, where it learns which region is meant; else those that there are.

    Args:
        name: of the method.
        source: as it was read.

    Raises:
        DeixisError: no question says which masks its answer rests on, or no region has a phrase.
    """
    capabilities = read(name).card.capabilities
    if "answer_mask" in capabilities:
        return answer_masks(source)
    means_one = "refer" in capabilities and "match" not in capabilities
    return referring(source, "phrase", among="all") if means_one else source
