"""Draws the pictures of the documents: sheets of scenes and of words, made by the generators from nothing of others'.

`make docs` writes `docs/scenes.jpg` from the cast that is drawn here, and `docs/words.jpg` if the fonts are in the
cache. To look at other scenes: `python -m docs.pictures stamps sheet.jpg`.
"""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deixis.data import sets
from deixis.data.scenes import Config, scenes
from deixis.data.scenes.cast import SPLITS
from deixis.data.scenes.config import COLOURS
from deixis.data.words import words
from deixis.inputs.images import load_image
from deixis.inputs.masks import decode_mask
from deixis.types import Picture, Sample

__all__ = ["jpeg", "main", "pictures", "scenes_sheet", "words_sheet"]

SIDE, GAP, TEXT = 160, 10, 78
INKS = [COLOURS[name] for name in ("red", "blue", "green", "orange", "purple")]
QUALITY = 82


def pictures() -> dict[str, bytes]:
    """File name under docs/ -> JPEG, of all that can be drawn with what is in the cache."""
    drawn = {"scenes.jpg": jpeg(scenes_sheet("shapes"))}
    if sets.finished("fonts"):
        drawn["words.jpg"] = jpeg(words_sheet())
    return drawn


def jpeg(sheet: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    memory = io.BytesIO()
    sheet.save(memory, "JPEG", quality=QUALITY, optimize=True)
    return memory.getvalue()


def scenes_sheet(cast: str, columns: int = 3, rows: int = 4, seed: int = 0) -> Image.Image:
    """Scenes, each beside itself with masks and boxes, and some of what is said of it below."""
    config = Config(cast=cast, rho=0.0, objects=(2, 5))
    samples = scenes(seed, columns * rows, side=SIDE, config=config).samples
    cell = (2 * SIDE + GAP, SIDE + TEXT)
    sheet = Image.new("RGB", (columns * (cell[0] + GAP) + GAP, rows * (cell[1] + GAP) + GAP), "white")
    for number, sample in enumerate(samples):
        x, y = (
            GAP + place * (length + GAP)
            for place, length in zip((number % columns, number // columns), cell, strict=True)
        )
        sheet.paste(_picture(sample.picture), (x, y))
        sheet.paste(_marked(sample), (x + SIDE + GAP // 2, y))
        _write(sheet, sample, (x, y + SIDE + 3))
    return sheet


def words_sheet(columns: int = 6, rows: int = 9) -> Image.Image:
    """Words of all three splits, one below the other."""
    sheet = Image.new("RGB", (columns * 136 + 8, rows * 40 + 8), "white")
    for row in range(rows):
        split = SPLITS[row * len(SPLITS) // rows]
        for column, sample in enumerate(words(row, columns, split=split).samples):
            sheet.paste(_picture(sample.picture), (8 + column * 136, 8 + row * 40))
    return sheet


def _picture(picture: Picture) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(load_image(picture).permute(1, 2, 0).numpy()))


def _marked(sample: Sample) -> Image.Image:
    """The scene in grey; each thing's mask in a colour and its box around."""
    image = _picture(sample.picture).convert("L").point(lambda value: 128 + value // 2).convert("RGB")
    for number, region in enumerate(sample.regions):
        ink = INKS[number % len(INKS)]
        if region.mask is not None:
            mask = Image.fromarray(decode_mask(region.mask).numpy()).convert("L").point(lambda value: value * 3 // 5)
            image.paste(Image.new("RGB", image.size, ink), mask=mask)
        x0, y0, x1, y1 = (edge * SIDE for edge in region.box)
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), outline=ink)
    return image


def _write(sheet: Image.Image, sample: Sample, place: tuple[int, int]) -> None:
    """The caption, an expression in its thing's colour, and a question with its answer."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    lines = [(line, (0, 0, 0)) for line in textwrap.wrap(sample.captions[0], 62)[:3]]
    number = max(range(len(sample.regions)), key=lambda i: len(sample.regions[i].phrases))
    lines += [(phrase.text, INKS[number % len(INKS)]) for phrase in sample.regions[number].phrases[-1:]]
    lines += [(f"{asked.question} {asked.answer}", (90, 90, 90)) for asked in sample.questions[:1]]
    for line, (text, ink) in enumerate(lines):
        draw.text((place[0], place[1] + 15 * line), text, fill=ink, font=font)


def main(arguments: Sequence[str]) -> None:
    """Writes a sheet of scenes with the cast that is named."""
    cast, path = arguments
    Path(path).write_bytes(jpeg(scenes_sheet(cast)))


if __name__ == "__main__":
    main(sys.argv[1:])
