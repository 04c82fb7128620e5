"""What fewer numbers a vector, or fewer bits, cost: how many of the first answers are those of whole vectors."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder
from deixis.types import Source

__all__ = ["codes_sentence", "cost_sentence", "kept_answers"]

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
    return _shared(index.search(queries, count).rows, best)


def _shared(found: Int[np.ndarray, "Q k"], best: Int[np.ndarray, "Q k"]) -> Float[np.ndarray, " Q"]:
    """Of each query's best rows the share that is found."""
    return np.array([len({*some} & {*right}) / len(right) for some, right in zip(found, best, strict=True)])


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


def codes_sentence(index: Index) -> str:
    """How many bytes a search in codes of 8 bits reads, and that its results are those of float32, which is measured.

    Args:
        index: with codes.
    """
    plain = tuple(dataclasses.replace(each, codes=None) for each in index.segments)
    queries, count = index.sample(_ASKED), min(_FIRST, len(index))
    best = dataclasses.replace(index, segments=plain).search(queries, count).rows
    recall = _shared(index.search(queries, count).rows, best).mean()
    stored = index.segments[0].vectors.shape[1]
    return (
        f"Searches read 8 bits a number, {100 * (stored + 4) / (4 * stored):.0f} % of the bytes of float32, and score "
        f"the nearest again by float32: recall at {count} is {recall:.3f}, by {len(queries)} of the pictures."
    )
