"""The contrastive losses of two towers, exact at any size, and the targets they can be given.

Every loss is over the samples of all ranks: the vectors are those of this rank, what speaks of pairs (`keys`,
`targets`, `ignore`, `matches`) is of all ranks, and the mean over ranks of what is returned is the loss of the whole.
No rank holds more of the matrix of similarities than its own rows, and of these `tile` at a time: the logarithms of the
sums of a tile are kept, and the tile itself is computed again on the way back. Similarities are taken in float32 at
least, also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from deixis.ops.collective import gather, mean_count, own_rows, world_size
from deixis.ops.precision import to_float32

__all__ = ["info_nce", "one_way", "same_targets", "sigmoid_pairs", "soft_targets"]

_WHOLE = 2**22
"""Entries of the matrix up to which it is not cut; beyond, a tile has about as many."""

Number = float | Float[Tensor, ""]


class _Logits(NamedTuple):
    """How products become logits."""

    scale: Number
    bias: Number

    def __call__(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Of all pairs [Q, G]."""
        return (self.scale * queries) @ gallery.T + self.bias

    def of(self, queries: Tensor, others: Tensor) -> Tensor:
        """Of each query with the vector at its place [Q]."""
        return self.scale * (queries * others).sum(1) + self.bias


def info_nce(
    image: Float[Tensor, "B D"],
    text: Float[Tensor, "B D"],
    *,
    scale: Number,
    keys: Int64[Tensor, " N"] | None = None,
    targets: Float[Tensor, "N N"] | None = None,
    ignore: Bool[Tensor, "N N"] | None = None,
    **options: Any,
) -> Float[Tensor, ""]:
    """The symmetric cross-entropy of image to text and text to image, halved, over the samples of all ranks.

    With S = scale image text' and targets P (rows sum to 1) it is the mean of `one_way(image, text, P)` and
    `one_way(text, image, P')`, the rows of P' divided by their sums.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), figure 3.

    Args:
        image: one vector an image of this rank [B, D], usually of length 1.
        text: the vector of each image's caption [B, D].
        scale: factor on the dot products, the inverse of a temperature.
        keys: equal for samples, of all ranks, that are right answers to one another [N]; they share the mass.
        targets: where each image's mass should go, one distribution a row [N, N]; with neither, the identity.
        ignore: pairs that are no negatives, left out of both softmaxes [N, N].
        **options: `smoothing`, `bias` and `tile`, as `one_way` takes them.

    Raises:
        ValueError: a column of `targets` sums to 0, so that a text has nothing to point at; or what `one_way` raises.
    """
    backward = None
    if targets is not None:
        mass = targets.sum(0)
        if not (mass > 0).all():
            raise ValueError("a text has no image as its target: each column of targets must hold something.")
        backward = (targets / mass).T
    if world_size() == 1:
        return _both_ways(image, text, scale, _Pairs(keys, targets, ignore), backward, **options)
    mine = own_rows(len(image), image.device)
    there = {"keys": keys, "targets": _rows(targets, mine), "ignore": _rows(ignore, mine)}
    back = {"keys": keys, "targets": _rows(backward, mine), "ignore": _rows(None if ignore is None else ignore.T, mine)}
    losses = [
        one_way(image, gather(text), scale=scale, first=mine.start, **there, **options),
        one_way(text, gather(image), scale=scale, first=mine.start, **back, **options),
    ]
    return (losses[0] + losses[1]) / 2 * len(image) / mean_count(float(len(image)))


def one_way(
    queries: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "G D"],
    *,
    scale: Number,
    keys: Int64[Tensor, " G"] | None = None,
    targets: Float[Tensor, "Q G"] | None = None,
    ignore: Bool[Tensor, "Q G"] | None = None,
    **options: Any,
) -> Float[Tensor, ""]:
    """One direction, of the vectors given: the mean over queries of - sum_j P_ij log softmax_j(scale q_i g_j + bias).

    Args:
        queries: the vectors that ask [Q, D].
        gallery: the vectors they choose among [G, D].
        scale: factor on the dot products.
        keys: of the entries; those with the key of a query's own entry share its mass [G].
        targets: one distribution a query [Q, G]; with neither, query i should find entry first + i.
        ignore: entries that a query's softmax leaves out [Q, G].
        **options: `first` (the entry that belongs to query 0; default 0), `smoothing` (the share of the mass that is
            spread over all entries; default 0), `bias` (added to all logits, which changes nothing but what is reported
            of them; default 0), `tile` (queries at a time; the default cuts large matrices only).

    Raises:
        ValueError: no targets, and more queries than entries; an own entry is ignored; smoothing with `ignore`.
    """
    settings = _settings(**options)
    if targets is None and settings.first + len(queries) > len(gallery):
        raise ValueError(f"{len(queries)} queries can't each find their own of {len(gallery)} entries: give targets.")
    pairs = _Pairs(keys, targets, ignore, settings.first)
    with _precisely(queries):
        q, g, logits = to_float32(queries), to_float32(gallery), _Logits(scale, settings.bias)
        pairs.check(len(queries), settings.smoothing)
        rows, _ = _Sums.apply(scale * q, g, ignore, settings.rows(len(q), len(g)), False)
        return (rows + settings.bias - pairs.aims(q, g, logits, settings.smoothing)).mean()


def sigmoid_pairs(
    image: Float[Tensor, "Q D"],
    text: Float[Tensor, "G D"],
    *,
    scale: Number,
    bias: Number,
    keys: Int64[Tensor, " G"] | None = None,
    matches: Bool[Tensor, "Q G"] | None = None,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Every pair a yes or no of its own: (1 / Q) sum_ij softplus(-y_ij z_ij), z = scale image text' + bias.

    y is 1 where the two belong together and -1 elsewhere. The sum is over all Q G pairs and divided by the number of
    images only, so that the losses of parts of the texts add up to the loss of all, and the mean over equal parts of
    the images is the loss of all. In several processes the texts may be those of all ranks (`gather(text)`, with
    `matches`).

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training (2023), equation 1.

    Args:
        image: one vector an image [Q, D], usually of length 1.
        text: one vector a text [G, D].
        scale: factor on the dot products.
        bias: added to them; below 0, as most pairs do not match.
        keys: equal for samples that belong together, where there are as many images as texts [G].
        matches: true where an image and a text belong together [Q, G]; with neither, image i and text i.
        tile: images at a time; the default cuts large matrices only.

    Raises:
        ValueError: no matches, and not as many images as texts.
    """
    if matches is None and len(image) != len(text):
        raise ValueError(f"{len(image)} images and {len(text)} texts are no pairs: give matches.")
    keys = torch.arange(len(text), device=text.device) if keys is None else keys
    with _precisely(image):
        q, g, logits = to_float32(image), to_float32(text), _Logits(scale, bias)
        size = _settings(tile=tile).rows(len(q), len(g))
        per_row = keys if matches is None else None
        sums = _tiled(_pair_sums, q, [per_row, matches], size, g, logits, keys)
        return torch.stack([part for (part,) in sums]).sum() / len(image)


def same_targets(keys: Int64[Tensor, " N"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "N N"]:
    """Targets that spread each row evenly over the samples with its key, itself among them (multi-positive).

    `info_nce(..., keys=keys)` is the loss with these targets, without the matrix.

    Args:
        keys: equal for samples whose captions mean the same [N].
        dtype: of the result; float64 where the loss is taken in float64, as 1/3 differs.
    """
    same = (keys[:, None] == keys[None, :]).to(dtype)
    return same / same.sum(1, keepdim=True)


def soft_targets(text: Float[Tensor, "N D"], scale: Number) -> Float[Tensor, "N N"]:
    """Targets softmax(scale t t'): captions that mean nearly the same share their mass. Constants: no gradient.

    Args:
        text: one caption vector a sample, usually of length 1 [N, D].
        scale: factor on the dot products; the larger, the nearer to `same_targets`.
    """
    with torch.no_grad():
        return (scale * (text @ text.T)).softmax(1)


# What is right, and what is left out


class _Pairs(NamedTuple):
    """Which entries each query should find, and which it does not see."""

    keys: Tensor | None
    targets: Tensor | None
    ignore: Tensor | None
    first: int = 0

    def check(self, queries: int, smoothing: float) -> None:
        if self.keys is not None and self.targets is not None:
            raise ValueError("keys and targets both say what is right: give one of them.")
        if self.ignore is None:
            return
        if smoothing:
            raise ValueError("smoothing spreads mass over all entries, and some are to be ignored: give one of them.")
        where = torch.arange(queries, device=self.ignore.device)
        if self.targets is None and bool(self.ignore[where, where + self.first].any()):
            raise ValueError("the entry of a query's own is to be ignored: nothing would be left to find.")

    def aims(self, queries: Tensor, gallery: Tensor, logits: _Logits, smoothing: float) -> Tensor:
        """The logits of each query averaged by its targets [Q]; no matrix is made."""
        if self.targets is not None:
            aim = logits.of(queries, self.targets.to(gallery.dtype) @ gallery)
        else:
            stop = self.first + len(queries)
            aim = logits.of(queries, (gallery if self.keys is None else _means(gallery, self.keys))[self.first : stop])
        if not smoothing:
            return aim
        return (1 - smoothing) * aim + smoothing * logits.of(queries, gallery.mean(0, keepdim=True))


def _means(vectors: Tensor, keys: Tensor) -> Tensor:
    """For each vector the mean of those with its key."""
    names, place = torch.unique(keys, return_inverse=True)
    sums = torch.zeros(len(names), vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    counts = torch.bincount(place, minlength=len(names)).to(vectors.dtype)
    return (sums.index_add(0, place, vectors) / counts[:, None])[place]


def _rows(matrix: Tensor | None, rows: slice) -> Tensor | None:
    return None if matrix is None else matrix[rows]


# Tiles


class _Sums(torch.autograd.Function):
    """The logarithm of the sum of exponentials of each row of queries gallery', and of each column.

    A tile is made twice, here and on the way back, where the gradient of both sums is put together in place.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, gallery: Tensor, ignore: Tensor | None, size: int, columns: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.size, ctx.columns = size, columns
        rows, highest = [], torch.full((len(gallery),), -torch.inf, dtype=queries.dtype, device=queries.device)
        total = torch.zeros_like(highest)
        for start in range(0, len(queries), size):
            logits = _products(queries, gallery, ignore, slice(start, start + size))
            if columns:
                above = torch.maximum(highest, logits.amax(0))
                total = total * (highest - above).exp_() + (logits - above).exp_().sum(0)
                highest = above
            top = logits.amax(1, keepdim=True)
            rows.append(logits.sub_(top).exp_().sum(1).log_() + top[:, 0])
        sums = torch.cat(rows), highest + total.log_()
        ctx.save_for_backward(queries, gallery, ignore, *sums)
        if not columns:
            ctx.mark_non_differentiable(sums[1])
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, gallery, ignore, rows, columns = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more: in one piece, by autograd
            logits = _products(queries, gallery, ignore, slice(None))
            both = [(logits.logsumexp(1), grads[0])] + [(logits.logsumexp(0), grads[1])] * ctx.columns
            outputs, weights = zip(*both, strict=True)
            return (*torch.autograd.grad(outputs, (queries, gallery), weights, create_graph=True), None, None, None)
        to_queries, to_gallery = torch.empty_like(queries), torch.zeros_like(gallery)
        for start in range(0, len(queries), ctx.size):
            own = slice(start, start + ctx.size)
            logits = _products(queries, gallery, ignore, own)
            weight = (logits - columns).exp_().mul_(grads[1]) if ctx.columns else None
            logits.sub_(rows[own, None]).exp_().mul_(grads[0][own, None])
            weight = logits if weight is None else weight.add_(logits)
            torch.mm(weight, gallery, out=to_queries[own])
            to_gallery.addmm_(weight.T, queries[own])
        return to_queries, to_gallery, None, None, None


def _products(queries: Tensor, gallery: Tensor, ignore: Tensor | None, own: slice) -> Tensor:
    products = queries[own] @ gallery.T
    if ignore is None:
        return products
    # Finite, since a tile may hold nothing else of a column, and infinities have no difference.
    return products.masked_fill(ignore[own], torch.finfo(products.dtype).min / 2)


class _Settings(NamedTuple):
    smoothing: float
    bias: Number
    tile: int | None
    first: int

    def rows(self, queries: int, gallery: int) -> int:
        """How many queries go at a time."""
        if self.tile is not None:
            return max(1, self.tile)
        return queries if queries * gallery <= _WHOLE else max(64, _WHOLE // gallery)


def _settings(smoothing: float = 0.0, bias: Number = 0.0, tile: int | None = None, first: int = 0) -> _Settings:
    return _Settings(smoothing, bias, tile, first)


def _both_ways(
    image: Tensor, text: Tensor, scale: Number, pairs: _Pairs, backward: Tensor | None, **options: Any
) -> Tensor:
    """Both directions from one pass over the matrix."""
    settings = _settings(**options)
    with _precisely(image):
        x, y, logits = to_float32(image), to_float32(text), _Logits(scale, settings.bias)
        pairs.check(len(x), settings.smoothing)
        rows, columns = _Sums.apply(scale * x, y, pairs.ignore, settings.rows(len(x), len(y)), True)
        there = pairs.aims(x, y, logits, settings.smoothing)
        back = pairs._replace(targets=backward).aims(y, x, logits, settings.smoothing)
        return ((rows - there).mean() + (columns - back).mean()) / 2 + settings.bias


def _tiled(
    work: Callable[..., tuple[Tensor, ...]], queries: Tensor, by_row: list[Tensor | None], size: int, *others: Any
) -> list[tuple[Tensor, ...]]:
    """`work` on `size` queries at a time; where there are several tiles, what each holds is dropped and made again."""
    starts = range(0, len(queries), size)
    parts = [(queries[i : i + size], *(_rows(each, slice(i, i + size)) for each in by_row)) for i in starts]
    if len(parts) == 1:
        return [work(*parts[0], *others)]
    return [checkpoint(work, *part, *others, use_reentrant=False, preserve_rng_state=False) for part in parts]


def _pair_sums(
    image: Tensor, own: Tensor | None, matches: Tensor | None, text: Tensor, logits: _Logits, keys: Tensor
) -> tuple[Tensor, ...]:
    if own is not None:
        matches = own[:, None] == keys[None, :]
    similarity = logits(image, text)
    return (F.softplus(torch.where(matches, -similarity, similarity)).sum(),)  # type: ignore[arg-type]


def _precisely(vectors: Tensor) -> torch.autocast:
    return torch.autocast(vectors.device.type, enabled=False)
