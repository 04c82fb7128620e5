"""What phrases are found to mean in one picture: boxes, and what is known of each."""

from __future__ import annotations

import csv
import dataclasses
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import batched_nms

from deixis.errors import DeixisError, require
from deixis.files import atomic_path
from deixis.types.html import html_lines, html_table, image_address

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Detections", "MissingPhrase", "coco_json"]

_PLACES, _EDGE = 4, 0.01
_COLUMNS = ("image", "phrase", "x0", "y0", "x1", "y1", "score", "source", "label")


class MissingPhrase(NamedTuple):
    """A phrase for which no box was good enough.

    Attributes:
        phrase: its words.
        span: its characters in the text.
        score: the highest that a box has.
        label: what the detector calls that box, or empty.
        box: where it is.
        threshold: the score that an answer needs.
    """

    phrase: str
    span: tuple[int, int]
    score: float
    label: str
    box: tuple[float, float, float, float]
    threshold: float

    def __str__(self) -> str:
        label = f", {self.label}" if self.label else ""
        return f"nothing here is {self.phrase} (nearest: {self.score:.2g}{label})"


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes in one picture, those of a phrase one behind the other, best first.

        out = deixis.ground("photo.jpg", "a cat and two dogs")
        out.boxes, out.pixels, out.phrases, out.scores
        out.filter(phrase="a cat", score=0.5)[0].crops()[0].save("cat.png")

    Attributes:
        boxes: x0 y0 x1 y1 from 0 to 1, of the picture as it is shown (EXIF applied).
        scores: of each; chances from 0 to 1 where the method gives such.
        phrases: the words that each is an answer to.
        spans: the characters of these words in `text`, the end exclusive.
        labels: what a detector calls each; empty where there is none.
        sources: how each was chosen, such as `kind` or `crop`; empty where there is one way only.
        text: what was requested.
        path: of the picture, or what it is called.
        size: of the picture as it is shown: width and height in pixels.
        masks: the pixels of each, at the size of `picture`.
        missing: the phrases without a box, and what came nearest.
        picture: the picture, perhaps smaller than `size`; None where it is not at hand.
    """

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    phrases: tuple[str, ...]
    spans: tuple[tuple[int, int], ...] = ()
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    text: str = ""
    path: str = ""
    size: tuple[int, int] = (1, 1)
    masks: Bool[Tensor, "N H W"] | None = None
    missing: tuple[MissingPhrase, ...] = ()
    picture: Image.Image | None = None

    def __post_init__(self) -> None:
        for name, value in (("spans", (0, 0)), ("labels", ""), ("sources", "")):
            if not getattr(self, name):
                object.__setattr__(self, name, (value,) * len(self.boxes))
        for name in ("scores", "phrases", "spans", "labels", "sources"):
            if len(getattr(self, name)) != len(self.boxes):
                raise DeixisError(
                    f"{len(self.boxes)} boxes have {len(getattr(self, name))} {name}.", "Give one for each."
                )
        if self.masks is not None:
            size = self.picture.size[::-1] if self.picture is not None else tuple(self.masks.shape[1:])
            if tuple(self.masks.shape) != (len(self.boxes), *size):
                raise DeixisError(
                    f"The masks have the shape {tuple(self.masks.shape)}, and {(len(self.boxes), *size)} is expected.",
                    "Give one for each box, at the size of the picture.",
                )

    @property
    def pixels(self) -> Float[Tensor, "N 4"]:
        """The boxes in pixels of the picture as it is shown."""
        return self.boxes * self.boxes.new_tensor([*self.size, *self.size])

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detections]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Detections:
        """Some of the boxes; of one number, one box."""
        places = torch.arange(len(self))[[index] if isinstance(index, int) else index].tolist()
        return dataclasses.replace(
            self,
            boxes=self.boxes[places],
            scores=self.scores[places],
            phrases=tuple(self.phrases[place] for place in places),
            spans=tuple(self.spans[place] for place in places),
            labels=tuple(self.labels[place] for place in places),
            sources=tuple(self.sources[place] for place in places),
            masks=None if self.masks is None else self.masks[places],
        )

    def filter(
        self,
        score: float = 0.0,
        phrase: str = "",
        area: tuple[float, float] = (0.0, 1.0),
        source: str = "",
    ) -> Detections:
        """Those that fit all of these.

        Args:
            score: at least this.
            phrase: this one.
            area: between these shares of the picture.
            source: this one.
        """
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        kept = (self.scores >= score) & (areas >= area[0]) & (areas <= area[1])
        kept &= torch.tensor([phrase in ("", each) for each in self.phrases], dtype=torch.bool)
        kept &= torch.tensor([source in ("", each) for each in self.sources], dtype=torch.bool)
        return self[kept.nonzero().flatten()]

    def nms(self, threshold: float = 0.5) -> Detections:
        """Without boxes that overlap a better one of their phrase by more than `threshold` (IoU)."""
        kept = batched_nms(self.boxes.float(), self.scores.float(), self._numbers(), threshold)
        return self[kept.sort().values]

    def top(self, count: int = 1) -> Detections:
        """The best boxes of each phrase, at most `count`."""
        numbers, order = self._numbers(), self.scores.argsort(descending=True, stable=True)
        groups = (order[numbers[order] == number][:count].tolist() for number in range(len(set(self.phrases))))
        return self[sorted(place for group in groups for place in group)]

    def merge(self) -> Detections:
        """One box a phrase: around all of its boxes, with its best score."""
        numbers = self._numbers()
        groups = [(numbers == number).nonzero().flatten() for number in range(len(set(self.phrases)))]
        if not groups:
            return self
        corners = [(self.boxes[group, :2].amin(0), self.boxes[group, 2:].amax(0)) for group in groups]
        return dataclasses.replace(
            self[[int(group[0]) for group in groups]],
            boxes=torch.stack([torch.cat(each) for each in corners]),
            scores=torch.stack([self.scores[group].amax() for group in groups]),
            masks=None if self.masks is None else torch.stack([self.masks[group].any(0) for group in groups]),
        )

    def _numbers(self) -> Tensor:
        """Of the phrase of each box."""
        order = list(dict.fromkeys(self.phrases))
        return torch.tensor([order.index(each) for each in self.phrases], dtype=torch.long)

    # pictures

    def crops(self, picture: Image.Image | None = None) -> list[Image.Image]:
        """What each box shows, at least one pixel of it.

        Args:
            picture: where `picture` is not to be used, such as one with more pixels.
        """
        shown = self._shown(picture)
        found = []
        for box in self.boxes.tolist():
            x0, y0 = (min(int(share * side), side - 1) for share, side in zip(box[:2], shown.size, strict=True))
            x1, y1 = (round(share * side) for share, side in zip(box[2:], shown.size, strict=True))
            found.append(shown.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))
        return found

    def draw(self, picture: Image.Image | None = None) -> Image.Image:
        """The picture with the boxes, and the masks where there are any.

        Args:
            picture: as for `crops`; with masks it must be of their size.
        """
        from deixis.types.region_drawing import MarkedRegion, draw_boxes

        masks = [None] * len(self) if self.masks is None else list(self.masks)
        rows = zip(self.phrases, self.boxes.tolist(), self.scores.tolist(), masks, strict=True)
        return draw_boxes(self._shown(picture), [MarkedRegion(p, tuple(b), s, m) for p, b, s, m in rows])

    def _shown(self, picture: Image.Image | None) -> Image.Image:
        shown = picture or self.picture
        if shown is None:
            raise DeixisError("The picture of these boxes is not at hand.", "Give it: draw(picture).")
        return shown

    # rows

    def rows(self) -> list[dict[str, Any]]:
        """One row a box, as plain values."""
        values = zip(self.phrases, self.boxes.tolist(), self.scores.tolist(), self.sources, self.labels, strict=True)
        return [
            {
                "phrase": phrase,
                **dict(zip(("x0", "y0", "x1", "y1"), (round(side, _PLACES) for side in box), strict=True)),
                "score": round(score, _PLACES),
                "source": source,
                "label": label,
            }
            for phrase, box, score, source, label in values
        ]

    def lines(self) -> list[str]:
        """One line a box, and one for each phrase without."""
        shown = []
        for row in self.rows():
            box = " ".join(f"{row[side]:.3f}" for side in ("x0", "y0", "x1", "y1"))
            shown.append(
                f"{row['phrase']}: {box}, score {row['score']:.2g}" + f" ({row['label']})" * bool(row["label"])
            )
        return [*shown, *map(str, self.missing)]

    def overlay(self) -> Image.Image:
        """The picture with what was found: `draw`."""
        return self.draw()

    def label_map(self) -> None:
        """Boxes have none."""

    def to_csv(self, path: str | Path) -> None:
        """Writes a table of one row a box: image, phrase, x0 y0 x1 y1 from 0 to 1, score, source and label."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows({"image": self.path, **row} for row in self.rows())

    def to_coco(self) -> dict[str, Any]:
        """COCO's form: x y width height in pixels; the categories are the phrases."""
        return coco_json([self])

    @classmethod
    def from_coco(cls, content: Mapping[str, Any]) -> list[Detections]:
        """What `coco_json` gave, corrected by hand or not: one for each picture, in its order.

        Raises:
            DeixisError: it is not COCO's form, or a box is none: outside of its picture, without area, no number.
        """
        try:
            names = {each["id"]: str(each["name"]) for each in content["categories"]}
            own: dict[Any, list[Mapping[str, Any]]] = {each["id"]: [] for each in content["images"]}
            for each in content["annotations"]:
                own[each["image_id"]].append({**each, "phrase": each.get("phrase") or names[each["category_id"]]})
            return [cls._of_coco(image, own[image["id"]]) for image in content["images"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DeixisError(
                f"This is no json of COCO with boxes: {type(error).__name__}: {error}.",
                "It has images, annotations with image_id and bbox, and categories.",
            ) from error

    @classmethod
    def _of_coco(cls, image: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Detections:
        width, height = int(image["width"]), int(image["height"])
        corners = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
        corners = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)
        boxes = (corners / corners.new_tensor([width, height, width, height])).float()
        wrong = ~((boxes[:, 2:] > boxes[:, :2]).all(1) & (boxes > -_EDGE).all(1) & (boxes < 1 + _EDGE).all(1))
        if wrong.any():
            row = rows[int(wrong.nonzero()[0])]
            raise DeixisError(
                f"The box {row['bbox']} of {image['file_name']} ({width} x {height} pixels) is none.",
                "A bbox is x, y, width, height in pixels, inside of its picture.",
            )
        text = str(image.get("caption", ""))
        phrases = tuple(str(row["phrase"]) for row in rows)
        starts = [max(0, text.find(phrase)) for phrase in phrases]
        return cls(
            boxes.clamp(0, 1),
            torch.tensor([float(row.get("score", 1.0)) for row in rows]),
            phrases,
            tuple((start, start + len(phrase)) for start, phrase in zip(starts, phrases, strict=True)),
            tuple(str(row.get("label", "")) for row in rows),
            tuple(str(row.get("source", "")) for row in rows),
            text,
            str(image["file_name"]),
            (width, height),
        )

    def to_supervision(self) -> Any:
        """A `supervision.Detections`, with phrases as class names.

        Raises:
            DeixisError: the package is not installed.
        """
        package = require("supervision", "eval", "make detections of it")
        order = list(dict.fromkeys(self.phrases))
        return package.Detections(
            xyxy=self.pixels.double().numpy(),
            confidence=self.scores.double().numpy(),
            class_id=self._numbers().numpy(),
            mask=None if self.masks is None else self.masks.numpy(),
            data={"class_name": [order[number] for number in self._numbers().tolist()]},
        )

    def _repr_html_(self) -> str:
        head = html_lines(self.path or self.text, *map(str, self.missing))
        rows = [[row["phrase"], f"{row['score']:.2g}", row["label"], row["source"]] for row in self.rows()]
        table = html_table(("phrase", "score", "label", "source"), rows)
        if self.picture is None:
            return head + table
        text = html.escape(self.text)
        return f'{head}<img src="{image_address(self.draw())}" alt="{text}" style="max-width:100%">{table}'


def coco_json(several: Sequence[Detections]) -> dict[str, Any]:
    """COCO's form of the boxes of several pictures, ready for json.

    Args:
        several: one for each picture.
    """
    phrases = list(dict.fromkeys(phrase for each in several for phrase in each.phrases))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, each in enumerate(several, start=1):
        width, height = each.size
        images.append({"id": image, "file_name": each.path, "width": width, "height": height, "caption": each.text})
        for row, (x0, y0, x1, y1) in zip(each.rows(), each.pixels.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1 + phrases.index(row["phrase"]),
                    "bbox": [round(side, 2) for side in (x0, y0, x1 - x0, y1 - y0)],
                    "area": round((x1 - x0) * (y1 - y0), 2),
                    "iscrowd": 0,
                    **{key: row[key] for key in ("phrase", "score", "source", "label")},
                }
            )
    categories = [{"id": number, "name": phrase} for number, phrase in enumerate(phrases, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}
