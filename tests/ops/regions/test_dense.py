"""Losses and measures of masks against loops over pixels, and in the cases that are plain."""

from __future__ import annotations

import math

import pytest
import torch

from deixis.ops.regions.dense import dice_loss, focal_loss, mask_iou, overall_iou

LOGITS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
TARGETS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.4


def test_focal_and_dice_equal_loops_over_pixels() -> None:
    for number in range(3):
        losses, both, shares = [], 0.0, 0.0
        for logit, inside in zip(LOGITS[number].flatten().tolist(), TARGETS[number].flatten().tolist(), strict=True):
            share = 1 / (1 + math.exp(-logit))
            right = share if inside else 1 - share
            losses.append(-(0.25 if inside else 0.75) * (1 - right) ** 2 * math.log(right))
            both, shares = both + share * inside, shares + share
        focal = focal_loss(LOGITS, TARGETS, alpha=0.25, gamma=2.0)[number]
        assert float(focal) == pytest.approx(sum(losses) / len(losses))
        dice = 1 - (2 * both + 1) / (shares + int(TARGETS[number].sum()) + 1)
        assert float(dice_loss(LOGITS, TARGETS)[number]) == pytest.approx(dice)


def test_focal_without_its_exponent_is_half_of_cross_entropy() -> None:
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, TARGETS.double(), reduction="none")
    torch.testing.assert_close(focal_loss(LOGITS, TARGETS, alpha=0.5, gamma=0.0), entropy.mean((1, 2)) / 2)


def test_a_mirrored_picture_has_the_mirrored_answer() -> None:
    for loss in (focal_loss(LOGITS, TARGETS, 0.25, 2.0), dice_loss(LOGITS, TARGETS)):
        assert float(loss.min()) > 0
    torch.testing.assert_close(dice_loss(LOGITS.flip(2), TARGETS.flip(2)), dice_loss(LOGITS, TARGETS))
    torch.testing.assert_close(
        focal_loss(LOGITS.flip(2), TARGETS.flip(2), 0.25, 2.0), focal_loss(LOGITS, TARGETS, 0.25, 2.0)
    )


def test_what_is_right_and_sure_has_no_loss() -> None:
    sure = torch.where(TARGETS, 50.0, -50.0)
    torch.testing.assert_close(focal_loss(sure, TARGETS, 0.25, 2.0), torch.zeros(3))
    torch.testing.assert_close(dice_loss(sure, TARGETS), torch.zeros(3))


def test_iou_of_masks_is_a_mean_over_masks_or_over_pixels() -> None:
    masks = torch.zeros(3, 2, 4, dtype=torch.bool)
    targets = masks.clone()
    masks[0, :, :3] = True  # 6 pixels, 2 of them right, of 2
    targets[0, :, 0] = True
    masks[1] = targets[1] = True
    assert mask_iou(masks, targets).tolist() == pytest.approx([2 / 6, 1, 1])
    assert float(overall_iou(masks, targets)) == pytest.approx(10 / 14)
