"""The Tux Paint stamps: about 950 small pictures, photographs and drawings cut out on nothing, with a line of English.

They come from the Debian package `tuxpaint-stamps-default`, as PNG files with a text file beside each, whose first line
is the English caption. Left out are letters and hand signs (`symbols/alphabets`) and coins and notes (`symbols/money`),
whose captions repeat, and pictures without a text of their own (mirrored twins). The package's SVG files are not used:
each has a PNG twin.

The text file goes on with captions in 77 languages: `set:stamps/de` is the set in German. Nearly all stamps are cut
out: `inputs.cutouts.load_cutout` gives one with its alpha, and `set:stamps/masks` holds them with box and mask.

Two stamps are of one concept if they share the head noun of their captions, the caption, or the folder and the stem of
the file name (without the numbers and single letters at its end).

A stamp counts as a photograph if its path stands in `stamps_photos.txt`; the top of that file says how it was made.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name
from deixis.data.datasets.sources.packages import copy_files
from deixis.inputs.phrases import head_noun
from deixis.types import Region, Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "MASKS", "family", "fetch", "masked", "more_parts", "photographs", "read", "stem", "translations"]

DATASET = DatasetCard(
    title="Tux Paint stamps: photographs and drawings with captions",
    licence="GPL-2.0-or-later (tuxpaint-stamps; media by many authors, see the file copyright)",
    how="apt",
    size_mb=81,
    fields=("captions", "boxes", "masks"),
    parts=("masks",),
)

_NAME = set_name(__name__)
MASKS = "masks"
"""The part that holds the stamps with the region that each shows."""

_PACKAGE = "tuxpaint-stamps-default"
_TRANSLATION = re.compile(r"([A-Za-z]{2,8}(?:[_@][A-Za-z]+)*)\.utf8=(.*)")
_LEFT_OUT = ("symbols/alphabets/", "symbols/money/")
_FAMILIES = (
    ("symbols/chess/", "chess"),
    ("symbols/music/", "notes"),
    ("symbols/math/", "digits"),
    ("seasonal/hanukkah/dreydl", "dreidels"),
)


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the stamps into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had; see `packages.debian_package`.
    """
    if not finished(_NAME):
        with from_debian(_NAME, _PACKAGE, DATASET.licence, say) as (share, folder, marker):
            marker["files"] = copy_files(share / "tuxpaint/stamps", folder / "stamps", (".png", ".txt"))
    return home(_NAME)


def more_parts() -> tuple[str, ...]:
    """The languages that there are captions in, such as `de` or `pt_BR`.

    Raises:
        DeixisError: the stamps have not been fetched.
    """
    root = home(_NAME) / "stamps"
    there = {language for words in root.rglob("*.txt") for language in _translations(words)}
    return tuple(sorted(there))


def read(part: str = "") -> Source:
    """The stamps that are used, in the order of their paths.

    Each sample's `extra` holds `photo` (bool), `animal` (a photograph of an animal), `folder`, and `family` (`chess`,
    `notes`, `digits`, `dreidels`, or empty).

    Args:
        part: a language: those that have a caption in it, with this caption; the groups, hence the splits, stay those
            of the English captions. Or `masks`: those that are cut out, with their region, as `masked` gives it.

    Raises:
        DeixisError: they have not been fetched.
    """
    source = _english()
    if not part:
        return source
    samples, skipped = [], list(source.skipped)
    for sample in source.samples:
        other = masked(sample) if part == MASKS else _in_language(sample, part)
        if other is None:
            skipped.append(Skipped(sample.id, "fills its frame" if part == MASKS else f"no caption in {part}"))
        else:
            samples.append(other)
    return dataclasses.replace(
        source, name=f"{_NAME}/{part}", samples=tuple(samples), skipped=tuple(skipped), notes=source.notes
    )


def translations(sample: Sample) -> dict[str, str]:
    """A stamp's captions in other languages: `de` -> `Ein Gepard.`; read from its text file at each call."""
    return _translations((home(_NAME) / "stamps" / sample.id).with_suffix(".txt"))


def masked(sample: Sample) -> Sample | None:
    """The stamp with one region: its visible part, exact to the pixel (alpha of one half or more), which the whole
    caption speaks of; its category is the head noun. None for a stamp without transparency.

    Raises:
        ImageError: the picture can't be read.
    """
    from deixis.inputs.cutouts import is_cut_out, load_cutout, region_of

    pixels = load_cutout(sample.picture, crop=False)
    if not is_cut_out(pixels):
        return None
    box, mask = region_of(pixels)
    caption = sample.captions[0]
    region = Region(box, head_noun(caption), spans=((0, len(caption)),), mask=mask)
    return dataclasses.replace(sample, regions=(region,))


def _english() -> Source:
    root = home(_NAME) / "stamps"
    samples, skipped, out, mute = [], [], 0, 0
    for picture in sorted(root.rglob("*.png")):
        name = picture.relative_to(root).as_posix()
        words = picture.with_suffix(".txt")
        if name.startswith(_LEFT_OUT):
            out += 1
        elif not words.is_file():
            mute += 1
        elif caption := _caption(words):
            samples.append(_sample(name, picture, caption))
        else:
            skipped.append(Skipped(name, "empty caption"))
    notes = (
        f"{out} stamps of letters, hand signs and money are left out: their captions repeat",
        f"{mute} pictures without a text are left out",
    )
    return Source(_NAME, root, "captions", "png with .txt beside", tuple(samples), tuple(skipped), notes)


def _in_language(sample: Sample, language: str) -> Sample | None:
    caption = translations(sample).get(language)
    return None if caption is None else dataclasses.replace(sample, captions=(caption,))


def _translations(words: Path) -> dict[str, str]:
    lines = words.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    found = (_TRANSLATION.fullmatch(line) for line in lines)
    captions = {match[1]: " ".join(match[2].split()) for match in found if match}
    return {language: caption for language, caption in captions.items() if caption}


@functools.cache
def photographs() -> frozenset[str]:
    """The ids of the stamps that count as photographs."""
    text = importlib.resources.files(__package__).joinpath("stamps_photos.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def family(name: str) -> str:
    """The family of symbols that a stamp belongs to, whose long captions resemble one another; or nothing."""
    return next((kind for start, kind in _FAMILIES if name.startswith(start)), "")


def stem(name: str) -> str:
    """Folder and file name without the numbers and single letters at its end, which distinguish variants:
    `animals/mammals/cats/lion-2.png` gives `animals/mammals/cats/lion`. Of a mere number, the folder is left."""
    path = PurePosixPath(name)
    return (path.parent / re.sub(r"(?:[-_](?:\d+|[a-z]))+$|\d+$", "", path.stem)).as_posix()


def _caption(words: Path) -> str:
    lines = words.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(lines[0].split()) if lines else ""


def _sample(name: str, picture: Path, caption: str) -> Sample:
    photo = name in photographs()
    extra = {
        "photo": photo,
        "animal": photo and name.startswith("animals/"),
        "folder": PurePosixPath(name).parent.as_posix(),
        "family": family(name),
    }
    groups = (f"noun:{head_noun(caption)}", f"stem:{stem(name)}", f"caption:{caption.casefold()}")
    return Sample(id=name, image=picture, captions=(caption,), groups=groups, extra=extra)
