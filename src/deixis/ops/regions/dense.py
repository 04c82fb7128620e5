"""Losses and measures of masks: each of them one number a mask, so that whoever calls decides what to divide by.

With p = sigmoid of a logit, t the target (0 or 1), p_t = p where t is 1 and 1 - p elsewhere, a_t likewise of alpha:

    focal = mean over pixels of  - a_t (1 - p_t)^gamma log p_t                      (Lin et al. 2017)
    dice  = 1 - (2 sum of p t + 1) / (sum of p + sum of t + 1)                      (Milletari et al. 2016)
    IoU   = pixels in both / pixels in either
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.precision import to_float32

__all__ = ["dice_loss", "focal_loss", "mask_iou", "overall_iou"]


def focal_loss(
    logits: Float[Tensor, "N H W"], targets: Bool[Tensor, "N H W"], alpha: float, gamma: float
) -> Float[Tensor, " N"]:
    """Cross-entropy of pixels in which those that are right already weigh little; in float32 at least.

    Args:
        logits: of each pixel.
        targets: the pixels of each mask.
        alpha: weight of the mask's pixels; all others weigh 1 - alpha.
        gamma: how fast a pixel loses weight as it becomes right; 0 is cross-entropy.
    """
    scores, wanted = to_float32(logits), targets.to(to_float32(logits).dtype)
    entropy = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
    share = scores.sigmoid()
    right = share * wanted + (1 - share) * (1 - wanted)
    weight = alpha * wanted + (1 - alpha) * (1 - wanted)
    return (weight * (1 - right) ** gamma * entropy).flatten(1).mean(1)


def dice_loss(
    logits: Float[Tensor, "N H W"], targets: Bool[Tensor, "N H W"], smooth: float = 1.0
) -> Float[Tensor, " N"]:
    """How far the mask as a whole is from the target: small things count as much as large ones; in float32 at least.

    Args:
        logits: of each pixel.
        targets: the pixels of each mask.
        smooth: pixels added above and below the line, so that an empty target has a loss too.
    """
    share = to_float32(logits).sigmoid().flatten(1)
    wanted = targets.flatten(1).to(share.dtype)
    return 1 - (2 * (share * wanted).sum(1) + smooth) / (share.sum(1) + wanted.sum(1) + smooth)


def mask_iou(masks: Bool[Tensor, "N H W"], targets: Bool[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """Intersection over union of each mask with its target, whose mean is mIoU; of two empty ones it is 1."""
    both, either = (pixels.flatten(1).sum(1).double() for pixels in (masks & targets, masks | targets))
    return (both / either.clamp(min=1)).masked_fill(either == 0, 1.0)


def overall_iou(masks: Bool[Tensor, "N H W"], targets: Bool[Tensor, "N H W"]) -> Float[Tensor, ""]:
    """All pixels in both over all pixels in either, over all pairs at once: large things count more."""
    return (masks & targets).sum().double() / (masks | targets).sum().clamp(min=1)
