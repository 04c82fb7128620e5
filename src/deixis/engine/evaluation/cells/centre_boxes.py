"""A detector on frozen maps: two convolutions of 3 x 3 give a heat map of centres for each category, sizes and offsets.

    heat target   the highest over the things of a category of exp(-dx^2 / 2 sx^2 - dy^2 / 2 sy^2), 1 in the cell of a
                  centre; sx and sy are a sixth of the box's sides, in cells
    loss          focal loss of the heat maps (alpha 2, beta 4), by the number of things; and in the cells of centres
                  the absolute errors of width and height and of the place of the centre within its cell

A peak is a cell as high as all eight around it; its box has the size and the offset that are predicted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.engine.evaluation.average_precision import BoxRow
from deixis.ops.regions.boxes import box_clip, box_convert

__all__ = [
    "CentreHead",
    "PredictedBoxes",
    "box_rows",
    "centre_loss",
    "decode_centres",
    "fit_centres",
    "heat_targets",
]

_HIDDEN, _STEPS, _BATCH, _RATE = 64, 200, 32, 1e-3
_SPREAD, _PRIOR = 1 / 6, -2.19
_ALPHA, _BETA = 2, 4
_BOXES = 100


class PredictedBoxes(NamedTuple):
    """Boxes of an image, best first.

    Attributes:
        boxes: x0 y0 x1 y1, from 0 to 1.
        scores: from 0 to 1.
        categories: by number.
    """

    boxes: Float[Tensor, "k 4"]
    scores: Float[Tensor, " k"]
    categories: Int64[Tensor, " k"]


class CentreHead(nn.Module):
    """The two convolutions, behind a fixed standardisation of the channels.

    Args:
        maps: that it is fitted on.
        categories: how many there are (C).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, maps: Float[Tensor, "N D h w"], categories: int) -> None:
        super().__init__()
        self.register_buffer("mean", maps.mean(dim=(0, 2, 3))[:, None, None])
        self.register_buffer("deviation", maps.std(dim=(0, 2, 3)).clamp(min=1e-6)[:, None, None])
        self.hidden = nn.Conv2d(maps.shape[1], _HIDDEN, 3, padding=1)
        self.out = nn.Conv2d(_HIDDEN, categories + 4, 3, padding=1)
        bias = torch.zeros(categories + 4)
        bias[:categories] = _PRIOR  # most cells are no centre
        self.out.bias = nn.Parameter(bias)

    def forward(self, maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B E h w"]:
        """Logits of the heat maps; width, height, x and y."""
        rows: Tensor = self.out(F.relu(self.hidden((maps - self.mean) / self.deviation)))
        return rows


def heat_targets(
    boxes: Float[Tensor, "T 4"], categories: Int64[Tensor, " T"], count: int, grid: tuple[int, int]
) -> Float[Tensor, "C h w"]:
    """The heat maps of an image; 1 in the cells of centres alone.

    Args:
        boxes: x0 y0 x1 y1, from 0 to 1.
        categories: of each box.
        count: how many there are (C).
        grid: rows and columns of cells.
    """
    heat = torch.zeros(count, *grid)
    cells = torch.tensor([grid[1], grid[0]] * 2, dtype=boxes.dtype)
    for (x, y, width, height), category in zip(
        (box_convert(boxes, "xyxy", "cxcywh") * cells).tolist(), categories.tolist(), strict=True
    ):
        column, row = _cell(x, grid[1]), _cell(y, grid[0])
        across, down = (torch.arange(grid[1]) - column).double(), (torch.arange(grid[0]) - row).double()
        spread = [max(_SPREAD * side, 1e-3) for side in (width, height)]
        bump = torch.exp(-(down[:, None] ** 2) / (2 * spread[1] ** 2) - across**2 / (2 * spread[0] ** 2))
        heat[category] = torch.maximum(heat[category], bump.float())
    return heat


def _cell(place: float, cells: int) -> int:
    return min(cells - 1, max(0, int(place)))


def centre_loss(
    output: Float[Tensor, "B E h w"],
    heat: Float[Tensor, "B C h w"],
    boxes: Sequence[Float[Tensor, "_ 4"]],
) -> Float[Tensor, ""]:
    """The loss of a batch; boxes are those of each image, from 0 to 1."""
    logits, rest = output[:, :-4], output[:, -4:]
    chance = logits.sigmoid()
    centres = heat == 1
    own = (1 - chance) ** _ALPHA * F.logsigmoid(logits)
    others = (1 - heat) ** _BETA * chance**_ALPHA * F.logsigmoid(-logits)
    things = max(1, sum(map(len, boxes)))
    focal = -torch.where(centres, own, others).sum() / things
    height, width = output.shape[2:]
    errors = output.new_zeros(())
    for image, each in enumerate(boxes):
        x, y, w, h = box_convert(each, "xyxy", "cxcywh").unbind(1)
        columns = (x * width).long().clamp(0, width - 1)
        rows = (y * height).long().clamp(0, height - 1)
        wanted = torch.stack([w, h, x * width - columns, y * height - rows], dim=1)
        errors = errors + (rest[image, :, rows, columns].T - wanted).abs().sum()
    return focal + errors / things


def fit_centres(
    maps: Float[Tensor, "N D h w"],
    boxes: Sequence[Float[Tensor, "_ 4"]],
    categories: Sequence[Int64[Tensor, " _"]],
    count: int,
) -> CentreHead:
    """Fits the head by Adam, its rate falling to 0 by a cosine; equal data make equal heads.

    Args:
        maps: frozen.
        boxes: of each image, from 0 to 1.
        categories: of each box.
        count: of categories.
    """
    grid = (maps.shape[2], maps.shape[3])
    heat = torch.stack([heat_targets(*each, count, grid) for each in zip(boxes, categories, strict=True)])
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        head = CentreHead(maps, count)
        optimiser = torch.optim.Adam(head.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
        for _ in range(_STEPS):
            some = torch.randperm(len(maps), generator=rng)[:_BATCH]
            loss = centre_loss(head(maps[some]), heat[some], [boxes[i] for i in some.tolist()])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


def decode_centres(output: Float[Tensor, "E h w"]) -> PredictedBoxes:
    """The boxes at the peaks of an image's heat maps, 100 at the most.

    Args:
        output: of `CentreHead`.
    """
    heat, rest = output[:-4].sigmoid(), output[-4:]
    peaks = torch.where(heat == F.max_pool2d(heat[None], 3, stride=1, padding=1)[0], heat, 0.0)
    height, width = output.shape[1:]
    scores, places = peaks.flatten().topk(min(_BOXES, peaks.numel()))
    cells = places % (height * width)
    columns, rows = cells % width, cells // width
    w, h, x, y = rest[:, rows, columns]
    centres = torch.stack([(columns + x) / width, (rows + y) / height, w.clamp(min=0), h.clamp(min=0)], dim=1)
    boxes = box_clip(box_convert(centres, "cxcywh", "xyxy"))
    return PredictedBoxes(boxes, scores, places // (height * width))


def box_rows(picture: int, found: PredictedBoxes) -> list[BoxRow]:
    """The boxes that are found in an image, as average precision takes them, best first.

    Args:
        picture: its number.
        found: what `decode_centres` gives.
    """
    values = zip(found.categories.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True)
    return [BoxRow(picture, category, (x0, y0, x1, y1), score) for category, (x0, y0, x1, y1), score in values]
