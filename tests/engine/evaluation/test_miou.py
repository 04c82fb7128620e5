"""Overlap of classes against counts by hand, outlines, and the protocol on a toy that knows the colours."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from deixis.apps.common.console import Reporter
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.pixels.overlap import boundary_f, overlap, total_overlap
from deixis.engine.evaluation.pixels.predicting import best_classes
from deixis.engine.evaluation.protocols import miou
from deixis.errors import DeixisError
from deixis.types import Mask, Region, Sample, Source
from tests.capable import Segmenter
from tests.engine.evaluation.test_answer_iou import RedSquare, shape

SILENT = Reporter(quiet=True)


def test_overlap_adds_up_over_pictures_and_leaves_out_what_does_not_count() -> None:
    predicted = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 1]])
    shown = torch.tensor([[0, 1, 2, -1], [0, 1, 1, 1]])
    found = overlap(predicted, shown, 4)
    assert found.both.tolist() == [2, 3, 0, 0]
    assert found.iou().tolist()[:3] == pytest.approx([2 / 3, 3 / 5, 0])
    assert math.isnan(found.iou()[3])
    twice = total_overlap([(predicted, shown), (predicted[:1], shown[:1])], 4)
    assert twice.shown.tolist() == [3, 5, 2, 0]


def test_outlines_that_are_a_pixel_apart_agree_and_those_far_apart_do_not() -> None:
    square = torch.zeros(40, 40, dtype=torch.bool)
    square[10:20, 10:20] = True
    assert boundary_f(square, square) == 1.0
    assert boundary_f(square.roll(1, 0), square) == 1.0
    assert boundary_f(square.roll(15, 0), square) == 0.0
    assert 0 < boundary_f(square.roll(3, 0), square) < 1
    assert (boundary_f(square & False, square), boundary_f(square & False, square & False)) == (0.0, 1.0)


def test_a_method_without_a_background_never_says_class_0() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0])[None, :, None, None]
    assert best_classes(scores, 3).item() == 1
    assert best_classes(scores, 2).item() == 0


def measured(*regions: Region, methods: tuple[str, ...] = ("everywhere",)) -> EvalOutput:
    sample = Sample("one", RedSquare(), regions=regions)
    source = Source("made", Path(), "images", "made", (sample,))
    data = EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))
    options = EvalOptions(methods=methods)
    return miou.measure(miou.prepare(data, options, SILENT), EvalModel("toy", Segmenter()), options, SILENT)


def red(right: float) -> Region:
    plain = shape(right)
    return Region(plain.box, "a red", mask=plain.mask)


def test_what_is_named_rightly_has_a_high_iou_and_one_class_everywhere_has_that_of_its_share() -> None:
    output = measured(red(70.0))
    own, everywhere = output.arms[""], output.arms["everywhere"]
    assert own[Column("miou")].queries == ("background", "red")
    assert own[Column("miou")].values.mean() > 0.8  # the model sees 32 pixels
    assert own[Column("class_iou", "red")].values[0] == own[Column("miou")].values[1]
    assert own[Column("right", "large")].values[0] > 0.7
    share = 1 - 400 / 3200
    assert everywhere[Column("miou")].values.tolist() == pytest.approx([share, 0], abs=0.02)
    assert everywhere[Column("boundary_f")].values.tolist() == [0.0]
    assert np.isclose(everywhere[Column("picture_miou")].values[0], share / 2, atol=0.02)


def test_data_without_masks_or_without_a_class_of_the_model_is_refused() -> None:
    box = red(70.0)
    with pytest.raises(DeixisError, match="no masks"):
        measured(Region(box.box, "red"))
    with pytest.raises(DeixisError, match="nothing in common"):
        measured(Region(box.box, "zebra", mask=Mask(80, 40, counts=(3200,))))
