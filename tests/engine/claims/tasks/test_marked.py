"""Pointing at concepts that are marked in a few scenes: what is covered, what is learned from, and what counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional as F

import deixis
from deixis.data.synthetic.clutter import clutter
from deixis.engine.claims.claim_tasks import make_task
from deixis.engine.claims.tasks import marked
from deixis.errors import DeixisError
from deixis.types import Picture

CLASSES, OTHERS = ("circle", "cross"), ("heart", "moon", "ring")
SIDE = 4
SETTINGS = {"cones": {"reads": "cells", "none": marked.NOTHING, "epochs": 40, "learning_rate": 0.05}, "class_mean": {}}


@pytest.fixture(scope="module")
def task() -> marked.MarkedTask:
    each = {"train": 2, "val": 2, "test": 6}
    source = clutter(CLASSES, OTHERS, each, 0, cast="shapes", objects=(2, 3), side=64)
    return marked.MarkedTask(deixis.load("tiny"), source, CLASSES, (1, 2), 0)


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch, task: marked.MarkedTask) -> None:
    """Cells of a class lie around a direction of its own, all others around what the names of the classes say."""
    rng, width = torch.Generator().manual_seed(0), task.encoder.width
    named = task.encoder.encode_text([f"a photo of a {each}." for each in CLASSES]).sum(0, keepdim=True)
    directions = F.normalize(torch.cat([torch.randn(len(CLASSES), width, generator=rng), named]), dim=1)
    samples = {id(sample.picture): sample for sample in task.source.samples}

    def cells(encoder: object, pictures: Sequence[Picture]) -> torch.Tensor:
        found = []
        for sample in (samples[id(picture)] for picture in pictures):
            inside = marked.covered(torch.tensor([marked._box(sample)]), SIDE)[0]
            number = torch.where(inside, CLASSES.index(str(sample.label)), len(CLASSES))
            noise = torch.randn(SIDE * SIDE, width, generator=torch.Generator().manual_seed(len(found)))
            found.append(directions[number] + 0.05 * noise)
        return torch.stack(found)

    monkeypatch.setattr(marked, "image_cells", cells)


def test_a_box_covers_the_cells_whose_middle_it_holds_and_a_tiny_one_the_cell_in_which_it_lies() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.25], [0.26, 0.76, 0.30, 0.80], [0.0, 0.0, 1.0, 1.0]])
    found = marked.covered(boxes, SIDE)
    assert found[0].nonzero()[:, 0].tolist() == [0, 1]
    assert found[1].nonzero()[:, 0].tolist() == [SIDE * 3 + 1]
    assert found[2].all()


@pytest.mark.parametrize("method", SETTINGS)
def test_what_learns_from_marked_cells_points_at_the_next_and_names_alone_do_not(
    method: str, task: marked.MarkedTask
) -> None:
    found = task.curve(method, SETTINGS[method], "pointing", "test", 2)
    assert found.points[-1] == (2.0, 1.0)
    assert len(found.values) == 6 * len(CLASSES)
    assert found.chance is not None
    assert found.chance < 0.3
    names = task.curve("zero_shot", {}, "pointing", "test", 2)
    assert names.points[0][1] == names.points[1][1] < 1, "what learns nothing gains nothing from more scenes"


def test_settings_are_chosen_by_other_scenes_than_those_that_are_reported(task: marked.MarkedTask) -> None:
    one, other = (task.curve("class_mean", {}, "pointing", split, 2) for split in ("validation", "test"))
    assert one.part != other.part
    assert len(one.values) == 2 * len(CLASSES)


def test_what_is_out_of_order_is_refused(task: marked.MarkedTask) -> None:
    with pytest.raises(DeixisError, match="marked is"):
        make_task("marked", {"marked": (4, 1)}, 0)
    with pytest.raises(DeixisError, match="classes is 1"):
        make_task("marked", {"classes": 1}, 0)
    with pytest.raises(DeixisError, match="no measure 'accuracy'"):
        task.curve("class_mean", {}, "accuracy", "test", 2)
    with pytest.raises(DeixisError, match="no square"):
        marked._side(torch.zeros(1, 6, 4))
