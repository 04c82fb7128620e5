"""Draws the pictures of the documents: sheets of scenes and of words, made by the generators from nothing of others'.

`make docs` writes `docs/scenes.jpg` from the cast that is drawn here, and `docs/words.jpg` if the fonts are in the
cache. It also writes a contact sheet of each set in the cache to `docs/sheets/`, which is for your eyes and not
committed, since the pictures are others'. To look at one thing:

    python -m docs.pictures set:emoji-styles/noto sheet.png    a contact sheet of what any verb takes as DATA
    python -m docs.pictures stamps sheet.png                   scenes of a cast, with masks, boxes and what is said
    python -m docs.pictures                                    all sets in the cache, to docs/sheets/

`docs.training_pictures` shows crops, altered copies, triplets and neighbours.
"""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deixis.apps.common.dataset import read
from deixis.data import catalogue
from deixis.data.datasets.sources.cache import finished
from deixis.data.synthetic.scene_text import words
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.inputs.images import load_image
from deixis.inputs.masks import decode_mask
from deixis.types import Picture, Region, Sample, Source

__all__ = [
    "LOCAL",
    "contact_sheet",
    "jpeg",
    "label_font",
    "main",
    "open_picture",
    "pictures",
    "scenes_sheet",
    "words_sheet",
    "write_local",
    "write_sheet",
]

LOCAL = Path(__file__).parent / "sheets"
"""Where contact sheets of others' pictures go; git leaves it out."""

SIDE, GAP, TEXT = 160, 10, 78
SMALL, LINE = 120, 13
INKS = [COLOURS[name] for name in ("red", "blue", "green", "orange", "purple")]
QUALITY = 82


def pictures() -> dict[str, bytes]:
    """File name under docs/ -> JPEG, of all that can be drawn with what is in the cache."""
    drawn = {"scenes.jpg": jpeg(scenes_sheet("shapes"))}
    if finished("fonts"):
        drawn["words.jpg"] = jpeg(words_sheet())
    return drawn


def jpeg(sheet: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    memory = io.BytesIO()
    sheet.save(memory, "JPEG", quality=QUALITY, optimize=True)
    return memory.getvalue()


def scenes_sheet(cast: str, columns: int = 3, rows: int = 4, seed: int = 0) -> Image.Image:
    """Scenes, each beside itself with masks and boxes, and some of what is said of it below."""
    config = SceneConfig(cast=cast, rho=0.0, objects=(2, 5))
    samples = scenes(seed, columns * rows, side=SIDE, config=config).samples
    cell = (2 * SIDE + GAP, SIDE + TEXT)
    sheet = Image.new("RGB", (columns * (cell[0] + GAP) + GAP, rows * (cell[1] + GAP) + GAP), "white")
    for number, sample in enumerate(samples):
        x, y = (
            GAP + place * (length + GAP)
            for place, length in zip((number % columns, number // columns), cell, strict=True)
        )
        sheet.paste(open_picture(sample.picture), (x, y))
        sheet.paste(_marked(sample), (x + SIDE + GAP // 2, y))
        _tell(sheet, sample, (x, y + SIDE + 3))
    return sheet


def words_sheet(columns: int = 6, rows: int = 9) -> Image.Image:
    """Words of all three splits, one below the other."""
    sheet = Image.new("RGB", (columns * 136 + 8, rows * 40 + 8), "white")
    for row in range(rows):
        split = SPLITS[row * len(SPLITS) // rows]
        for column, sample in enumerate(words(row, columns, split=split).samples):
            sheet.paste(open_picture(sample.picture), (8 + column * 136, 8 + row * 40))
    return sheet


def contact_sheet(source: Source, columns: int = 8, rows: int = 6) -> Image.Image:
    """Pictures from all over a source, with boxes where it has some, and their words below.

    Args:
        source: what any reader gave; samples without a picture are not shown.
        columns: of pictures.
        rows: of pictures, at the most.
    """
    seen = [sample for sample in source.samples if sample.image is not None]
    count = min(len(seen), columns * rows)
    font, cell = label_font(), (SMALL, SMALL + 3 * LINE)
    width, height = columns * (cell[0] + GAP) + GAP, -(-count // columns) * (cell[1] + GAP) + GAP + 2 * LINE
    sheet = Image.new("RGB", (width, height), "white")
    title = f"{source.name}: {len(source.samples):,} samples, {source.layout}; {len(source.skipped):,} left out"
    ImageDraw.Draw(sheet).text((GAP, GAP), title, fill="black", font=font)
    for number in range(count):
        sample = seen[number * len(seen) // count]
        x, y = GAP + number % columns * (cell[0] + GAP), 2 * LINE + GAP + number // columns * (cell[1] + GAP)
        small = _small(sample)
        sheet.paste(small, (x + (SMALL - small.width) // 2, y + SMALL - small.height))
        words = textwrap.wrap(" / ".join(sample.captions) or sample.label or sample.id, SMALL // 7) or [""]
        for line, text in enumerate(words[:3]):
            ImageDraw.Draw(sheet).text((x, y + SMALL + LINE * line), text, fill="black", font=font)
    return sheet


def label_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """One of the system's, which has more letters than Pillow's own."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", 10)
    except OSError:
        return ImageFont.load_default(11)


def _small(sample: Sample) -> Image.Image:
    """A picture at the size of a contact sheet, its boxes around; a red one where it can't be read."""
    try:
        image = open_picture(sample.picture)
    except DeixisError:
        return Image.new("RGB", (SMALL, SMALL), "red")
    image.thumbnail((SMALL, SMALL))
    framed = Image.new("RGB", (image.width + 2, image.height + 2), "silver")
    framed.paste(image, (1, 1))
    for number, region in enumerate(sample.regions):
        _frame(framed, region, INKS[number % len(INKS)])
    return framed


def write_local(folder: Path = LOCAL) -> list[Path]:
    """Writes a contact sheet of each set in the cache, and of each that is made from one, and returns the files."""
    written = []
    for name in (*catalogue.names(), *catalogue.generated()):
        try:
            source = catalogue.read(name)
        except DeixisError:
            continue  # not fetched, or made from one that is not
        folder.mkdir(parents=True, exist_ok=True)
        written.append(folder / f"{name}.jpg")
        write_sheet(written[-1], contact_sheet(source))
    return written


def write_sheet(path: Path, sheet: Image.Image) -> None:
    """Writes a sheet in the format that its name says."""
    with atomic_path(path) as temporary:
        sheet.save(temporary, Image.registered_extensions().get(path.suffix.lower(), "JPEG"), quality=QUALITY)


def _frame(image: Image.Image, region: Region, ink: tuple[int, int, int]) -> None:
    x0, x1 = (edge * image.width for edge in region.box[::2])
    y0, y1 = (edge * image.height for edge in region.box[1::2])
    ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), outline=ink)


def open_picture(picture: Picture) -> Image.Image:
    """What a sample shows."""
    return Image.fromarray(np.ascontiguousarray(load_image(picture).permute(1, 2, 0).numpy()))


def _marked(sample: Sample) -> Image.Image:
    """The scene in grey; each thing's mask in a colour and its box around."""
    image = open_picture(sample.picture).convert("L").point(lambda value: 128 + value // 2).convert("RGB")
    for number, region in enumerate(sample.regions):
        ink = INKS[number % len(INKS)]
        if region.mask is not None:
            mask = Image.fromarray(decode_mask(region.mask).numpy()).convert("L").point(lambda value: value * 3 // 5)
            image.paste(Image.new("RGB", image.size, ink), mask=mask)
        _frame(image, region, ink)
    return image


def _tell(sheet: Image.Image, sample: Sample, place: tuple[int, int]) -> None:
    """The caption, an expression in its thing's colour, and a question with its answer."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    lines = [(line, (0, 0, 0)) for line in textwrap.wrap(sample.captions[0], 62)[:3]]
    number = max(range(len(sample.regions)), key=lambda i: len(sample.regions[i].phrases))
    lines += [(phrase.text, INKS[number % len(INKS)]) for phrase in sample.regions[number].phrases[-1:]]
    lines += [(f"{asked.question} {asked.answer}", (90, 90, 90)) for asked in sample.questions[:1]]
    for line, (text, ink) in enumerate(lines):
        draw.text((place[0], place[1] + 15 * line), text, fill=ink, font=font)


def main(arguments: Sequence[str]) -> None:
    """Writes the requested sheet; without arguments those of all sets in the cache."""
    if not arguments:
        print(*(f"wrote {path}" for path in write_local()), sep="\n")
        return
    data, path = arguments
    is_data = data.startswith("set:") or Path(data).exists()
    write_sheet(Path(path), contact_sheet(read(data)) if is_data else scenes_sheet(data))


if __name__ == "__main__":
    main(sys.argv[1:])
