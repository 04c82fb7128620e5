"""Losses that compare views of images with each other, over the samples of all ranks.

With u the views scaled to length 1, s = u u' / temperature, and for anchor i: others all views but i, positives P(i)
among them those of its label, negatives N(i) the rest:

    nt_xent, supcon = mean over anchors i of  mean over p in P(i) of  log(sum of exp(s_ij) over others j) - s_ip
    spectral        = - 2 mean_i <z_i, z'_i> + mean over i != j of <z_i, z'_j>^2

Without labels the positives of a view are the other views of its image (Chen et al. 2020), with labels all views of its
label (Khosla et al. 2020); anchors that have no positive are left out. `negatives="mean"` puts exp(s_ip) + the mean of
exp(s_ij) over N(i) in the place of the sum, so that the loss does not grow with the batch. `spectral` (HaoChen et al.
2021) takes vectors as they are.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.collective import gather, mean_count, own_rows, world_size
from deixis.ops.precision import to_float32

__all__ = ["nt_xent", "spectral", "supcon"]


def nt_xent(
    views: Float[Tensor, "V B D"], temperature: float, negatives: Literal["sum", "mean"] = "sum"
) -> Float[Tensor, ""]:
    """Each view finds the other views of its image.

    Args:
        views: V of each image of this rank, of any length.
        temperature: that cosines are divided by.
        negatives: whether their exponentials are summed or averaged.
    """
    count, device = views.shape[1], views.device
    start = own_rows(count, device).start
    return supcon(views, torch.arange(start, start + count, device=device), temperature, negatives)


def supcon(
    views: Float[Tensor, "V B D"],
    labels: Int64[Tensor, " B"],
    temperature: float,
    negatives: Literal["sum", "mean"] = "sum",
) -> Float[Tensor, ""]:
    """Each view finds all views of its label; the mean over the anchors, of all ranks, that have a positive, 0 where
    none has.

    Args:
        views: V of each image of this rank, of any length.
        labels: of the images.
        temperature: that cosines are divided by.
        negatives: whether their exponentials are summed or averaged.
    """
    rows = F.normalize(to_float32(views), dim=2).transpose(0, 1)  # [B, V, D]
    number, own = rows.shape[1], own_rows(len(rows), rows.device)
    gallery = gather(rows).flatten(0, 1)
    named = gather(labels.to(torch.float64)).repeat_interleave(number)
    anchors = labels.to(torch.float64).repeat_interleave(number)
    places = torch.arange(own.start * number, own.stop * number, device=rows.device)
    itself = places[:, None] == torch.arange(len(gallery), device=rows.device)
    scores = rows.flatten(0, 1) @ gallery.T / temperature
    positive = (anchors[:, None] == named) & ~itself
    if negatives == "sum":
        total = scores.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    else:
        others = ~positive & ~itself
        share = others.sum(dim=1, keepdim=True).clamp(min=1).to(scores.dtype).log()
        floor = torch.finfo(scores.dtype).min / 2  # finite: an anchor without negatives has a gradient, too
        total = torch.logaddexp(scores, scores.masked_fill(~others, floor).logsumexp(dim=1, keepdim=True) - share)
    counts = positive.sum(dim=1)
    each = torch.where(positive, total - scores, 0.0).sum(dim=1) / counts.clamp(min=1)
    return each.sum() / mean_count(float((counts > 0).sum())).clamp(min=1e-6).to(each)


def spectral(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Views of one image have a large product, views of two images a small one.

    Args:
        first: one view of each image of this rank, of any length.
        second: another one.

    Raises:
        ValueError: there is one image in all, so that nothing is a pair of two.
    """
    mean = float(mean_count(float(len(first))))
    images = round(mean * world_size())
    if images < 2:
        raise ValueError("one image has no other to be compared with: give two or more.")
    rows, others, own = to_float32(first), to_float32(second), own_rows(len(first), first.device)
    products = rows @ gather(others).T
    itself = torch.arange(own.start, own.stop, device=rows.device)
    attraction = products.gather(1, itself[:, None]).sum()
    apart = products.scatter(1, itself[:, None], 0.0).square().sum()
    return (apart / (images - 1) - 2 * attraction) / mean
