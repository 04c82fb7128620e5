"""The image fields of a batch, as a `ViewSpec` says: cut out one by one, colours varied a batch at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deixis.data.loading.crops import COLOURS, PLACE, WHOLE, Window, random_window, recoloured, visible_window
from deixis.data.loading.sampler import Draw
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.inputs.preprocess import Preprocess
from deixis.types.batch import Batch
from deixis.types.samples import Sample
from deixis.types.specs import Augment, Crop, ViewSpec

__all__ = ["ImageViews", "Visible"]


class Visible(NamedTuple):
    """Of one image, what `images` shows: which part of it, and how many pixels high and wide."""

    window: Window
    size: tuple[int, int]


class ImageViews:
    """Makes `images`, `views` and `view_boxes`.

    What is made of one image is 8 bits a value where colours may still be varied; `finish` does that for a whole batch,
    and turns it into what the model takes.

    Args:
        view: the requested one.
        preprocess: how images are brought to the model's size and values.
        fields: which of the three are made, and whether others need to know the visible part (`regions`).

    Raises:
        DeixisError: the view contradicts itself.
    """

    def __init__(self, view: ViewSpec, preprocess: Preprocess, fields: frozenset[str]) -> None:
        if view.width and view.longest:
            raise DeixisError(
                f"A view has the width {view.width} and keeps the shape of images (longest {view.longest}).",
                "Set one of them to 0.",
            )
        own = view.size == 0 and not view.longest
        self.view = dataclasses.replace(
            view, size=view.size or preprocess.size, width=view.width or (preprocess.width if own else 0)
        )
        mode = "squash" if self.view.width else preprocess.mode
        self.preprocess = dataclasses.replace(preprocess, size=self.view.size, width=self.view.width, mode=mode)
        self.fields = fields

    @property
    def mirrors(self) -> bool:
        """Whether some image or crop is mirrored."""
        varied = [crop.augment for crop in self.view.crops] if self.fields & {"views", "view_boxes"} else []
        return any(each.flip > 0 for each in [*varied, self.view.augment] if each is not None)

    def row(
        self, sample: Sample, draw: Draw | None, mirrored: bool
    ) -> tuple[dict[str, Any], dict[str, Tensor], Visible]:
        """Of one image: its fields, what of them is real, and the visible part.

        Args:
            sample: that has it.
            draw: what is drawn for it; None for evaluation.
            mirrored: whether it may be.

        Raises:
            ImageError: it can't be read.
        """
        augment, drawn = self.view.augment if draw is not None else None, draw or Draw(0, 0, sample.id)
        square = not (self.view.width or self.view.longest)
        if square and augment is None and self.fields == {"images"}:
            return {"images": self.preprocess.read([sample.picture])}, {}, Visible(WHOLE, (self.view.size,) * 2)
        image = load_image(sample.picture, smallest=self._smallest())
        height, width = image.shape[1:]
        if augment is not None:
            window = random_window(drawn("image", PLACE), width, height, _allowed(augment, mirrored))
        else:
            window = visible_window(self.preprocess, width, height) if square else WHOLE
        size = self._size(window, width, height)
        fields: dict[str, Any] = {}
        valid: dict[str, Tensor] = {}
        if "images" in self.fields:
            whole = augment is None and square
            fields["images"] = (self.preprocess(image) if whole else window.show(image, self.preprocess, size))[None]
            if self.view.longest:
                valid = {letter: torch.ones(1, side, dtype=torch.bool) for letter, side in zip("HW", size, strict=True)}
        if self.fields & {"views", "view_boxes"}:
            fields |= self._crops(image, drawn, mirrored)
        return fields, valid, Visible(window, size)

    def finish(self, batch: Batch, draws: Callable[[str], Draw] | None) -> Batch:
        """Varies colours and normalises: for values of 8 bits, which must not be padded.

        Args:
            batch: of rows put together.
            draws: sample id -> what is drawn for it; None for evaluation.
        """
        changes: dict[str, Any] = {}
        if batch.images is not None and batch.images.dtype == torch.uint8:
            augment = self.view.augment if draws is not None else None
            changes["images"] = self._finished(batch.images, augment, batch.ids, draws, "image colours")
        if batch.views:
            changes["views"] = tuple(
                self._finished_crops(views, crop, batch.ids, draws, number)
                for number, (views, crop) in enumerate(zip(batch.views, self.view.crops, strict=True))
            )
        return dataclasses.replace(batch, **changes)

    def _finished(
        self,
        images: UInt8[Tensor, "B 3 H W"],
        augment: Augment | None,
        ids: Sequence[str],
        draws: Callable[[str], Draw] | None,
        purpose: str,
    ) -> Float[Tensor, "B 3 H W"]:
        if augment is not None and _colours(augment) and len(ids):
            each = [(draws(name) if draws else Draw(0, 0, name))(purpose, COLOURS) for name in ids]
            images = recoloured(images, augment, torch.tensor(each))
        return self.preprocess.normalise(images)

    def _finished_crops(
        self, views: Tensor, crop: Crop, ids: Sequence[str], draws: Callable[[str], Draw] | None, number: int
    ) -> Tensor:
        found = [
            self._finished(views[:, i], crop.augment, ids, draws, f"crop {number} {i} colours")
            for i in range(crop.count)
        ]
        return torch.stack(found, dim=1)

    def _size(self, window: Window, width: int, height: int) -> tuple[int, int]:
        """How many pixels high and wide is shown what the window shows."""
        view = self.view
        if not view.longest:
            return view.size, view.width or view.size
        across, down = window.size(width, height)
        ratio = min(view.size / min(across, down), view.longest / max(across, down))
        return max(1, round(down * ratio)), max(1, round(across * ratio))

    def _smallest(self) -> int | None:
        """What a JPEG's shorter side must keep, where the largest of all views is wanted."""
        side = max([self.view.size, self.view.width, *(crop.size for crop in self.view.crops)])
        return self.preprocess.reduce * side or None

    def _crops(self, image: UInt8[Tensor, "3 H W"], draw: Draw, mirrored: bool) -> Mapping[str, tuple[Tensor, ...]]:
        height, width = image.shape[1:]
        views, boxes = [], []
        for group, crop in enumerate(self.view.crops):
            augment = _allowed(crop.augment, mirrored)
            windows = [
                random_window(draw(f"crop {group} {i}", PLACE), width, height, augment) for i in range(crop.count)
            ]
            size = (crop.size, crop.size)
            views.append(torch.stack([window.show(image, self.preprocess, size) for window in windows])[None])
            boxes.append(torch.tensor(windows)[None])
        made = {"views": tuple(views), "view_boxes": tuple(boxes)}
        return {name: value for name, value in made.items() if name in self.fields}


def _allowed(augment: Augment, mirrored: bool) -> Augment:
    """Without mirroring, where that is not allowed."""
    return augment if mirrored else dataclasses.replace(augment, flip=0.0)


def _colours(augment: Augment) -> bool:
    """Whether more than the place is varied."""
    return bool(any(augment.jitter) or augment.grey or augment.blur or augment.solarise)
