"""Columns of regions: those of the detector, or of boxes that are given, each with the features that are requested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.regions.region_columns import RegionColumns, name_vectors
from deixis.zoo.parts import proposals

IMAGES = torch.rand(2, 3, 32, 32)
BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0]], [[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]]])
VALID = torch.tensor([[True, True], [True, False]])


@pytest.fixture(scope="module")
def detector() -> proposals.contracts.Proposals:
    return proposals.load("tiny")


def test_features_of_the_map_are_what_the_detector_says(detector: proposals.contracts.Proposals) -> None:
    found, own = RegionColumns(detector).regions(IMAGES), detector(IMAGES)
    for name in ("boxes", "valid", "scores", "features", "classes"):
        torch.testing.assert_close(getattr(found, name), getattr(own, name))


def test_boxes_that_are_given_come_back_in_their_order_whatever_stands_behind_them(
    detector: proposals.contracts.Proposals,
) -> None:
    found = RegionColumns(detector).regions(IMAGES, BOXES, VALID)
    torch.testing.assert_close(found.boxes[VALID], BOXES[VALID])
    assert torch.equal(found.valid, VALID)
    alone = RegionColumns(detector).regions(IMAGES[1:], BOXES[1:, :1], VALID[1:, :1])
    torch.testing.assert_close(found.features[1, :1], alone.features[0])


def test_features_of_names_are_the_word_vectors_each_as_likely_as_the_class(
    detector: proposals.contracts.Proposals,
) -> None:
    encoder = zoo.load_part("text_encoder", "tiny")
    names = name_vectors(encoder, detector.classes)
    marks = set(encoder.tokenizer([""], 8).ids[0].tolist())
    for name, vector in zip(detector.classes, names, strict=True):
        [tokens] = encoder.tokenizer([name], 30).ids
        own = torch.tensor([each for each in tokens.tolist() if each not in marks])
        torch.testing.assert_close(vector, encoder.embeddings(own[None])[0].mean(0).detach())
    part = RegionColumns(detector, "names", names=names)
    found = part.regions(IMAGES)
    assert part.width == encoder.token_width
    torch.testing.assert_close(found.features, found.classes @ names)


def test_features_of_crops_are_what_a_tower_says_of_the_box_as_a_picture(
    detector: proposals.contracts.Proposals,
) -> None:
    tower = zoo.load_part("image_tower", "tiny")
    part = RegionColumns(detector, "crop", tower=tower)
    flat = torch.full((1, 3, 32, 32), 0.25)
    flat[:, :, :16, :16] = 0.75
    quarter = torch.tensor([[[0.0, 0.0, 0.5, 0.5]]])
    mean, std = (torch.tensor(getattr(detector.preprocess, each))[:, None, None] for each in ("mean", "std"))  # type: ignore[attr-defined]
    side = tower.preprocess.size
    expected = tower(_prepared(torch.full((1, 3, side, side), 0.75), tower))
    found = part.regions((flat - mean) / std, quarter).features[:, 0]
    assert part.width == tower.width
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


def _prepared(pixels: Tensor, tower: object) -> Tensor:
    preprocess = tower.preprocess  # type: ignore[attr-defined]
    return (pixels - torch.tensor(preprocess.mean)[:, None, None]) / torch.tensor(preprocess.std)[:, None, None]


def test_what_features_are_made_with_must_be_there_and_own_boxes_must_be_given(
    detector: proposals.contracts.Proposals,
) -> None:
    with pytest.raises(DeixisError, match="image tower"):
        RegionColumns(detector, "crop")
    with pytest.raises(DeixisError, match="class names"):
        RegionColumns(detector, "names")
    own = RegionColumns(proposals.load("own:tiny"))
    assert own.regions(IMAGES, BOXES, VALID).features.shape == (2, 2, own.width)
    with pytest.raises(DeixisError, match="none are given"):
        own.regions(IMAGES)
