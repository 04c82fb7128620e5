"""The task of PixPro's claim about boxes: cells that know what is where lead to boxes, and equal ones to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import scene_boxes, segments
from deixis.engine.claims.trials import _build
from deixis.engine.evaluation.cells.centre_boxes import heat_targets
from deixis.methods import pixpro
from deixis.ops.regions.boxes import box_convert
from deixis.types import Sample

SMALL = scene_boxes.Options(count=16, probe=60, held=20, batch_size=4, channels=4, side=48)


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return scene_boxes.make(SMALL, 0)


@pytest.mark.slow
def test_cells_that_know_what_is_where_lead_to_the_boxes_and_equal_ones_to_nothing(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = pixpro._SHAPES

    def knowing(_: Any, samples: Sequence[Sample]) -> Tensor:
        """The centre of each thing and, beside, its sides, in the plane of its noun."""
        maps = []
        for sample in samples:
            boxes, categories = scene_boxes._boxes(sample, kinds)
            heat = heat_targets(boxes, categories, len(kinds), (12, 12))
            sides = torch.zeros(2, 12, 12)
            for x, y, width, height in box_convert(boxes, "xyxy", "cxcywh").tolist():
                sides[:, int(y * 12), int(x * 12)] = torch.tensor([width, height])
            maps.append(torch.cat([heat, sides]))
        return torch.stack(maps)

    def blind(_: Any, samples: Sequence[Sample]) -> Tensor:
        return torch.ones(len(samples), 2, 12, 12)

    means = []
    for maps in (knowing, blind):
        monkeypatch.setattr(scene_boxes, "_maps", maps)
        values = task.measures["ap50"](torch.nn.Identity(), task.test)
        means.append(float(values.mean()))
    assert means[0] > 0.3
    assert means[1] < 0.1


def test_nothing_is_trained_on_that_the_detector_learns_from(task: TrainingTask) -> None:
    assert len(task.train.samples) == SMALL.count
    whole = segments.make(segments.Options(count=SMALL.count, probe=60, held=20, side=48), 0)
    assert [each.id for each in task.train.samples] == [each.id for each in whole.train.samples]


@pytest.mark.slow
def test_a_tower_is_measured_by_one_value_a_noun(task: TrainingTask) -> None:
    method = _build("pixpro", {**pixpro.CLAIMS[3].arms["propagation"].overrides, "hidden": 8}, task, 0)
    values = task.measures["ap50"](method, task.validation)
    assert 1 <= len(values) <= len(pixpro._SHAPES)
    assert bool(((values >= 0) & (values <= 1)).all())
