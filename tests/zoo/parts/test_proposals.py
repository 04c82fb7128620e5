"""Proposals: boxes and what is known of them speak of the same region, and no region hangs on the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.vision.heat_map_proposals import DenseMaps, HeatMapProposals
from deixis.nn.vision.region_heads import RegionHeadProposals
from deixis.ops.regions.boxes import pairwise_iou


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


def heat_maps(images: Tensor) -> DenseMaps:
    """Red is the heat of the first class and green that of the second; every box reaches 8, 4, 12 and 6 pixels."""
    cells = images[:, :, ::4, ::4]
    sides = torch.tensor([8.0, 4.0, 12.0, 6.0])[:, None, None].expand(len(images), -1, *cells.shape[2:])
    return {"heat": cells[:, :2], "sides": sides, "features": cells}


def heat_map_part(count: int = 5) -> HeatMapProposals:
    preprocess = Preprocess(64, mode="squash")
    return HeatMapProposals(nn.Identity(), heat_maps, ("red", "green"), preprocess, width=3, count=count)


def test_a_peak_of_the_heat_map_is_a_region_with_its_four_sides() -> None:
    images = torch.zeros(1, 3, 64, 128)
    images[0, 0, 20, 40], images[0, 1, 20, 40] = 0.8, 0.2
    images[0, 0, 24, 40] = 0.5  # no peak: its neighbour is higher
    images[0, 1, 20, 44] = 0.6  # a peak of another class whose box overlaps
    images[0, 1, 40, 100] = 0.4
    regions = heat_map_part()(images)
    assert regions.valid.sum() == 2
    torch.testing.assert_close(regions.boxes[0, 0], torch.tensor([32 / 128, 16 / 64, 52 / 128, 26 / 64]))
    torch.testing.assert_close(regions.boxes[0, 1], torch.tensor([92 / 128, 36 / 64, 112 / 128, 46 / 64]))
    torch.testing.assert_close(regions.scores[0], torch.tensor([0.8, 0.4]))
    torch.testing.assert_close(regions.classes[0], torch.tensor([[0.8, 0.2], [0.0, 1.0]]))


def test_regions_hang_on_neither_the_batch_nor_the_number_requested() -> None:
    images = torch.rand(3, 3, 64, 64)
    images[1] = 0
    images[1, 0, 20, 20] = 0.5  # one region, beside images that have five
    together = heat_map_part()(images)
    for row, image in enumerate(images):
        alone = heat_map_part(3)(image[None])
        count = int(alone.valid.sum())
        assert count == (1 if row == 1 else 3)
        for name in ("boxes", "scores", "features", "classes"):
            torch.testing.assert_close(getattr(together, name)[row, :count], getattr(alone, name)[0])


def test_an_image_without_a_peak_has_no_region_and_one_pixel_is_no_error() -> None:
    assert heat_map_part()(torch.zeros(2, 3, 64, 64)).boxes.shape == (2, 0, 4)
    assert heat_map_part()(torch.rand(1, 3, 1, 1)).boxes.shape[1] <= 2


def test_a_given_box_is_described_by_the_heat_in_its_middle() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[0, 1, 12:24, 12:24], images[0, 0, 40:, 40:] = 0.9, 0.5
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    regions = heat_map_part().describe(images, boxes, torch.ones(1, 2, dtype=torch.bool))
    assert regions.classes[0].argmax(-1).tolist() == [1, 0]
    assert regions.scores[0, 0] > regions.scores[0, 1] > 0.4


def test_own_boxes_come_first_and_what_is_drawn_beside_them_hangs_on_them_alone() -> None:
    own, jitter = (zoo.load_part("proposals", f"{name}:tiny") for name in ("own", "jitter"))
    images = torch.rand(2, 3, 24, 24)
    boxes = torch.tensor([[[0.1, 0.1, 0.6, 0.5], [0.4, 0.5, 0.9, 0.9]], [[0.2, 0.2, 0.7, 0.8], [0.0, 0.0, 0.0, 0.0]]])
    valid = torch.tensor([[True, True], [True, False]])
    assert torch.equal(own(images, boxes, valid).boxes, boxes)
    drawn = jitter(images, boxes, valid)
    assert torch.equal(drawn.boxes[:, :2], boxes)
    assert drawn.valid.sum(1).tolist() == [10, 5], "each box, two moved copies and two random boxes"
    assert (pairwise_iou(boxes[0], drawn.boxes[0, 2:6]).amax(0) > 0.2).all()
    alone = jitter(images[1:], boxes[1:, :1], valid[1:, :1])
    torch.testing.assert_close(drawn.boxes[1][drawn.valid[1]], alone.boxes[0])
    torch.testing.assert_close(drawn.features[1][drawn.valid[1]], alone.features[0])
    assert jitter.classes == own.classes == ("sky", "ground", "thing", "nothing")


def test_a_faster_r_cnn_gives_boxes_features_and_classes_without_its_background() -> None:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
    backbone.out_channels = 8
    network = FasterRCNN(
        backbone,
        4,
        min_size=32,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16,),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        rpn_post_nms_top_n_test=20,
    )
    classes = ("__background__", "cat", "N/A", "dog")
    part = RegionHeadProposals(network, classes, Preprocess(32, mode="squash"), count=6).eval()
    assert part.classes == ("cat", "dog")
    regions = part(torch.rand(2, 3, 32, 32))
    assert regions.features.shape == (*regions.scores.shape, part.width)
    torch.testing.assert_close(regions.classes[regions.valid].sum(-1), torch.ones(int(regions.valid.sum())))
    overlap = pairwise_iou(regions.boxes[0], regions.boxes[0]).fill_diagonal_(0)[regions.valid[0]][:, regions.valid[0]]
    assert overlap.max() <= 0.6
    assert (regions.scores.diff(dim=1)[regions.valid[:, 1:]] <= 0).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet18", "no Faster R-CNN called 'resnet18'. There are: fasterrcnn_mobilenet"),
        ("torchvision:fasterrcnn_resnet50_fpn", "weights of fasterrcnn_resnet50_fpn are not in .* Download https"),
        ("centernet:0", "0 regions of an image are requested"),
        ("centernet:few", "no proposals called 'centernet:few'"),
    ],
)
def test_proposals_that_cannot_be_had_are_one_message(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path_factory.getbasetemp()))
    with pytest.raises(DeixisError, match=said):
        zoo.load_part("proposals", name)
