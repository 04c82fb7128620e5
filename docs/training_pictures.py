"""Draws what methods without text see and find: crops with their places, altered copies, triplets, neighbours.

For your eyes; nothing of it is committed, since the pictures are others'.

    python -m docs.training_pictures crops DATA sheet.png [METHOD]          crops of a method (seer), with boxes
    python -m docs.training_pictures copies DATA sheet.png                  each edit of the protocol `copies`
    python -m docs.training_pictures triplets DATA sheet.png                a picture and two variants of it
    python -m docs.training_pictures neighbours DATA sheet.png MODEL ...    the most similar pictures, by each model
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw
from torch import Tensor

from deixis.apps.common.dataset import read
from deixis.apps.common.loading import load_encoder
from deixis.data.loading.collate import Collate
from deixis.data.loading.sampler import Draw
from deixis.data.quality.altered_copies import EDITS, AlteredCopy
from deixis.data.synthetic.triplets import triplets
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types import FieldSpec, Source, ViewSpec
from docs.pictures import GAP, INKS, LINE, label_font, open_picture, write_sheet

__all__ = ["copies_sheet", "crops_sheet", "main", "nearest", "neighbours_sheet", "triplets_sheet"]

SIDE, ROWS, NEAREST = 110, 8, 5
Cell = tuple[Image.Image, str]
"""A picture, and what stands below it."""


def crops_sheet(source: Source, method: str = "seer") -> Image.Image:
    """A row a picture: where its crops lie, and what each of them shows; the box of a mirrored one is crossed."""
    config = configure(method, "desk")
    view = getattr(config, "view", None)
    if not isinstance(view, ViewSpec) or not view.crops:
        raise DeixisError(f"{method} takes no crops.", "seer and pixpro do.")
    plain = Preprocess(max(crop.size for crop in view.crops), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    needs = (FieldSpec("views", "B V 3 H W"), FieldSpec("view_boxes", "B V 4"))
    collate, rows = Collate(source, needs, plain, view=view), []
    for sample in spread(source):
        batch = collate(sample, Draw(0, 0, sample.id))
        crops = [crop for group in batch.views for crop in group[0]]
        boxes = torch.cat([group[0] for group in batch.view_boxes]).tolist()
        cells = [(_of_values(crop), f"{crop.shape[-1]} px") for crop in crops]
        rows.append([(_boxed(open_picture(sample.picture), boxes), sample.id), *cells])
    return table_sheet(rows)


def copies_sheet(source: Source) -> Image.Image:
    """A row a picture: itself, and after each edit."""
    rows = []
    for sample in spread(source):
        altered = [(open_picture(AlteredCopy(sample.picture, edit, sample.id)), edit) for edit in EDITS]
        rows.append([(open_picture(sample.picture), sample.id), *altered])
    return table_sheet(rows)


def triplets_sheet(source: Source, columns: int = 3) -> Image.Image:
    """A picture and two variants of it, with their kinds and amounts; several triplets a row."""
    cells: list[Cell] = []
    for sample in triplets(source, 0, columns * ROWS).samples:
        names = ["reference", *(f"{kind} {amount:.1f}" for kind, amount in sample.extra["variants"])]
        pictures = (open_picture(each) for each in sample.extra["triplets"])
        cells += zip(pictures, names, strict=True)
    return table_sheet([cells[i : i + 3 * columns] for i in range(0, len(cells), 3 * columns)])


def neighbours_sheet(source: Source, models: Sequence[str], queries: int = 12) -> Image.Image:
    """Of some pictures, the most similar others by each model, the models side by side."""
    samples = [sample for sample in source.samples if sample.image is not None]
    found = {Path(name).name: _similar(name, samples) for name in models}
    rows = []
    for query in (number * len(samples) // queries for number in range(min(queries, len(samples)))):
        others = [(i, name) for name, similar in found.items() for i in similar[query].tolist()]
        shown = [(open_picture(samples[i].picture), name) for i, name in others]
        rows.append([(open_picture(samples[query].picture), samples[query].id), *shown])
    return table_sheet(rows)


def nearest(rows: Float[Tensor, "N D"], count: int = NEAREST) -> Int[Tensor, "N k"]:
    """The numbers of the most similar other rows of each row, the most similar first."""
    unit = torch.nn.functional.normalize(rows, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2.0)
    return similarity.topk(min(count, len(rows) - 1), dim=1).indices


def _similar(name: str, samples: Sequence[Any]) -> Tensor:
    encoder = load_encoder(name)
    with torch.no_grad():
        return nearest(torch.cat([encoder.encode_image(encoder.read_images([each.picture])) for each in samples]))


def spread(source: Source, count: int = ROWS) -> list[Any]:
    """Samples with a picture from all over a source."""
    samples = [sample for sample in source.samples if sample.image is not None]
    return [samples[number * len(samples) // count] for number in range(min(count, len(samples)))]


def table_sheet(rows: Sequence[Sequence[Cell]]) -> Image.Image:
    """Pictures in rows, each at the same size with its words below."""
    width, height = SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (max(map(len, rows)) * width + GAP, len(rows) * height + GAP), "white")
    for number, row in enumerate(rows):
        for column, (picture, words) in enumerate(row):
            small = picture.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            x, y = GAP + column * width, GAP + number * height
            sheet.paste(small, (x, y))
            ImageDraw.Draw(sheet).text((x, y + SIDE), words[-18:], fill="black", font=label_font())
    return sheet


def _of_values(values: Float[Tensor, "3 H W"]) -> Image.Image:
    return Image.fromarray((values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _boxed(image: Image.Image, boxes: Sequence[Sequence[float]]) -> Image.Image:
    """With a frame around each box, crossed where it is mirrored."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        left, right = sorted((x0, x1))
        edges = (left * image.width, y0 * image.height, right * image.width - 1, y1 * image.height - 1)
        draw.rectangle(edges, outline=INKS[number % len(INKS)])
        if x0 > x1:
            draw.line(edges, fill=INKS[number % len(INKS)])
    return image


def main(arguments: Sequence[str]) -> None:
    """Writes the requested sheet."""
    kinds = {"crops": crops_sheet, "copies": copies_sheet, "triplets": triplets_sheet}
    kind, *rest = arguments or [""]
    if len(rest) < 2 or kind not in (*kinds, "neighbours"):
        raise DeixisError("No sheet is named.", f"Write {' or '.join((*kinds, 'neighbours'))}, DATA and sheet.png.")
    source, models = read(rest[0]), rest[2:]
    sheet = neighbours_sheet(source, models or ["starter"]) if kind == "neighbours" else kinds[kind](source, *models)
    write_sheet(Path(rest[1]), sheet)


if __name__ == "__main__":
    main(sys.argv[1:])
