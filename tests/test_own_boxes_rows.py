"""Rows on one's own boxes: the table that is learned from, and what is said of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.own_boxes_rows import compared, write_boxes
from deixis.apps.common.dataset import read
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.adaptation.boxes import BoxTable
from deixis.types.outputs import RankedBoxes


def test_the_boxes_that_are_written_are_those_of_the_scenes_as_many_as_wanted(tmp_path: Path) -> None:
    samples = scenes(0, 4, side=48, config=SceneConfig(cast="shapes", objects=(2, 3))).samples
    found = read(str(write_boxes(samples, tmp_path / "mine", 5))).samples
    regions = [region for sample in samples for region in sample.regions if region.phrases][:5]
    again = [region for sample in found for region in sample.regions]
    assert len(again) == 5
    for number, (mine, theirs) in enumerate(zip(again, regions, strict=True)):
        assert mine.box == pytest.approx(theirs.box, abs=1e-4)
        assert [each.text for each in mine.phrases] == [theirs.phrases[number % len(theirs.phrases)].text]


def test_an_order_that_puts_more_right_boxes_first_is_a_gain_beyond_chance() -> None:
    features = torch.tensor([[0.0], [1.0]])
    rows = tuple(RankedBoxes(torch.rand(2, 4), features, torch.tensor([1.0, 0.5])) for _ in range(30))
    near = tuple(torch.tensor([0.0, 1.0]) if number % 3 else torch.tensor([1.0, 0.0]) for number in range(30))
    table = BoxTable(rows, near, tuple(each > 0.5 for each in near), tuple(range(30)), (1,), 0.5)
    nothing, learned = (compared(table, torch.tensor([weight]).double()) for weight in (0.0, 2.0))
    assert nothing["box_accuracy"]["difference"] == [0, 0, 0]
    assert learned["box_accuracy"]["before"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert learned["box_accuracy"]["after"][0] == pytest.approx(2 / 3, abs=1e-3)
    assert learned["best_possible"] == 1
