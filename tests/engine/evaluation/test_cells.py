"""Heads on frozen maps: what they are made of equals slow loops, and maps that know where are told from blind ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deixis.apps.common.console import Reporter
from deixis.apps.eval.details import write_detail
from deixis.engine.evaluation.average_precision import BoxRow, average_precision
from deixis.engine.evaluation.cells import centre_boxes
from deixis.engine.evaluation.cells.ap50 import average_precision_50
from deixis.engine.evaluation.cells.centre_boxes import decode_centres, heat_targets
from deixis.engine.evaluation.cells.linear_cells import cell_labels, mean_iou
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.protocols import detect, load_protocol
from deixis.engine.evaluation.protocols.patches import cluster_names
from deixis.engine.evaluation.selection import require_capabilities
from deixis.errors import DeixisError
from deixis.inputs.masks import encode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.types import Region, Sample, Source
from tests.engine.evaluation.test_protocols import SILENT, Tower

SIDE, COLOURS = 8, {"red": 0, "green": 1, "blue": 2}


@dataclasses.dataclass(frozen=True)
class Square:
    """A coloured square of 3 pixels on black."""

    name: str
    colour: int
    place: tuple[int, int]

    @property
    def pixels(self) -> tuple[slice, slice]:
        return tuple(slice(at, at + 3) for at in self.place)  # type: ignore[return-value]

    def draw(self) -> Any:
        found = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        found[(*self.pixels, self.colour)] = 255
        return found


def square(number: int, names: tuple[str, ...] = tuple(COLOURS)) -> Sample:
    rng = np.random.default_rng(number)
    name, (row, column) = names[number % len(names)], (int(each) for each in rng.integers(0, SIDE - 2, 2))
    picture = Square(f"{number:03}", COLOURS[name], (row, column))
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[picture.pixels] = True
    box = tuple(each / SIDE for each in (column, row, column + 3, row + 3))
    return Sample(f"{number:03}", picture, captions=("a square",), regions=(Region(box, name, mask=encode_mask(mask)),))  # type: ignore[arg-type]


def data_of(samples: list[Sample]) -> EvalData:
    source = Source("squares", Path("."), "images", "made", tuple(samples))
    return EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))


SQUARES = data_of([square(number) for number in range(60)])


class Map(nn.Module):
    """Cells that are the colours of pixels, or all alike."""

    def __init__(self, sees: bool) -> None:
        super().__init__()
        self.preprocess = Preprocess(SIDE, mode="pad", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.sees = sees

    def cells(self, images: Tensor) -> Tensor:
        return images if self.sees else torch.ones_like(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.cells(images).mean(dim=(2, 3))


def run(name: str, sees: bool, data: EvalData = SQUARES) -> EvalOutput:
    protocol, options = load_protocol(name), EvalOptions()
    model = EvalModel(str(sees), Map(sees))
    output: EvalOutput = protocol.measure(protocol.prepare(data, options, SILENT), model, options, SILENT)
    return output


def mean(output: EvalOutput, metric: str) -> float:
    return output.arms[""][Column(metric)].estimate().value


# ---- what the heads are made of


def test_labels_of_cells_and_intersection_over_union_equal_slow_loops_and_skip_what_counts_nowhere() -> None:
    rng = torch.Generator().manual_seed(0)
    classes, predicted = torch.randint(-1, 3, (2, 6, 6), generator=rng), torch.randint(0, 3, (2, 6, 6), generator=rng)
    labels = cell_labels(classes, 3, (3, 2)).unflatten(1, (3, 2))
    for image, row, column in np.ndindex(2, 3, 2):
        block = classes[image, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3].flatten().tolist()
        assert block.count(int(labels[image, row, column])) == max(block.count(each) for each in range(-1, 3))
    ious = []
    for name in (1, 2):
        pairs = [(p, s) for p, s in zip(predicted[0].flatten().tolist(), classes[0].flatten().tolist(), strict=True)]
        known = [(p, s) for p, s in pairs if s >= 0]
        ious.append(sum(p == s == name for p, s in known) / sum(name in each for each in known))
    assert float(mean_iou(predicted[0], classes[0])) == pytest.approx(sum(ious) / 2)


def test_average_precision_equals_that_of_faster_coco_eval() -> None:
    pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(1)

    def rows(count: int, scored: bool) -> list[BoxRow]:
        found = []
        for _ in range(count):
            x, y, w, h = (float(each) for each in (*rng.integers(0, 60, 2), *rng.integers(10, 60, 2)))
            score = round(float(rng.random()), 1) if scored else 1.0  # ties, too
            found.append(BoxRow(int(rng.integers(9)), int(rng.integers(3)), (x, y, x + w, y + h), score))
        return found

    truth = rows(60, False)
    near = [row._replace(box=tuple(each + 4 for each in row.box), score=0.35) for row in truth[:40]]
    predicted = [*near, *rows(150, True)]
    wanted = average_precision([(160, 160)] * 9, 4, truth, predicted)["ap50"]
    found = average_precision_50(4, truth, predicted)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert 0.1 < np.nanmean(found) < 0.9
    assert np.isnan(found[3])
    assert average_precision_50(1, [row._replace(category=0) for row in truth], []).tolist() == [0.0]


def test_boxes_that_are_written_into_maps_are_read_from_them() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.4, 0.9], [0.5, 0.0, 1.0, 0.3]])
    heat = heat_targets(boxes, torch.tensor([1, 0]), 2, (5, 4))
    assert (heat == 1).nonzero().tolist() == [[0, 0, 3], [1, 2, 1]]
    output = torch.cat([torch.logit(heat.clamp(1e-6, 1 - 1e-6)), torch.zeros(4, 5, 4)])
    for (x0, y0, x1, y1), (row, column) in zip(boxes.tolist(), ((2, 1), (0, 3)), strict=True):
        x, y = (x0 + x1) / 2 * 4, (y0 + y1) / 2 * 5
        output[-4:, row, column] = torch.tensor([x1 - x0, y1 - y0, x - column, y - row])
    found = decode_centres(output)
    best = {int(category): box for category, box in zip(found.categories[:2], found.boxes[:2], strict=True)}
    assert torch.allclose(torch.stack([best[1], best[0]]), boxes, atol=1e-6)
    assert float(found.scores[1]) > 0.99 > float(found.scores[2])


def test_clusters_are_named_so_that_most_pixels_are_right() -> None:
    table = torch.tensor([[10, 9, 0], [9, 0, 0], [0, 0, 1]])
    assert cluster_names(table).tolist() == [1, 0, 2], "9 + 9 are more than 10 + 0"


# ---- protocols


@pytest.mark.parametrize(
    ("name", "metric", "least"), [pytest.param("dense", "miou", 0.9, marks=pytest.mark.slow), ("patches", "miou", 0.9)]
)
def test_maps_of_colours_tell_coloured_things_apart_and_maps_that_are_all_alike_do_not(
    name: str, metric: str, least: float
) -> None:
    seeing, blind = run(name, True), run(name, False)
    assert mean(seeing, metric) > least
    assert mean(blind, metric) < 0.2
    assert seeing.arms[""][Column(metric)].queries == blind.arms[""][Column(metric)].queries
    assert len(seeing.arms[""][Column(metric)].values) == 24, "captions make no concepts here"


@pytest.mark.slow
def test_a_detector_on_a_map_of_colours_finds_coloured_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centre_boxes, "_STEPS", 100)
    seeing = run("detect", True)
    assert mean(seeing, "ap50") > 0.5
    assert seeing.arms[""][Column("ap50")].queries == ("blue", "green", "red")
    monkeypatch.setattr(centre_boxes, "_STEPS", 2)
    assert mean(run("detect", False), "ap50") < 0.2


def test_clusters_are_drawn_beside_the_masks(tmp_path: Path) -> None:
    assert write_detail(run("patches", True).detail, tmp_path, Reporter(quiet=True)) is None
    assert (tmp_path / "plot-cells.png").stat().st_size > 1000


def test_rare_categories_count_nowhere_and_where_all_are_rare_it_is_said() -> None:
    some = [square(number, ("red", "green")) for number in range(58)]
    plan = detect.prepare(data_of([*some, square(58, ("blue",)), square(59, ("blue",))]), EvalOptions(), SILENT)
    assert plan.names == ("green", "red")
    assert "1 rarer ones left out" in plan.note
    rare = [
        dataclasses.replace(each, regions=(dataclasses.replace(each.regions[0], category=each.id),)) for each in some
    ]
    with pytest.raises(DeixisError, match="No category of squares is in 5 images for training"):
        detect.prepare(data_of(rare), EvalOptions(), SILENT)


def test_encoders_without_a_map_are_left_out_and_where_none_has_one_it_is_refused() -> None:
    with_map, without = EvalModel("map", Map(True)), EvalModel("flat", Tower())
    assert require_capabilities("dense", [with_map, without], some=True) == (with_map,)
    with pytest.raises(DeixisError, match=r"None of flat, other can be measured by dense: they have no image_tokens"):
        require_capabilities("dense", [without, EvalModel("other", Tower())], some=True)
    with pytest.raises(DeixisError, match="flat can't be measured by dense"):
        require_capabilities("dense", [with_map, without])
