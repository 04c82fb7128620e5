"""Patches that match: pairs of photos, and what in one a method finds most like what in the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.common.console import Reporter
from deixis.apps.train.image_files.sheets import GAP, thumbnail, write_sheet
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.errors import DeixisError
from deixis.types import Picture
from deixis.types.protocols import OffersImageTokens
from deixis.types.region_drawing import COLOURS

__all__ = ["SHEET", "PatchMatch", "alike_pairs", "centred", "draw_matches", "patch_matches", "write_patches"]

SHEET = "patches.jpg"

_MOST = 300
_ACROSS, _ROWS, _SIDE = 2, 4, 288
_MATCHES = len(COLOURS)
_PLAIN = 0.02
"""Deviation of the pixels of a patch, of 1, below which nothing is on it that could be matched."""

_FINE = 8


class PatchMatch(NamedTuple):
    """A patch of one photo and one of another, each more like the other than any else there is.

    Attributes:
        first: row and column in the first photo.
        second: in the second.
        cosine: of their states.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    cosine: float


def alike_pairs(rows: Float[Tensor, "N D"], groups: Sequence[int], count: int) -> list[tuple[int, int]]:
    """The most alike images, each in one pair, the most alike pair first; images of one group are no pair.

    Args:
        rows: of length 1, one an image.
        groups: of near-duplicates.
        count: how many pairs there are at the most.
    """
    cosines, same = rows @ rows.T, torch.tensor(groups)[:, None] == torch.tensor(groups)
    cosines = cosines.masked_fill(same | ~torch.ones_like(same).triu(1), -torch.inf)
    found: list[tuple[int, int]] = []
    while len(found) < count and bool((best := cosines.max()).isfinite()):
        pair = divmod(int((cosines == best).flatten().nonzero()[0]), len(rows))
        found.append(pair)
        cosines[list(pair)] = cosines[:, list(pair)] = -torch.inf
    return found


def patch_matches(
    states: Float[Tensor, "2 D h w"], detailed: Bool[Tensor, "2 h w"], count: int = _MATCHES
) -> list[PatchMatch]:
    """The best mutual matches: each patch is, of all of its photo, most like the other. Those beside a better one, in
    both photos, are left out.

    Args:
        states: of the patches of two photos.
        detailed: those that have something on them.
        count: how many at the most.
    """
    width = states.shape[3]
    first, second = F.normalize(states.flatten(2), dim=1).transpose(1, 2)
    cosines = (first @ second.T).masked_fill(~(detailed[0].flatten()[:, None] & detailed[1].flatten()), -torch.inf)
    there, back = cosines.argmax(dim=1), cosines.argmax(dim=0)
    mutual = [i for i in range(len(first)) if int(back[there[i]]) == i and bool(cosines[i, there[i]].isfinite())]
    found: list[PatchMatch] = []
    for i in sorted(mutual, key=lambda i: -float(cosines[i, there[i]])):
        places = divmod(i, width), divmod(int(there[i]), width)
        if len(found) < count and not any(
            _near(places[0], each.first) and _near(places[1], each.second) for each in found
        ):
            found.append(PatchMatch(*places, float(cosines[i, there[i]])))
    return found


def _near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1


def write_patches(method: OffersImageTokens, data: EvalSet, out: Path) -> int:
    """Writes `patches.jpg`: pairs of photos, the most alike that are not near-duplicates, side by side, with the
    patches that match best in one colour each.

    Args:
        method: in any mode.
        data: images, of the first `_MOST` of which pairs are made.
        out: the run folder.

    Returns:
        How many pairs are shown; 0 where there are none, or the method's patches lie on no grid.
    """
    data = data.take(range(min(_MOST, len(data.samples))))
    try:
        maps = EvalModel("the method", method).image_maps(data, Reporter(quiet=True)).float()
    except DeixisError:  # tokens that lie on no grid
        return 0
    maps = centred(maps)
    pairs = alike_pairs(F.normalize(maps.mean(dim=(2, 3)), dim=1), data.groups, _ACROSS * _ROWS)
    drawn = [draw_matches([data.pictures[i] for i in pair], maps[list(pair)]) for pair in pairs]
    if drawn:
        rows = [drawn[start : start + _ACROSS] for start in range(0, len(drawn), _ACROSS)]
        write_sheet(out / SHEET, rows, (2 * _SIDE + GAP, _SIDE))
    return len(drawn)


def centred(maps: Float[Tensor, "N D h w"]) -> Float[Tensor, "N D h w"]:
    """Less the mean of all patches of all photos: what they share tells none apart."""
    return maps - maps.mean(dim=(0, 2, 3), keepdim=True)


def draw_matches(pictures: Sequence[Picture], states: Float[Tensor, "2 D h w"]) -> Image.Image:
    """Two photos side by side, what matches in one colour each.

    Args:
        pictures: two.
        states: of the patches of each.
    """
    shown = [thumbnail(each, _SIDE) for each in pictures]
    grid = (states.shape[2], states.shape[3])
    both = Image.new("RGB", (2 * _SIDE + GAP, _SIDE), (255, 255, 255))
    for number, picture in enumerate(shown):
        both.paste(picture, ((_SIDE + GAP) * number, 0))
    draw = ImageDraw.Draw(both)
    detailed = torch.stack([_detailed(each, grid) for each in shown])
    for match, colour in zip(patch_matches(states, detailed), COLOURS, strict=False):
        boxes = [_box(place, grid, each.size) for place, each in zip(match[:2], shown, strict=True)]
        boxes[1] = tuple(value + (_SIDE + GAP) * (axis % 2 == 0) for axis, value in enumerate(boxes[1]))
        draw.line([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes], colour)
        for box in boxes:
            draw.rectangle(box, outline=colour, width=3)
    return both


def _box(place: tuple[int, int], grid: tuple[int, int], size: tuple[int, int]) -> tuple[float, ...]:
    (row, column), (width, height) = place, size
    across, down = (width - 1) / grid[1], (height - 1) / grid[0]
    return column * across, row * down, (column + 1) * across, (row + 1) * down


def _detailed(picture: Image.Image, grid: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The patches on which something is to be seen."""
    fine = picture.resize((grid[1] * _FINE, grid[0] * _FINE), Image.Resampling.BILINEAR)
    pixels = np.asarray(fine, np.float32).reshape(grid[0], _FINE, grid[1], _FINE, 3) / 255
    return torch.from_numpy(pixels.std(axis=(1, 3)).max(axis=2) >= _PLAIN)
