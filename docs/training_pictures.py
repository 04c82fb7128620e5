"""Draws what methods without text see and find: crops with their places, altered copies, triplets, neighbours.

For your eyes; nothing of it is committed, since the pictures are others'.

    python -m docs.training_pictures crops DATA sheet.png [METHOD]          crops of a method (seer), with boxes
    python -m docs.training_pictures copies DATA sheet.png                  each edit of the protocol `copies`
    python -m docs.training_pictures triplets DATA sheet.png                a picture and two variants of it
    python -m docs.training_pictures matches DATA sheet.png MODEL ...       pairs of photos, patches that match by each
    python -m docs.training_pictures choices DATA sheet.png RUN             which patch a run of selfie puts where
    python -m docs.training_pictures neighbours DATA sheet.png MODEL ...    the most similar pictures, by each model
    python -m docs.training_pictures respects DATA sheet.png RUN            the most similar in each respect of a run
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.loading import load_encoder
from deixis.apps.predict.capable import open_method
from deixis.apps.respects.stored import read_respects
from deixis.apps.search.search import search
from deixis.apps.search.searcher import Searcher
from deixis.apps.train.image_files.patches import alike_pairs, centred, draw_matches
from deixis.data.loading.collate import Collate
from deixis.data.loading.sampler import Draw
from deixis.data.quality.altered_copies import EDITS, AlteredCopy
from deixis.data.synthetic.triplets import triplets
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.methods import selfie
from deixis.types import FieldSpec, Source, ViewSpec
from docs.pictures import GAP, INKS, LINE, label_font, open_picture, write_sheet

__all__ = [
    "choices_sheet",
    "copies_sheet",
    "crops_sheet",
    "main",
    "matches_sheet",
    "nearest",
    "neighbours_sheet",
    "respects_sheet",
    "triplets_sheet",
]

SIDE, ROWS, NEAREST, TRIED = 110, 8, 5, 100
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


def respects_sheet(source: Source, run: str, queries: int = 6) -> Image.Image:
    """A row for a picture and a respect that the run learned: those that are most alike in it, and first those that are
    alike in all.

    Raises:
        DeixisError: the run has learned no respects.
    """
    pictures = {sample.id: open_picture(sample.picture) for sample in source.samples if sample.image is not None}
    learned = read_respects(Path(run), Searcher(run).encoder.fingerprint())
    if not learned:
        raise DeixisError(f"{run} has learned no respects.", "Learn them: deixis adapt products.csv --about colour")
    rows = []
    for query in (list(pictures)[number * len(pictures) // queries] for number in range(min(queries, len(pictures)))):
        for about in ("", *learned):
            hits = search(run, k=NEAREST + 1, images=[pictures[query]], about=about or None, all=True)
            others = [str(hit.item["id"]) for hit in hits if hit.item["id"] != query][:NEAREST]
            rows.append([(pictures[query], about or "in all"), *((pictures[each], each) for each in others)])
    return table_sheet(rows)


def matches_sheet(source: Source, models: Sequence[str], pairs: int = ROWS) -> Image.Image:
    """Pairs of photos that are most alike to the first model, a row each, and which patches match by each model: before
    and after training, where the first is what it began with.

    Raises:
        DeixisError: there are not two photos to compare.
    """
    samples = spread(source, TRIED)
    some = dataclasses.replace(source, samples=tuple(samples))
    data, silent = EvalSet.of(some, [each.id for each in samples], captions=False), Reporter(quiet=True)
    read_by = {Path(name).name: EvalModel(name, load_encoder(name)) for name in models}
    found = {name: centred(model.image_maps(data, silent).float()) for name, model in read_by.items()}
    first = next(iter(found.values())).mean(dim=(2, 3))
    alike = alike_pairs(torch.nn.functional.normalize(first, dim=1), data.groups, pairs)
    if not alike:
        raise DeixisError(f"{source.name} has no two photos to compare.", "Give more photos.")
    rows = [
        [(draw_matches([data.pictures[i] for i in pair], maps[list(pair)]), name) for name, maps in found.items()]
        for pair in alike
    ]
    return table_sheet(rows, rows[0][0][0].size)


def choices_sheet(source: Source, run: str) -> Image.Image:
    """A row a picture: itself, what a method of selfie is given of it, and which of the masked patches it puts where,
    framed in green where that is right and in red where it is wrong. A patch may be put into several places.

    Raises:
        DeixisError: the run is of another method.
    """
    method, rows = open_method(run, "encode_image"), []
    if not isinstance(method, selfie.Method):
        raise DeixisError(f"{run} is no run of selfie.", "Train one: `deixis train selfie --data DATA`.")
    side, samples = method.config.patch, spread(source)
    size = method.config.view.size or method.encoder.preprocess.size
    preprocess = dataclasses.replace(method.encoder.preprocess, size=size, mode="squash")
    plain = dataclasses.replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    given, masked, best = _choices(method.eval(), preprocess.read([each.picture for each in samples]))
    for number, sample in enumerate(samples):
        whole = _of_values(plain.read([sample.picture])[0])
        hidden, filled = whole.copy(), whole.copy()
        columns = whole.width // side
        boxes = [_patch_box(place, columns, side) for place in masked[number].tolist()]
        chosen = best[number].tolist()
        for box, choice in zip(boxes, chosen, strict=True):
            hidden.paste((128, 128, 128), box)
            filled.paste(whole.crop(boxes[choice]), box)
        large = [each.resize((SIDE, SIDE), Image.Resampling.NEAREST) for each in (whole, hidden, filled)]
        for place, (box, choice) in enumerate(zip(boxes, chosen, strict=True)):
            frame = [edge * SIDE / whole.width for edge in box]
            ImageDraw.Draw(large[2]).rectangle(frame, outline="green" if choice == place else "red", width=2)
        right = sum(choice == place for place, choice in enumerate(chosen))
        told = (sample.id, f"{given.shape[1]} given", f"{right} of {len(boxes)} right")
        rows.append(list(zip(large, told, strict=True)))
    return table_sheet(rows)


def _choices(method: selfie.Method, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places that are given and masked, and for each of these the number of the patch that is chosen among them."""
    with torch.no_grad():
        features = method.features(images)
        count = round(method.config.masked * features.shape[1])
        draws = torch.rand(features.shape[:2], generator=torch.Generator().manual_seed(0))
        given, masked = selfie.random_patch_split(draws, count)
        _, queries = method.queries(features, given, masked)
        targets = features.gather(1, masked[..., None].expand(-1, -1, features.shape[2]))
        return given, masked, selfie.patch_selection(queries, targets)[0].argmax(dim=2)


def _patch_box(place: int, columns: int, side: int) -> tuple[int, int, int, int]:
    row, column = divmod(place, columns)
    return column * side, row * side, (column + 1) * side, (row + 1) * side


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


def table_sheet(rows: Sequence[Sequence[Cell]], size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Pictures in rows, each at the same size with its words below."""
    width, height = size[0] + GAP, size[1] + LINE + GAP
    sheet = Image.new("RGB", (max(map(len, rows)) * width + GAP, len(rows) * height + GAP), "white")
    for number, row in enumerate(rows):
        for column, (picture, words) in enumerate(row):
            small = picture.convert("RGB")
            small.thumbnail(size)
            x, y = GAP + column * width, GAP + number * height
            sheet.paste(small, (x, y))
            ImageDraw.Draw(sheet).text((x, y + size[1]), words[-18:], fill="black", font=label_font())
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
    single = {
        "crops": crops_sheet,
        "copies": copies_sheet,
        "triplets": triplets_sheet,
        "choices": choices_sheet,
        "respects": respects_sheet,
    }
    several = {"matches": matches_sheet, "neighbours": neighbours_sheet}
    kind, *rest = arguments or [""]
    if len(rest) < 2 + (kind in ("choices", "respects")) or kind not in (*single, *several):
        names = ", ".join((*single, *several))
        raise DeixisError(
            "No sheet is named.", f"Write one of {names}, then DATA and sheet.png; choices and respects need a run."
        )
    source, models = read(rest[0]), rest[2:]
    sheet = several[kind](source, models or ["starter"]) if kind in several else single[kind](source, *models)
    write_sheet(Path(rest[1]), sheet)


if __name__ == "__main__":
    main(sys.argv[1:])
