"""Masks carried to a second frame: equal frames leave them as they are, and what moved is followed by what it shows."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from deixis.engine.evaluation.cells.region_data import SIDE
from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import propagate
from deixis.engine.evaluation.protocols.propagate import five_classes, moved_pixels, similarities
from deixis.engine.evaluation.selection import require_fields, select
from deixis.errors import DeixisError
from deixis.types import Sample
from tests.engine.evaluation.test_cells import SQUARES, Map, data_of, mean, run, square
from tests.engine.evaluation.test_protocols import SILENT


def pair(number: int, later: int) -> Sample:
    """A square, and the same elsewhere: where the square of another number is."""
    first, second = square(number), square(later, (square(number).regions[0].category,))
    return dataclasses.replace(first, extra={"next_frame": second})


MOVED = data_of([pair(number, number + 1) for number in range(4)])
STILL = data_of([pair(number, number) for number in range(4)])


def random_map(grid: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(6, *grid, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sees", [True, False])
def test_equal_frames_have_a_j_of_1_whatever_the_map(sees: bool) -> None:
    output = run("propagate", sees, STILL)
    for metric in ("j", "left", "colours"):
        assert output.arms[""][Column(metric)].values.tolist() == [1.0] * 4, metric


def test_a_map_of_colours_follows_what_moved_and_a_blind_one_leaves_the_mask_where_it_was() -> None:
    seeing, blind = run("propagate", True, MOVED), run("propagate", False, MOVED)
    near = {name: [each.arms[""][Column(name)].values.tolist() for each in (seeing, blind)] for name in ("j", "left")}
    assert near["j"][1] == near["left"][1] == near["left"][0]
    assert mean(seeing, "j") > mean(blind, "j") + 0.2
    assert any("Beside the mask left where it was: +" in note for note in seeing.notes)


def test_beyond_the_window_nothing_is_found() -> None:
    alike = similarities(random_map((8, 4), 0), random_map((8, 4), 1)).unflatten(1, (8, 4)).unflatten(0, (8, 4))
    for row, column, r, c in torch.cartesian_prod(*(torch.arange(n) for n in (8, 4, 8, 4))).tolist():
        assert bool(alike[row, column, r, c].isfinite()) == (abs(row - r) <= 2 and abs(column - c) <= 1)


def test_patches_take_their_pixels_with_them_as_a_slow_loop_says_on_grids_that_do_not_divide_the_image() -> None:
    grid, before = (7, 5), torch.randint(0, 3, (SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    alike = similarities(random_map(grid, 0), random_map(grid, 1))
    found, best = moved_pixels(alike, before, grid), alike.argmax(dim=1)
    for y, x in ((0, 0), (17, 93), (64, 64), (127, 3), (90, 127)):
        row, column = int((y + 0.5) * grid[0] / SIDE), int((x + 0.5) * grid[1] / SIDE)
        source = divmod(int(best[row * grid[1] + column]), grid[1])
        there = [
            min(max(at + round((to - of) * SIDE / cells), 0), SIDE - 1)
            for at, to, of, cells in zip((y, x), source, (row, column), grid, strict=True)
        ]
        assert found[y, x] == before[there[0], there[1]]


def test_the_classes_of_five_are_those_of_the_rule_of_davis() -> None:
    """The affinity is exp(cosine / 0.1), all but the five largest are 0, and columns are made of sum 1."""
    grid = (4, 4)
    before = torch.randint(0, 3, grid, generator=torch.Generator().manual_seed(0))
    first, second = random_map(grid, 0), random_map(grid, 1)
    found, alike = five_classes(similarities(first, second), before, grid), similarities(first, second)
    for place in range(16):
        near = sorted(range(16), key=lambda i: -float(alike[place, i]))[:5]
        votes = [0.0, 0.0, 0.0]
        for each in near:
            votes[int(before.flatten()[each])] += math.exp(float(alike[place, each]) / 0.1)
        assert int(found.flatten()[place]) == votes.index(max(votes))


def test_data_without_second_frames_is_refused_with_data_that_has_them_and_left_out_where_none_is_named() -> None:
    with pytest.raises(DeixisError, match=r"no next_frame, which propagate needs. Give set:scenes/frames"):
        require_fields("propagate", SQUARES)
    assert select(SQUARES, [EvalModel("map", Map(True))], slow=True).reasons["propagate"] == "no next_frame"
    packed = data_of([dataclasses.replace(square(number), extra={"next_frame": "Sample(...)"}) for number in range(3)])
    away = [
        dataclasses.replace(square(n), extra={"next_frame": dataclasses.replace(square(n), regions=())}) for n in (1,)
    ]
    for data in (packed, data_of(away)):
        with pytest.raises(DeixisError, match="squares has no second frames with masks of the same things"):
            propagate.prepare(data, EvalOptions(), SILENT)


def test_things_that_are_gone_in_the_second_frame_count_nowhere() -> None:
    gone = dataclasses.replace(square(1), regions=(dataclasses.replace(square(1).regions[0], mask=None),))
    data: EvalData = data_of([pair(0, 1), dataclasses.replace(square(1), extra={"next_frame": gone})])
    plan = propagate.prepare(data, EvalOptions(), SILENT)
    assert plan.queries == ("000: 1 red",)
    assert len(plan.first.samples) == 2
