"""Proposals: boxes and masks of one region agree, and its features are those of its pixels."""

from __future__ import annotations

import torch

from deixis import zoo


def test_boxes_masks_and_features_speak_of_the_same_region() -> None:
    part = zoo.load_part("proposals", "tiny")
    images = torch.zeros(1, 3, 30, 30)
    images[0, 0, 10:20, 20:30] = 1.0  # red, in the middle row at the right
    regions = part(images)
    red = int(regions.features[0, :, 0].argmax())
    torch.testing.assert_close(regions.boxes[0, red], torch.tensor([2 / 3, 1 / 3, 1.0, 2 / 3]))
    assert regions.masks is not None
    assert torch.equal(regions.masks[0, red], images[0, 0].bool())
    assert regions.masks[0].sum(0).eq(1).all(), "each pixel lies in one region"
    assert regions.valid.all()
    assert regions.features.shape[-1] == part.width
    torch.testing.assert_close(regions.classes.sum(-1), torch.ones(1, 9))
    assert regions.classes.shape[-1] == len(part.classes)
