"""Classes of pixels as a value: shares, masks, boxes, and COCO's run lengths that are read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.types import Mask, Segments
from deixis.types.detections import Detections
from deixis.types.segments import UNSEEN, joined_coco


def segments() -> Segments:
    """8 x 4 pixels of a picture that is twice as large: a dog at the left edge, grass below, no cat."""
    labels = torch.zeros(4, 8, dtype=torch.long)
    labels[:2, :3], labels[3], labels[0, 7] = 1, 2, UNSEEN
    return Segments(labels, ("background", "dog", "grass", "cat"), None, "photo.png", (16, 8), Image.new("RGB", (8, 4)))


def test_shares_are_of_what_the_model_saw_and_what_is_not_there_is_named() -> None:
    found = segments()
    assert found.shares() == {"background": 17 / 31, "grass": 8 / 31, "dog": 6 / 31}
    assert (found.share("dog"), found.share("cat"), found.missing) == (6 / 31, 0.0, ("cat",))
    assert found.lines()[1:] == ["nothing here is cat"]
    assert found.masks.sum((1, 2)).tolist() == [17, 6, 8, 0]
    with pytest.raises(DeixisError, match="no class 'horse'"):
        found.share("horse")


def test_classes_are_boxes_with_masks_too() -> None:
    found = segments().to_detections()
    assert found.phrases == ("dog", "grass")
    assert found.boxes.tolist() == [[0, 0, 3 / 8, 0.5], [0, 0.75, 1, 1]]
    assert found.masks is not None
    assert found.masks.sum((1, 2)).tolist() == [6, 8]


def test_cocos_run_lengths_are_the_masks_at_the_pictures_own_size() -> None:
    found = segments()
    content = joined_coco([found.to_coco(), found.to_coco()])
    assert [(row["id"], row["image_id"]) for row in content["annotations"]] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    for row, mask in zip(content["annotations"], found.masks[[1, 2, 1, 2]], strict=True):
        height, width = row["segmentation"]["size"]
        pixels = decode_mask(Mask(width, height, counts=tuple(row["segmentation"]["counts"])))
        assert torch.equal(pixels[::2, ::2], mask)
        assert (int(pixels.sum()), row["area"]) == (4 * int(mask.sum()),) * 2
    assert Detections.from_coco(content)[0].boxes.tolist() == found.to_detections().boxes.tolist()


def test_files_say_where_the_model_saw_nothing_and_what_lies_below_is_seen_beside_the_classes() -> None:
    found = segments()
    labels = torch.tensor(np.asarray(found.label_map()).tolist()).reshape(8, 16)
    assert labels[::2, ::2].unique().tolist() == [0, 1, 2, 255]
    drawn = found.draw()
    assert drawn.size[0] == 8
    assert drawn.size[1] > 4 + 3 * 20
    assert drawn.getpixel((6, 2)) == (0, 0, 0)
    assert drawn.getpixel((0, 0)) != (0, 0, 0)


def test_scores_and_names_must_fit_the_labels() -> None:
    with pytest.raises(DeixisError, match="there are 1 names"):
        Segments(torch.ones(2, 2, dtype=torch.long), ("background",))
    with pytest.raises(DeixisError, match="scores have the shape"):
        Segments(torch.zeros(2, 2, dtype=torch.long), ("background", "dog"), torch.zeros(1, 2, 2))
