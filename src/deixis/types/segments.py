"""The class of each pixel of one picture: numbers of classes, their names, and what is known of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.errors import DeixisError
from deixis.types.detections import Detections
from deixis.types.html import html_lines, html_table, image_address

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BACKGROUND", "UNSEEN", "Segments", "joined_coco"]

UNSEEN = -1
"""The class of pixels that the model did not see; 255 in files."""

BACKGROUND = "background"
"""The name of class 0: everything else."""

_SHARE, _HIDDEN = 4, 255


@dataclasses.dataclass(frozen=True)
class Segments:
    """The class of each pixel of one picture; class 0 is everything else.

        out = deixis.segment("photo.jpg", ["a dog", "grass"])
        out.shares(), out.masks[1], out.draw().save("dog.png")

    Attributes:
        labels: number of the class of each pixel, at the size of `picture`; `UNSEEN` where the model saw nothing.
        names: of the classes, the first being `background`.
        scores: of each class at each pixel; chances from 0 to 1 where the method gives such; None where it is not
            wanted.
        path: of the picture, or what it is called.
        size: of the picture as it is shown: width and height in pixels.
        picture: the picture, perhaps smaller than `size`; None where it is not at hand.
        notes: what a reader should know, such as a class that was left out.
    """

    labels: Int64[Tensor, "H W"]
    names: tuple[str, ...]
    scores: Float[Tensor, "C H W"] | None = None
    path: str = ""
    size: tuple[int, int] = (1, 1)
    picture: Image.Image | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.numel() and int(self.labels.amax()) >= len(self.names):
            raise DeixisError(
                f"A pixel is of class {int(self.labels.amax())}, and there are {len(self.names)} names.",
                "Give a name for each class, the first for everything else.",
            )
        if self.scores is not None and tuple(self.scores.shape) != (len(self.names), *self.labels.shape):
            raise DeixisError(
                f"The scores have the shape {tuple(self.scores.shape)}, and "
                f"{(len(self.names), *self.labels.shape)} is expected.",
                "Give one map for each class, at the size of the labels.",
            )

    @property
    def masks(self) -> Bool[Tensor, "C H W"]:
        """The pixels of each class."""
        return torch.stack([self.labels == number for number in range(len(self.names))])

    def share(self, name: str) -> float:
        """Share of the pixels that the model saw which are of a class.

        Raises:
            DeixisError: there is no such class.
        """
        if name not in self.names:
            raise DeixisError(f"There is no class {name!r}.", f"There are: {', '.join(self.names)}.")
        return self.shares().get(name, 0.0)

    def shares(self) -> dict[str, float]:
        """Share of the pixels that the model saw, of each class that is there, the largest first."""
        valid = self.labels[self.labels != UNSEEN]
        counts = torch.bincount(valid, minlength=len(self.names)).tolist()
        order = sorted(range(len(counts)), key=lambda number: (-counts[number], number))
        return {self.names[number]: counts[number] / max(1, len(valid)) for number in order if counts[number]}

    @property
    def missing(self) -> tuple[str, ...]:
        """The classes without any pixel."""
        there = self.shares()
        return tuple(name for name in self.names[1:] if name not in there)

    # pictures

    def draw(self, picture: Image.Image | None = None) -> Image.Image:
        """The picture under the colours of the classes, with their names and shares below.

        Args:
            picture: where `picture` is not to be used; of the size of the labels.
        """
        from deixis.types.region_drawing import draw_classes

        shown = picture or self.picture
        if shown is None:
            raise DeixisError("The picture of these classes is not at hand.", "Give it: draw(picture).")
        shares = self.shares()
        lines = [f"{name}  {shares.get(name, 0.0):.1%}" for name in self.names]
        return draw_classes(shown, self.labels, lines, clear=0)

    def overlay(self) -> Image.Image:
        """The picture with its classes: `draw`."""
        return self.draw()

    def label_map(self) -> Image.Image:
        """Numbers of the classes at the picture's own size, 255 where the model saw nothing, in 8 bits (16 bits, where
        there are more)."""
        from PIL import Image

        wide = len(self.names) > _HIDDEN
        numbers = torch.where(self.labels == UNSEEN, 65_535 if wide else _HIDDEN, self.labels)
        drawn = Image.fromarray(numbers.numpy().astype(np.uint16 if wide else np.uint8))
        return drawn if self.size == (1, 1) else drawn.resize(self.size, Image.Resampling.NEAREST)

    # rows

    def rows(self) -> list[dict[str, Any]]:
        """One row a class that is there."""
        return [{"class": name, "share": round(share, _SHARE)} for name, share in self.shares().items()]

    def lines(self) -> list[str]:
        """All classes that are there, and what is not."""
        there = "   ".join(f"{name} {share:.1%}" for name, share in self.shares().items())
        return [there, *(f"nothing here is {name}" for name in self.missing), *self.notes]

    def to_detections(self) -> Detections:
        """The classes that are there, each with its mask and the box around it; their scores are the means inside."""
        masks = self.masks
        there = [number for number in range(1, len(self.names)) if bool(masks[number].any())]
        scores = [1.0 if self.scores is None else float(self.scores[number][masks[number]].mean()) for number in there]
        return Detections(
            torch.tensor([_around(masks[number]) for number in there]).reshape(-1, 4),
            torch.tensor(scores),
            tuple(self.names[number] for number in there),
            text=", ".join(self.names[1:]),
            path=self.path,
            size=self.size,
            masks=masks[there] if there else None,
            picture=self.picture,
        )

    def to_coco(self) -> dict[str, Any]:
        """COCO's form: an annotation for each class that is there, with run lengths (columns first) as segmentation."""
        numbers = np.asarray(self.label_map()).astype(np.int64)
        height, width = numbers.shape
        annotations: list[dict[str, Any]] = []
        for number in range(1, len(self.names)):
            inside = numbers == number
            if inside.any():
                x0, y0, x1, y1 = _around(torch.from_numpy(inside))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 1,
                        "category_id": number,
                        "segmentation": {"size": [height, width], "counts": _runs(inside)},
                        "bbox": [
                            round(each) for each in (x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height)
                        ],
                        "area": int(inside.sum()),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": number, "name": name} for number, name in enumerate(self.names) if number]
        image = {"id": 1, "file_name": self.path, "width": width, "height": height}
        return {"images": [image], "annotations": annotations, "categories": categories}

    def _repr_html_(self) -> str:
        table = html_table(("class", "share"), [[row["class"], f"{row['share']:.1%}"] for row in self.rows()])
        head = html_lines(self.path or ", ".join(self.names[1:]), *self.lines()[1:])
        if self.picture is None:
            return head + table
        return f'{head}<img src="{image_address(self.draw())}" alt="" style="max-width:100%">{table}'


def joined_coco(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """COCO's form of several pictures out of those of each, whose categories are the same.

    Args:
        several: as `Segments.to_coco` gives them, at least one.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(several, start=1):
        images += [{**image, "id": number} for image in each["images"]]
        annotations += [
            {**row, "id": len(annotations) + place, "image_id": number}
            for place, row in enumerate(each["annotations"], start=1)
        ]
    return {"images": images, "annotations": annotations, "categories": several[0]["categories"]}


def _around(inside: Bool[Tensor, "H W"]) -> tuple[float, float, float, float]:
    """The box around some pixels, in shares of the picture."""
    height, width = inside.shape
    columns, rows = inside.any(0).nonzero()[:, 0], inside.any(1).nonzero()[:, 0]
    corners = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).double()
    x0, y0, x1, y1 = (corners / corners.new_tensor([width, height, width, height])).tolist()
    return x0, y0, x1, y1


def _runs(inside: np.ndarray) -> list[int]:
    """Run lengths down the columns, the first of what does not belong, which may be 0."""
    flat = inside.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    found: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return found
