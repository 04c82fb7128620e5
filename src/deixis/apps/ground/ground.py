"""Finds in pictures what phrases mean, by a method that offers `ground`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.explain.inputs import on_picture
from deixis.apps.explain.region_overlays import MarkedRegion, draw_boxes
from deixis.apps.predict.capable import Model, open_method
from deixis.apps.predict.pictures import BatchPredictor, PictureView, predict, with_names
from deixis.data.loading.crops import Window
from deixis.engine.training.batching import tokenized
from deixis.errors import DeixisError
from deixis.types import GroundOutput

__all__ = ["Grounding", "ground", "ground_with"]

_PLACES = 4
"""Decimals of boxes and scores in a table."""


@dataclasses.dataclass(frozen=True)
class Grounding:
    """Where in one picture phrases are found.

    Attributes:
        path: of the picture, or what it is called.
        picture: small enough to be shown.
        regions: of each phrase in turn its boxes, best first, in shares of the picture's width and height.
    """

    path: str
    picture: Image.Image
    regions: tuple[MarkedRegion, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One row a box."""
        return [
            {
                "phrase": each.phrase,
                **dict(zip(("x0", "y0", "x1", "y1"), (round(side, _PLACES) for side in each.box), strict=True)),
                "score": round(each.score, _PLACES),
            }
            for each in self.regions
        ]

    def lines(self) -> list[str]:
        """One line a box."""
        return [
            f"{each.phrase}: {' '.join(f'{side:.3f}' for side in each.box)}, score {each.score:.3g}"
            for each in self.regions
        ]

    def overlay(self) -> Image.Image:
        """The picture with the boxes, and the masks where the method makes any."""
        return draw_boxes(self.picture, self.regions)

    def label_map(self) -> None:
        """Boxes have none."""


@takes_settings(compute=ComputeSettings)
def ground(model: Model, images: Any, phrases: str | Sequence[str], *, count: int = 1) -> list[Grounding]:
    """Finds what phrases mean; each is looked for in each picture.

    Args:
        model: the folder of a run whose method offers `ground`, or such a method.
        images: one or several paths, Pillow images or arrays [H, W, 3].
        phrases: one or several.
        count: boxes a phrase at the most.

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), a phrase is empty, or a picture
            can't be read.
    """
    method = open_method(model, "ground")
    several = [phrases] if isinstance(phrases, str) else list(phrases)
    return list(predict(method, with_names(images), ground_with(method, several, count)))


def ground_with(method: Any, phrases: Sequence[str], count: int = 1) -> BatchPredictor:
    """Calls the method with the phrases, batch by batch; a phrase is a sentence of its own.

    Raises:
        DeixisError: there is no phrase, an empty one, or no box is wanted.
    """
    if count < 1:
        raise DeixisError(f"{count} boxes per phrase are requested.", "Give 1 or more.")
    rows = tokenized(method, phrases)

    def run(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Grounding]:
        found: list[list[MarkedRegion]] = [[] for _ in shown]
        for phrase, (tokens, mask) in zip(phrases, rows, strict=True):
            wide = (len(pixels), -1)
            detections = method.ground(pixels, tokens.expand(wide), mask.expand(wide))
            for number, each in enumerate(shown):
                found[number] += _best(phrase, detections, number, each, count)
        return [Grounding(each.path, each.picture, tuple(marks)) for each, marks in zip(shown, found, strict=True)]

    return run


def _best(phrase: str, detections: GroundOutput, number: int, shown: PictureView, count: int) -> list[MarkedRegion]:
    """The best boxes of one picture; what lies beside it, in padding, is no box of it."""
    scores = detections.scores[number, 0].masked_fill(~detections.valid[number], -torch.inf)
    values, places = scores.topk(min(count, len(scores)))
    marks = []
    for score, place in zip(values.tolist(), places.tolist(), strict=True):
        box = _on_picture(detections.boxes[number, place].tolist(), shown.window)
        if score > -torch.inf and box[0] < box[2] and box[1] < box[3]:
            mask = None if detections.masks is None else detections.masks[number, place]
            inside = None if mask is None else on_picture(mask.float().cpu(), shown.window, shown.picture.size)[0] > 0.5
            marks.append(MarkedRegion(phrase, box, score, inside))
    return marks


def _on_picture(box: Sequence[float], window: Window) -> tuple[float, float, float, float]:
    """A box of what the model sees, in shares of the whole picture."""
    xs = sorted(min(1.0, max(0.0, window.x0 + x * (window.x1 - window.x0))) for x in (box[0], box[2]))
    ys = sorted(min(1.0, max(0.0, window.y0 + y * (window.y1 - window.y0))) for y in (box[1], box[3]))
    return xs[0], ys[0], xs[1], ys[1]
