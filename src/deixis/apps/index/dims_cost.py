"""What fewer numbers a vector cost: how many of the first answers are those of whole vectors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder
from deixis.types import Source

__all__ = ["cost_sentence", "kept_answers"]

_FIRST, _ASKED = 10, 200


def kept_answers(
    queries: Float[np.ndarray, "Q D"], whole: Float[np.ndarray, "N D"], index: Index
) -> Float[np.ndarray, " Q"]:
    """Of the first ten answers to each query by whole vectors, the share that the index has among its first ten.

    Args:
        queries: of length 1.
        whole: what the rows of the index were made of, of length 1.
        index: with as many rows.
    """
    count = min(_FIRST, len(whole))
    best = np.argsort(-(queries @ whole.T), axis=1, kind="stable")[:, :count]
    found = index.search(queries, count).rows
    return np.array([len({*ours} & {*theirs}) / count for ours, theirs in zip(found, best, strict=True)])


def cost_sentence(index: Index, whole: Float[np.ndarray, "N D"], source: Source, encoder: DualEncoder) -> str:
    """How much smaller the index is, and what that costs in searches by its own pictures and by its own captions.

    Args:
        index: of coordinates.
        whole: what its rows were made of, of length 1.
        source: the pictures, perhaps with captions.
        encoder: that made the vectors.
    """
    dims, width = int(index.manifest["dims"]), index.width
    rows = np.linspace(0, len(whole) - 1, min(_ASKED, len(whole))).round().astype(np.int64)
    told = [f"by picture {_FIRST * kept_answers(whole[rows], whole, index).mean():.1f}"]
    words = sorted({caption for sample in source.samples for caption in sample.captions})
    if words and encoder.reads_text:
        some = [words[place] for place in np.linspace(0, len(words) - 1, min(_ASKED, len(words))).round().astype(int)]
        queries = np.asarray(encoder.encode_text(some).detach().float().cpu())
        told.append(f"by words {_FIRST * kept_answers(queries, whole, index).mean():.1f}")
    return (
        f"{dims} of {width} numbers a vector, {100 * dims / width:.0f} % of the space: of the first {_FIRST} results "
        f"of a search {', of one '.join(told)} are those of whole vectors."
    )
