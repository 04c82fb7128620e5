"""From a map of how likely each pixel is text to boxes around lines of it, without OpenCV (Liao et al., DB, 2020)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

__all__ = ["TextBox", "in_reading_order", "one_line", "straightened", "text_boxes"]

_LEAST_SIDE = 3  # pixels of the map; two more once grown
_UPRIGHT = 1.5  # height by width from which on a box is read turned
_LINE_HEIGHT, _LINE_RATIO = 160, 1.5  # of a picture that may be a line and nothing else


@dataclasses.dataclass(frozen=True)
class TextBox:
    """A line of text in a picture.

    Attributes:
        corners: x y in pixels, clockwise from the upper left.
        score: how sure the detector is, from 0 to 1.
    """

    corners: Float[np.ndarray, "4 2"]
    score: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x0 y0 x1 y1 in pixels, upright."""
        low, high = self.corners.min(0), self.corners.max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def text_boxes(
    chances: Float[np.ndarray, "H W"],
    size: tuple[int, int],
    *,
    threshold: float = 0.3,
    least: float = 0.5,
    grow: float = 1.6,
) -> list[TextBox]:
    """Boxes of any direction around what is likely text.

    Args:
        chances: that a pixel belongs to the middle of a line.
        size: width and height of the picture, in pixels.
        threshold: of a pixel.
        least: mean chance inside a box.
        grow: how much a box grows, as a share of its area by its circumference: the map shows lines thinner than they
            are.
    """
    height, width = chances.shape
    numbered, _ = ndimage.label(_thickened(chances > threshold), np.ones((3, 3)))
    scale = np.array(size) / (width, height)
    found = []
    for number, place in enumerate(ndimage.find_objects(numbered), 1):
        points = _outline(numbered[place] == number) + np.array([place[1].start, place[0].start])
        corners = _least_rectangle(points)
        if corners is None or min(_sides(corners)) < _LEAST_SIDE:
            continue
        score = _mean_inside(chances, corners)
        corners = _grown(corners, grow)
        if score < least or min(_sides(corners)) < _LEAST_SIDE + 2:
            continue
        corners = np.clip(corners * scale, 0, np.array(size) - 1.0)
        if min(_sides(corners)) > _LEAST_SIDE:
            found.append(TextBox(corners, score))
    return found


def _thickened(pixels: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Each pixel, and those to the right, below, and both."""
    wide = pixels.copy()
    wide[:, 1:] |= pixels[:, :-1]
    high = wide.copy()
    high[1:] |= wide[:-1]
    return high


def _outline(pixels: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "N 2"]:
    """X y of the first and the last pixel of each row: no other can be a corner of the hull."""
    rows = np.flatnonzero(pixels.any(1))
    first, last = pixels[rows].argmax(1), pixels.shape[1] - 1 - pixels[rows, ::-1].argmax(1)
    return np.concatenate([np.stack([each, rows], 1) for each in (first, last)]).astype(np.float64)


def _least_rectangle(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "4 2"] | None:
    """The corners of the smallest rectangle around points; None where they are on a line. One of its sides lies along
    one of the hull."""
    try:
        hull = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return None
    edges = np.roll(hull, -1, 0) - hull
    angles = np.unique(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2))
    turns = np.stack([np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles)], 1).reshape(-1, 2, 2)
    turned = turns @ hull.T
    low, high = turned.min(2), turned.max(2)
    best = int((high - low).prod(1).argmin())
    (x0, y0), (x1, y1) = low[best], high[best]
    return _clockwise(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ turns[best])


def _clockwise(corners: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4 2"]:
    """From the upper left: of the two on the left the upper one."""
    order = corners[corners[:, 0].argsort(kind="stable")]
    left, right = (half[half[:, 1].argsort(kind="stable")] for half in (order[:2], order[2:]))
    return np.array([left[0], right[0], right[1], left[1]])


def _sides(corners: Float[np.ndarray, "4 2"]) -> tuple[float, float]:
    """Width and height."""
    return float(np.linalg.norm(corners[1] - corners[0])), float(np.linalg.norm(corners[3] - corners[0]))


def _grown(corners: Float[np.ndarray, "4 2"], ratio: float) -> Float[np.ndarray, "4 2"]:
    """The same rectangle, larger on all sides by what its area by its circumference says."""
    width, height = _sides(corners)
    distance = ratio * width * height / (2 * (width + height))
    across, down = (corners[1] - corners[0]) / width, (corners[3] - corners[0]) / height
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return corners + distance * (signs[:, :1] * across + signs[:, 1:] * down)


def _mean_inside(chances: Float[np.ndarray, "H W"], corners: Float[np.ndarray, "4 2"]) -> float:
    high = np.array(chances.shape[::-1]) - 1
    low, top = (np.clip(each, 0, high).astype(int) for each in (np.floor(corners.min(0)), np.ceil(corners.max(0))))
    mask = Image.new("1", tuple((top - low + 1).tolist()))
    ImageDraw.Draw(mask).polygon([tuple(each) for each in (corners - low).tolist()], fill=1, outline=1)
    inside = np.array(mask)
    return float(chances[low[1] : top[1] + 1, low[0] : top[0] + 1][inside].mean()) if inside.any() else 0.0


def in_reading_order(boxes: Sequence[TextBox]) -> list[TextBox]:
    """Line by line from the top, in a line from the left: a box is in the line of one before if its middle lies within
    the height of that one."""
    lines: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: float(box.corners[:, 1].mean())):
        middle = float(box.corners[:, 1].mean())
        line = lines[-1] if lines else []
        if line and line[0].bounds[1] <= middle <= line[0].bounds[3]:
            line.append(box)
        else:
            lines.append([box])
    return [box for line in lines for box in sorted(line, key=lambda box: box.bounds[0])]


def one_line(size: tuple[int, int]) -> TextBox | None:
    """All of a picture that is no larger than a line, as words are cut out of photographs; None of any other.

    Args:
        size: width and height, in pixels.
    """
    width, height = size
    if height > _LINE_HEIGHT or width < _LINE_RATIO * height:
        return None
    return TextBox(np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64), 0.0)


def straightened(picture: Image.Image, box: TextBox) -> Image.Image:
    """What a box shows, its upper side at the top; one that is much higher than wide is turned to the left."""
    width, height = (max(1, round(side)) for side in _sides(box.corners))
    upper_left, upper_right, lower_right, lower_left = box.corners.tolist()
    quad = (*upper_left, *lower_left, *lower_right, *upper_right)
    shown = picture.convert("RGB").transform((width, height), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    return shown.transpose(Image.Transpose.ROTATE_90) if height >= _UPRIGHT * width else shown
