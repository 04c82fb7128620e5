"""The contrastive losses of two towers, and the targets they can be given."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["info_nce", "one_way", "same_targets", "sigmoid_pairs", "soft_targets"]


def info_nce(
    image: Float[Tensor, "N D"],
    text: Float[Tensor, "N D"],
    *,
    scale: float | Float[Tensor, ""],
    targets: Float[Tensor, "N N"] | None = None,
) -> Float[Tensor, ""]:
    """The symmetric cross-entropy of image to text and text to image, halved.

    With S = scale image text' and targets P (rows sum to 1) it is the mean of `one_way(image, text, P)` and
    `one_way(text, image, P')`, the rows of P' divided by their sums.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), figure 3.

    Args:
        image: one vector an image [N, D], usually of length 1.
        text: the vector of each image's caption [N, D].
        scale: factor on the dot products, the inverse of a temperature.
        targets: where each image's mass should go, one distribution a row [N, N]; None is the identity.

    Raises:
        ValueError: a column of `targets` sums to 0, so that a text has nothing to point at.
    """
    backward = None
    if targets is not None:
        mass = targets.T.sum(1, keepdim=True)
        if not (mass > 0).all():
            raise ValueError("a text has no image as its target: each column of targets must hold something.")
        backward = targets.T / mass
    return (
        one_way(image, text, scale=scale, targets=targets) + one_way(text, image, scale=scale, targets=backward)
    ) / 2


def one_way(
    queries: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "G D"],
    *,
    scale: float | Float[Tensor, ""],
    targets: Float[Tensor, "Q G"] | None = None,
) -> Float[Tensor, ""]:
    """One direction: the mean over queries of - sum_j P_ij log softmax_j(scale q_i g_j).

    Args:
        queries: the vectors that ask [Q, D].
        gallery: the vectors they choose among [G, D].
        scale: factor on the dot products.
        targets: one distribution a query [Q, G]; None means that query i should find entry i.

    Raises:
        ValueError: no targets, and more queries than entries.
    """
    if targets is None and len(queries) > len(gallery):
        raise ValueError(f"{len(queries)} queries can't each find their own of {len(gallery)} entries: give targets.")
    likelihood = (scale * (queries @ gallery.T)).log_softmax(1)
    chosen = likelihood.diagonal() if targets is None else (targets * likelihood).sum(1)
    return -chosen.mean()


def sigmoid_pairs(
    image: Float[Tensor, "Q D"],
    text: Float[Tensor, "G D"],
    *,
    scale: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    matches: Bool[Tensor, "Q G"] | None = None,
) -> Float[Tensor, ""]:
    """Every pair a yes or no of its own: (1 / Q) sum_ij softplus(-y_ij z_ij), z = scale image text' + bias.

    y is 1 where the two belong together and -1 elsewhere. The sum is over all Q G pairs and divided by the number of
    images only, so that the losses of parts of the texts add up to the loss of all, and the mean over equal parts of
    the images is the loss of all.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training (2023), equation 1.

    Args:
        image: one vector an image [Q, D], usually of length 1.
        text: one vector a text [G, D].
        scale: factor on the dot products.
        bias: added to them; below 0, as most pairs do not match.
        matches: true where an image and a text belong together [Q, G]; None means image i and text i.

    Raises:
        ValueError: no matches, and not as many images as texts.
    """
    if matches is None:
        if len(image) != len(text):
            raise ValueError(f"{len(image)} images and {len(text)} texts are no pairs: give matches.")
        matches = torch.eye(len(image), dtype=torch.bool, device=image.device)
    logits = scale * (image @ text.T) + bias
    return F.softplus(torch.where(matches, -logits, logits)).sum() / len(image)


def same_targets(keys: Int64[Tensor, " N"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "N N"]:
    """Targets that spread each row evenly over the samples with its key, itself among them (multi-positive).

    Args:
        keys: equal for samples whose captions mean the same [N].
        dtype: of the result; float64 where the loss is taken in float64, as 1/3 differs.
    """
    same = (keys[:, None] == keys[None, :]).to(dtype)
    return same / same.sum(1, keepdim=True)


def soft_targets(text: Float[Tensor, "N D"], scale: float | Float[Tensor, ""]) -> Float[Tensor, "N N"]:
    """Targets softmax(scale t t'): captions that mean nearly the same share their mass. Constants: no gradient.

    Args:
        text: one caption vector a sample, usually of length 1 [N, D].
        scale: factor on the dot products; the larger, the nearer to `same_targets`.
    """
    with torch.no_grad():
        return (scale * (text @ text.T)).softmax(1)
