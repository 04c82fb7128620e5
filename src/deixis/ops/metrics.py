"""Exact ranks and what is read from them: recall, reciprocal rank, accuracy; one value a query, never a mean.

Ties count against the model. A tie is a difference below `TIE` of the scores' scale, since vectors that are equal in
meaning come out of a float32 tower, and out of products of different shapes, with different last digits; a tower that
gives many images one vector would otherwise be paid for luck.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = [
    "TIE",
    "accuracy",
    "pair_ranks",
    "ranks",
    "ranks_of_scores",
    "recall_at",
    "reciprocal_rank",
    "retrieval",
    "retrieval_of_ranks",
    "retrieval_of_scores",
    "retrieval_ranks",
]

TIE = 1e-6
"""Scores nearer than this share of |query| |entry| are one score: some eight steps of float32."""


def ranks(
    queries: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "G D"],
    query_keys: Int64[Tensor, " Q"],
    gallery_keys: Int64[Tensor, " G"],
    block: int = 1024,
) -> Int64[Tensor, " Q"]:
    """The 1-based rank of each query's best hit, by dot product, over the whole gallery.

    A hit is an entry with the query's key. Every entry that is no hit and scores at least as high as the best hit ranks
    before it; other hits do not. Scores are taken in float64, `block` queries at a time, so that memory is
    O(block x G) and the result does not depend on `block`.

    Args:
        queries: one vector a query [Q, D].
        gallery: the vectors that are searched [G, D].
        query_keys: what each query looks for [Q].
        gallery_keys: what each entry is [G].
        block: queries that are scored at once.

    Raises:
        ValueError: a query has no hit in the gallery, or a vector holds something that is not finite.
    """
    if block < 1:
        raise ValueError(f"block is {block}; it counts queries and must be at least 1.")
    _check_finite(queries, "query")
    _check_finite(gallery, "gallery entry")
    _check_hits(query_keys, gallery_keys)
    entries = gallery.double()
    longest = entries.norm(dim=1).max() if len(entries) else entries.new_zeros(())
    parts = [
        _block_ranks(rows.double(), keys, entries, gallery_keys, longest)
        for rows, keys in zip(queries.split(block), query_keys.split(block), strict=True)
    ]
    return torch.cat(parts) if parts else query_keys.new_zeros(0)


def _block_ranks(rows: Tensor, keys: Tensor, entries: Tensor, entry_keys: Tensor, longest: Tensor) -> Tensor:
    hits = keys[:, None] == entry_keys[None, :]
    return ranks_of_scores(rows @ entries.T, hits, longest * rows.norm(dim=1))


def ranks_of_scores(
    scores: Float[Tensor, "Q G"], hits: Bool[Tensor, "Q G"], scale: Float[Tensor, " Q"] | None = None
) -> Int64[Tensor, " Q"]:
    """The 1-based rank of each query's best hit, see `ranks`; a query without a hit ranks behind all entries.

    Args:
        scores: of each query with each entry.
        hits: which entries a query looks for.
        scale: of which `TIE` is a share; None: the row's largest magnitude.
    """
    exact = scores.double()
    scale = exact.abs().amax(1) if scale is None else scale
    best = exact.masked_fill(~hits, -torch.inf).amax(1)
    before = (exact >= (best - TIE * scale)[:, None]) & ~hits
    return 1 + before.sum(1, dtype=torch.int32).long()  # ten times as fast as a sum in int64


def pair_ranks(
    scores: Iterable[Float[Tensor, "_Q G"]], pairs: Int64[Tensor, "P 2"], block: int = 1024
) -> Int64[Tensor, " Q"]:
    """The rank of each query's best hit where a query may have several hits, and an entry be a hit of several queries.

    Args:
        scores: pieces of the table of all queries (rows) with all entries, one after the other.
        pairs: a query and an entry that is a hit of it, by their places in the table.
        block: rows of a piece that are ranked at once.
    """
    found, start = [], 0
    for piece in scores:
        for rows in piece.split(block):
            own = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < start + len(rows))].to(rows.device)
            hits = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
            hits[own[:, 0] - start, own[:, 1]] = True
            found.append(ranks_of_scores(rows, hits).cpu())
            start += len(rows)
    return torch.cat(found) if found else pairs.new_zeros(0)


def _check_finite(values: Tensor, what: str) -> None:
    good = values.isfinite().all(1)
    if not good.all():
        first = int((~good).nonzero()[0, 0])
        raise ValueError(f"{what} {first} (of {len(good)}, {int((~good).sum())} such) holds NaN or infinity: no rank.")


def _check_hits(query_keys: Tensor, gallery_keys: Tensor) -> None:
    missing = ~torch.isin(query_keys, gallery_keys)
    if missing.any():
        first = int(missing.nonzero()[0, 0])
        raise ValueError(
            f"query {first} looks for key {int(query_keys[first])}, which no gallery entry has "
            f"({int(missing.sum())} of {len(missing)} queries are so): its rank does not exist. Leave such queries out."
        )


def recall_at(ranks: Int64[Tensor, " Q"], k: int) -> Float[Tensor, " Q"]:
    """1 where the best hit is among the first `k` answers, else 0, for each query [Q]."""
    return (ranks <= k).double()


def reciprocal_rank(ranks: Int64[Tensor, " Q"]) -> Float[Tensor, " Q"]:
    """1 / rank of the best hit, for each query [Q]; its mean is the MRR."""
    return ranks.double().reciprocal()


def retrieval_ranks(
    image: Float[Tensor, "B D"],
    text: Float[Tensor, "B D"],
    keys: Int64[Tensor, " B"],
    queries: Bool[Tensor, " B"] | None = None,
) -> tuple[Int64[Tensor, " M"], Int64[Tensor, " M"]]:
    """The ranks of image to text and of text to image, one of each a sample.

    Samples with equal keys have the same caption: it stands in the gallery of captions once, with the vector of its
    first sample, and every image of it is a hit. A sample's rank from text to image is that of its caption.

    Args:
        image: one vector an image [B, D].
        text: the vector of each image's caption [B, D].
        keys: equal for equal captions [B].
        queries: measure these M samples only, against the whole gallery [B]; None measures all.

    Raises:
        ValueError: as `ranks`.
    """
    captions, caption_of = torch.unique(keys, return_inverse=True)
    places = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(captions, len(keys)).scatter_reduce(0, caption_of, places, "amin")
    chosen = places if queries is None else places[queries]
    to_text = ranks(image[chosen], text[first], keys[chosen], captions)
    asked, asked_of = torch.unique(caption_of[chosen], return_inverse=True)
    to_image = ranks(text[first[asked]], image, captions[asked], keys)
    return to_text, to_image[asked_of]


def retrieval(
    image: Float[Tensor, "B D"],
    text: Float[Tensor, "B D"],
    keys: Int64[Tensor, " B"],
    queries: Bool[Tensor, " B"] | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """Retrieval in both directions, one value a sample, so that values of two models can be paired.

    Args:
        image: one vector an image [B, D].
        text: the vector of each image's caption [B, D].
        keys: equal for equal captions, see `retrieval_ranks` [B].
        queries: measure these M samples only, against the whole gallery [B]; None measures all.

    Returns:
        `image_to_text_r1`, `_r5`, `_r10`, `_mrr`, the same of `text_to_image_`, and `mean_`, which is the mean of both
        directions; shares from 0 to 1, [M] each, in the order of the samples.

    Raises:
        ValueError: as `ranks`.
    """
    return retrieval_of_ranks(*retrieval_ranks(image, text, keys, queries))


def retrieval_of_scores(scores: Float[Tensor, "B B"], keys: Int64[Tensor, " B"]) -> dict[str, Float[Tensor, " B"]]:
    """`retrieval` of a model that scores pairs.

    Args:
        scores: of each sample's image (rows) with each sample's caption (columns).
        keys: equal for equal captions; the first column of each is taken.
    """
    captions, caption_of = torch.unique(keys, return_inverse=True)
    first = torch.stack([(caption_of == number).nonzero()[0, 0] for number in range(len(captions))])
    table, hits = scores[:, first], caption_of[:, None] == torch.arange(len(captions), device=keys.device)
    return retrieval_of_ranks(ranks_of_scores(table, hits), ranks_of_scores(table.T, hits.T)[caption_of])


def retrieval_of_ranks(to_text: Int64[Tensor, " M"], to_image: Int64[Tensor, " M"]) -> dict[str, Float[Tensor, " M"]]:
    """What `retrieval` gives, from the ranks of image to text and of text to image, one of each a sample."""
    result: dict[str, Tensor] = {}
    for name, found in zip(("image_to_text", "text_to_image"), (to_text, to_image), strict=True):
        result |= {f"{name}_r{k}": recall_at(found, k) for k in (1, 5, 10)}
        result[f"{name}_mrr"] = reciprocal_rank(found)
    for metric in ("r1", "r5", "r10", "mrr"):
        result[f"mean_{metric}"] = (result[f"image_to_text_{metric}"] + result[f"text_to_image_{metric}"]) / 2
    return result


def accuracy(logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], k: int = 1) -> Float[Tensor, " B"]:
    """1 where the true class is among the `k` that score highest, else 0; of tied classes the true one comes last.

    Args:
        logits: one score a class [B, C]. Scores within `TIE` of the row's largest magnitude are tied.
        labels: the true classes [B], from 0 to C - 1.
        k: 1 for top-1 accuracy, 5 for top-5.

    Raises:
        ValueError: a label is no class, or a score is not finite.
    """
    _check_finite(logits, "row of logits")
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        raise ValueError(f"label {int(labels[first])} of sample {first} is none of the {logits.shape[1]} classes.")
    scores = logits.double()
    if not scores.numel():
        return scores.new_zeros(len(scores))
    true = scores.gather(1, labels[:, None])
    threshold = true - TIE * scores.abs().amax(1, keepdim=True)
    return ((scores >= threshold).sum(1) <= k).double()
