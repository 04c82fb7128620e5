"""Late interaction: images and texts compared token by token, not vector by vector."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

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
    under autocast.

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
        v, w = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (image, text))
        products = max(1, v.shape[1] * w.shape[0] * w.shape[1])
        size = tile or max(1, _WHOLE // products)
        if len(v) <= size:
            return _both(v, image_mask, w, text_mask)
        parts = [
            checkpoint(_both, v[i : i + size], _rows(image_mask, i, size), w, text_mask, use_reentrant=False)
            for i in range(0, len(v), size)
        ]
    to_text, to_image = zip(*parts, strict=True)
    return torch.cat(to_text), torch.cat(to_image)


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


def _rows(mask: Tensor | None, start: int, size: int) -> Tensor | None:
    return None if mask is None else mask[start : start + size]


def _both(v: Tensor, v_mask: Tensor | None, w: Tensor, w_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both similarities [Q, G], from the products of all tokens."""
    products = (v.flatten(0, 1) @ w.flatten(0, 1).T).reshape(*v.shape[:2], *w.shape[:2])  # [Q, N, G, L]
    low = torch.finfo(products.dtype).min / 2
    over_text = products if w_mask is None else products.masked_fill(~w_mask, low)
    over_image = products if v_mask is None else products.masked_fill(~v_mask[:, :, None, None], low)
    to_text = _mean(over_text.amax(3), None if v_mask is None else v_mask[:, :, None], 1)
    to_image = _mean(over_image.amax(1), None if w_mask is None else w_mask[None], 2)
    return to_text, to_image


def _mean(values: Tensor, mask: Tensor | None, axis: int) -> Tensor:
    if mask is None:
        return values.mean(axis)
    return torch.where(mask, values, 0.0).sum(axis) / mask.sum(axis)
