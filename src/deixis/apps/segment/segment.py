"""Names the class of each pixel of pictures, by a method that offers `segment`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.explain.region_overlays import draw_classes
from deixis.apps.predict.capable import Model, class_names, open_method
from deixis.apps.predict.pictures import BatchPredictor, PictureView, predict, with_names
from deixis.data.loading.crops import on_picture

__all__ = ["UNSEEN", "Segmentation", "segment", "segment_with"]

UNSEEN = -1
"""The class of pixels that the model did not see; 255 in files."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The class of each pixel of one picture.

    Attributes:
        path: of the picture, or what it is called.
        picture: small enough to be shown.
        names: of the classes.
        classes: number of the class of each pixel, at the size of `picture`; `UNSEEN` where the model saw nothing.
    """

    path: str
    picture: Image.Image
    names: tuple[str, ...]
    classes: Int64[Tensor, "H W"]

    def shares(self) -> dict[str, float]:
        """Share of the pixels that the model saw, of each class that is there, the largest first."""
        valid = self.classes[self.classes != UNSEEN]
        counts = torch.bincount(valid, minlength=len(self.names)).tolist()
        order = sorted(range(len(counts)), key=lambda number: (-counts[number], number))
        return {self.names[number]: counts[number] / max(1, len(valid)) for number in order if counts[number]}

    def rows(self) -> list[dict[str, Any]]:
        """One row a class that is there."""
        return [{"class": name, "share": round(share, 4)} for name, share in self.shares().items()]

    def lines(self) -> list[str]:
        """All classes that are there."""
        return ["   ".join(f"{name} {share:.1%}" for name, share in self.shares().items())]

    def overlay(self) -> Image.Image:
        """The picture under the colours of the classes, their names below."""
        return draw_classes(self.picture, self.classes, self.names)

    def label_map(self) -> Image.Image:
        """The numbers of the classes, 255 where the model saw nothing, in 8 bits (16, where there are more)."""
        wide = len(self.names) > 255
        numbers = torch.where(self.classes == UNSEEN, 65_535 if wide else 255, self.classes)
        return Image.fromarray(numbers.numpy().astype(np.uint16 if wide else np.uint8))


@takes_settings(compute=ComputeSettings)
def segment(model: Model, images: Any) -> list[Segmentation]:
    """Names the class of each pixel.

    Args:
        model: the folder of a run whose method offers `segment`, or such a method.
        images: one or several paths, Pillow images or arrays [H, W, 3].

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), or a picture can't be read.
    """
    method = open_method(model, "segment")
    return list(predict(method, with_names(images), segment_with(method)))


def segment_with(method: Any) -> BatchPredictor:
    """What calls the method on a batch."""

    def run(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Segmentation]:
        return [_placed(method, scores, each) for scores, each in zip(method.segment(pixels), shown, strict=True)]

    return run


def _placed(method: Any, scores: Float[Tensor, "C H W"], shown: PictureView) -> Segmentation:
    """Scores are stretched over the picture before the greatest is taken, so that edges are smooth."""
    maps = [on_picture(each.float().cpu(), shown.window, shown.picture.size) for each in scores]
    classes = torch.stack([values for values, _ in maps]).argmax(0)
    inside = maps[0][1]
    return Segmentation(
        shown.path, shown.picture, class_names(method, len(scores)), torch.where(inside, classes, UNSEEN)
    )
