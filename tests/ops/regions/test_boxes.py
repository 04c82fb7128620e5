"""Boxes: forms, overlap, suppression and jitter, against loops over numbers and against torchvision."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from deixis.ops.regions.boxes import (
    BoxForm,
    box_area,
    box_clip,
    box_convert,
    box_jitter,
    box_union,
    giou,
    iou,
    nms,
    pairwise_giou,
    pairwise_iou,
)
from tests.support import Peer, load_golden

vision = Peer("torchvision.ops")
FORMS: tuple[BoxForm, ...] = ("xyxy", "xywh", "cxcywh")


def boxes(count: int, seed: int = 0) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    return corners.flatten(1).double()


def mirrored(some: Tensor) -> Tensor:
    return torch.stack([1 - some[..., 2], some[..., 1], 1 - some[..., 0], some[..., 3]], dim=-1)


ONES, OTHERS = boxes(9), boxes(7, 1)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMS, FORMS)))
def test_a_form_is_torchvisions_and_leads_back(source: BoxForm, target: BoxForm) -> None:
    given = vision.box_convert(ONES, "xyxy", source)
    found = box_convert(given, source, target)
    torch.testing.assert_close(found, vision.box_convert(given, source, target))
    torch.testing.assert_close(box_convert(found, target, source), given)


def test_overlap_equals_a_loop_over_pairs() -> None:
    for (i, one), (j, other) in itertools.product(enumerate(ONES.tolist()), enumerate(OTHERS.tolist())):
        wide = min(one[2], other[2]) - max(one[0], other[0])
        high = min(one[3], other[3]) - max(one[1], other[1])
        inside = wide * high if wide > 0 and high > 0 else 0.0
        union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - inside
        hull = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
        assert float(iou(ONES[i], OTHERS[j])) == pytest.approx(inside / union)
        assert float(pairwise_giou(ONES, OTHERS)[i, j]) == pytest.approx(inside / union - (hull - union) / hull)


@pytest.mark.golden
def test_overlap_is_that_of_the_authors_of_mdetr() -> None:
    golden = load_golden("mdetr_matching")
    ones = box_convert(golden["in.pred_boxes"].flatten(0, 1), "cxcywh", "xyxy")
    others = box_convert(golden["in.target_boxes"], "cxcywh", "xyxy")
    torch.testing.assert_close(pairwise_iou(ones, others), golden["out.iou"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pairwise_giou(ones, others), golden["out.giou"], rtol=1e-12, atol=1e-12)


def test_giou_never_exceeds_iou_and_both_keep_to_their_range() -> None:
    plain, general = pairwise_iou(ONES, OTHERS), pairwise_giou(ONES, OTHERS)
    assert bool((general <= plain).all())
    assert bool(((plain >= 0) & (plain <= 1) & (general >= -1)).all())
    torch.testing.assert_close(giou(ONES, ONES), torch.ones(9).double())


def test_a_mirrored_picture_has_the_mirrored_answer() -> None:
    torch.testing.assert_close(pairwise_giou(mirrored(ONES), mirrored(OTHERS)), pairwise_giou(ONES, OTHERS))
    torch.testing.assert_close(box_union(mirrored(ONES)), mirrored(box_union(ONES)))
    scores = torch.rand(9, generator=torch.Generator().manual_seed(2))
    assert torch.equal(nms(mirrored(ONES), scores, 0.3), nms(ONES, scores, 0.3))


def test_boxes_without_area_overlap_nothing_and_their_gradient_is_finite() -> None:
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.8, 0.2, 0.3, 0.6]], requires_grad=True)
    overlap = iou(point, torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.9, 0.9]]))
    assert overlap.tolist() == [0, 0]
    (overlap.sum() + giou(point, point).sum()).backward()
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    assert iou(ONES.half(), ONES.half()).dtype == torch.float32


def test_what_lies_outside_of_the_image_is_cut_off() -> None:
    given = torch.tensor([[-1.0, 2.0, 5.0, 9.0], [7.0, 1.0, 9.0, 2.0]])
    assert box_clip(given, 6.0, 8.0).tolist() == [[0, 2, 5, 8], [6, 1, 6, 2]]
    assert box_area(box_clip(given, 6.0, 8.0)).tolist() == [30, 0]


def test_the_union_holds_the_valid_boxes_and_touches_them() -> None:
    rows, valid = boxes(6).view(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])
    low, high = rows[0, [0, 2], :2].amin(0), rows[0, [0, 2], 2:].amax(0)
    assert box_union(rows, valid).tolist() == [[*low.tolist(), *high.tolist()], [0] * 4]


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_suppression_is_torchvisions(threshold: float) -> None:
    many, scores = boxes(60, 3), torch.rand(60, generator=torch.Generator().manual_seed(4)).double()
    classes = torch.arange(60) % 3
    assert torch.equal(nms(many, scores, threshold), vision.nms(many, scores, threshold))
    assert torch.equal(nms(many, scores, threshold, classes), vision.batched_nms(many, scores, classes, threshold))


def test_nothing_of_nothing_is_suppressed() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_jittered_boxes_stay_inside_and_near_and_the_seed_decides() -> None:
    found = [box_jitter(boxes(200), 0.3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert bool(((found[0] >= 0) & (found[0] <= 1)).all())
    overlap = iou(found[0], boxes(200))
    assert 0.2 < float(overlap.min()) < float(overlap.mean()) < 0.9
    torch.testing.assert_close(box_jitter(ONES, 0.0, torch.Generator()), ONES)
    with pytest.raises(ValueError, match="between 0 and"):
        box_jitter(ONES, 0.6, torch.Generator())
