"""Late interaction: images and texts compared token by token, not vector by vector."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from deixis.ops.precision import to_float32

__all__ = ["strongest_tokens", "token_similarity"]

_WHOLE = 2**24
"""Products of tokens up to which they are not cut; beyond, a tile has about as many."""


def token_similarity(
    image: Float[Tensor, "Q N D"],
    text: Float[Tensor, "G L D"],
    *,
    image_mask: Bool[Tensor, "Q N"] | None = None,
    text_mask: Bool[Tensor, "G L"] | None = None,
    tile: int | None = None,
) -> tuple[Float[Tensor, "Q G"], Float[Tensor, "Q G"]]:
    """How well each image's tokens find a counterpart in each text, and each text's tokens one in each image.

        to_text[i, j]  = mean over the tokens k of image i of  max over the tokens r of text j of  v_ik w_jr
        to_image[i, j] = mean over the tokens r of text j  of  max over the tokens k of image i of v_ik w_jr

    The two differ. Only real tokens take part, in the mean as in the maximum. Products are taken for `tile` images at a
    time, and again on the way back, so that the tensor [Q, G, N, L] never exists; they are in float32 at least, also
    under autocast. On the way back a maximum moves the one token that gave it (of equal ones the first): no second
    derivatives.

    Source: Yao et al., FILIP: Fine-grained Interactive Language-Image Pre-Training (2022), equations 3 to 5.

    Args:
        image: one vector a token or patch [Q, N, D], usually of length 1.
        text: one vector a token [G, L, D].
        image_mask: true where a token is real [Q, N]; None: all are.
        text_mask: the same of the texts [G, L].
        tile: images at a time; the default cuts large products only.

    Returns:
        `to_text` and `to_image`, both [Q, G].

    Raises:
        ValueError: an image or a text has no real token.
    """
    for name, mask in (("image", image_mask), ("text", text_mask)):
        if mask is not None and not bool(mask.any(1).all()):
            empty = int((~mask.any(1)).nonzero()[0])
            raise ValueError(f"{name} {empty} has no real token: there is nothing to compare.")
    with torch.autocast(image.device.type, enabled=False):
        v, w = to_float32(image), to_float32(text)
        products = max(1, v.shape[1] * w.shape[0] * w.shape[1])
        size = tile or max(1, _WHOLE // products)
        found: tuple[Tensor, Tensor] = _Late.apply(v, image_mask, w, text_mask, size)
    return found


def strongest_tokens(
    states: Float[Tensor, "B N D"],
    others: Float[Tensor, "G L D"],
    *,
    share: float,
    mask: Bool[Tensor, "B N"] | None = None,
    others_mask: Bool[Tensor, "G L"] | None = None,
) -> Bool[Tensor, "B N"]:
    """The tokens of each sample that have the highest similarity to any token of any of the others; no gradient.

    Args:
        states: one vector a token [B, N, D].
        others: tokens of the other side [G, L, D].
        share: of each sample's real tokens that is kept, rounded up; in (0, 1].
        mask: true where a token is real [B, N].
        others_mask: the same of the others [G, L].

    Raises:
        ValueError: `share` is out of its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must be above 0 and at most 1.")
    with torch.no_grad():
        real = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if mask is None else mask
        words = others.flatten(0, 1) if others_mask is None else others[others_mask]
        best = (states.float() @ words.float().T).amax(-1).masked_fill(~real, -torch.inf)
        place = best.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
        kept: Tensor = real & (place < (share * real.sum(1, keepdim=True)).ceil())
        return kept


class _Late(torch.autograd.Function):
    """Both similarities; what is kept for the way back is which token gave each maximum, or, of more than one tile,
    nothing."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, v_mask: Tensor | None, w: Tensor, w_mask: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor]:
        v_mask, w_mask = (None if mask is None or bool(mask.all()) else mask for mask in (v_mask, w_mask))
        v_share, w_share = _shares(v, v_mask), _shares(w, w_mask)
        to_text, to_image = v.new_empty(len(v), len(w)), v.new_empty(len(v), len(w))
        places: tuple[Tensor, ...] = ()
        for start in range(0, len(v), size):
            rows = slice(start, start + size)
            of_text, of_image, *places_here = _strongest(v[rows], _rows(v_mask, rows), w, w_mask)
            to_text[rows] = (of_text * v_share[rows, :, None]).sum(1)
            to_image[rows] = (of_image * w_share).sum(2)
            places = tuple(places_here) if len(v) <= size else ()
        ctx.save_for_backward(v, v_mask, w, w_mask, v_share, w_share, *places)
        ctx.size = size
        return to_text, to_image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_text: Tensor, by_image: Tensor) -> tuple[Tensor | None, ...]:
        v, v_mask, w, w_mask, v_share, w_share, *places = ctx.saved_tensors
        dv, dw = torch.empty_like(v), torch.zeros_like(w)
        for start in range(0, len(v), ctx.size):
            rows = slice(start, start + ctx.size)
            here = v[rows]
            word, patch = places or _strongest(here, _rows(v_mask, rows), w, w_mask)[2:]
            share = here.new_zeros(*here.shape[:2], *w.shape[:2])  # d loss / d product [q, N, G, L]
            share.scatter_(3, word[..., None], (by_text[rows, None] * v_share[rows, :, None])[..., None])
            share.scatter_add_(1, patch[:, None], (by_image[rows, :, None] * w_share)[:, None])
            flat = share.flatten(0, 1).flatten(1)
            dv[rows] = (flat @ w.flatten(0, 1)).view_as(here)
            dw += (flat.T @ here.flatten(0, 1)).view_as(w)
        return dv, None, dw, None, None


def _rows(mask: Tensor | None, rows: slice) -> Tensor | None:
    return None if mask is None else mask[rows]


def _shares(tokens: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B N"]:
    """What each token counts in the mean over those that are real."""
    if mask is None:
        return tokens.new_full(tokens.shape[:2], 1 / tokens.shape[1])
    return mask.to(tokens.dtype) / mask.sum(1, keepdim=True)


def _strongest(
    v: Float[Tensor, "q N D"],
    v_mask: Bool[Tensor, "q N"] | None,
    w: Float[Tensor, "G L D"],
    w_mask: Bool[Tensor, "G L"] | None,
) -> tuple[Float[Tensor, "q N G"], Float[Tensor, "q G L"], Int64[Tensor, "q N G"], Int64[Tensor, "q G L"]]:
    """The greatest product of each patch over the tokens of each text, and of each token over the patches of each
    image, and which it is; 0 for what is not real."""
    products = (v.flatten(0, 1) @ w.flatten(0, 1).T).reshape(*v.shape[:2], *w.shape[:2])  # [q, N, G, L]
    low = torch.finfo(products.dtype).min / 2
    over_text = products if w_mask is None else products.masked_fill(~w_mask, low)
    over_image = products if v_mask is None else products.masked_fill(~v_mask[:, :, None, None], low)
    (of_text, word), (of_image, patch) = over_text.max(3), over_image.max(1)
    if v_mask is not None:
        of_text = of_text.masked_fill(~v_mask[:, :, None], 0.0)
    if w_mask is not None:
        of_image = of_image.masked_fill(~w_mask, 0.0)
    return of_text, of_image, word, patch
