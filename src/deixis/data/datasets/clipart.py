"""Open Clip Art: some 2,650 drawings of many hands, with captions made of their titles, tags and folders.

They come from the Debian package `openclipart-svg`, as SVG with a title and tags inside. They are drawn once, as PNG
files whose longer side is 256 pixels, without the empty page around: the ready-made pictures of `openclipart-png` are
five times the download, from 3 to 29,700 pixels wide, and some show "linked image not found".

Left out are the folders of icons, buttons, logos, patterns, stars and game pieces; duplicates; what
holds text, which no font draws alike on two machines; what is not marked as public domain; what has no English words.

Two drawings are of one concept if they share what they show, its head noun, or folder and file name (without numbers);
flags and maps only if they are of one place.
"""

from __future__ import annotations

import collections
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

from deixis.data.datasets import stamps
from deixis.data.datasets.sources.cache import MARKER, finished, from_debian, home, set_name
from deixis.data.datasets.sources.clipart_words import DrawingFacts, describe, name, of_a_place
from deixis.data.datasets.sources.svg import crop_svg, is_blank, require_renderer
from deixis.errors import DeixisError
from deixis.inputs.phrases import head_noun
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "SIDE", "fetch", "read"]

DATASET = DatasetCard(
    title="Open Clip Art: drawings of many hands, with captions from titles, tags and folders",
    licence="public domain (each drawing is marked so; Open Clip Art Library 0.18)",
    how="apt",
    size_mb=25,
    fields=("captions",),
)

_NAME = set_name(__name__)
SIDE = 256
"""Longer side of the pictures in pixels."""

_PACKAGE = "openclipart-svg"
_FACTS = "facts.jsonl"
_LEFT_OUT = ("computer/", "shapes/", "special/", "recreation/games/", "logos/", "buttons/")
_NAMESPACES = {
    "svg": "http://www.w3.org/2000/svg",
    "dc": "http://purl.org/dc/elements/1.1/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
_PUBLIC = re.compile(r"public ?domain", re.IGNORECASE)


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the drawings into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had (see `packages.debian_package`), or resvg-py, which draws, is missing.
    """
    if not finished(_NAME):
        require_renderer()
        with from_debian(_NAME, _PACKAGE, DATASET.licence, say) as (share, folder, marker):
            say(f"drawing at {SIDE} pixels (a minute or two)")
            marker["files"], marker["left_out"] = _draw_all(share / "openclipart/svg", folder)
    return home(_NAME)


def read() -> Source:
    """The drawings that have words, in the order of their paths.

    Each sample's `extra` holds `title`, `tags`, `author`, `folder` and `licence`.

    Raises:
        DeixisError: they have not been fetched.
    """
    root = home(_NAME)
    try:
        rows = [json.loads(line) for line in (root / _FACTS).read_text(encoding="utf-8").splitlines()]
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        facts = [DrawingFacts(**{**row, "tags": tuple(row["tags"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeixisError(
            f"The set {_NAME!r} in {root} is damaged: {error}.", "Remove that folder, fetch again."
        ) from error
    captioned = ((each, describe(each)) for each in facts)
    samples = tuple(
        _sample(each, caption, root / "pictures" / f"{each.path}.png") for each, caption in captioned if caption
    )
    left_out = {**marker["left_out"], "no English words": len(facts) - len(samples)}
    notes = tuple(f"left out: {why} ({count})" for why, count in left_out.items())
    return Source(_NAME, root, "captions", "png with titles and tags", samples, (), notes)


def _sample(facts: DrawingFacts, caption: str, picture: Path) -> Sample:
    file, thing = f"{facts.path}.png", name(facts) or caption
    groups = [f"name:{thing.casefold()}", f"stem:{stamps.stem(file.replace('_.', '.'))}"]
    if not of_a_place(facts):
        groups.append(f"noun:{head_noun(thing.split(',')[0])}")
    extra = {"title": facts.title, "tags": facts.tags, "author": facts.author, "licence": "public domain"}
    folder = facts.path.rpartition("/")[0]
    return Sample(file, picture, (caption,), groups=tuple(groups), extra={**extra, "folder": folder})


def _draw_all(root: Path, folder: Path) -> tuple[int, Mapping[str, int]]:
    """Writes the pictures and what is said of them; gives how many, and how many were left out for which reason."""
    reasons: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    drawn = []
    for path in sorted(root.rglob("*.svg"), key=lambda path: (-len(path.parts), path)):  # the finer folder says more
        place = path.relative_to(root).with_suffix("").as_posix()
        try:
            if place.startswith(_LEFT_OUT):
                raise _Unfit("icons, buttons, logos, patterns, shapes, game pieces")
            drawn.append(_draw(path, place, folder / "pictures", seen))
        except _Unfit as unfit:
            reasons[str(unfit)] += 1
    if not drawn:
        raise DeixisError(f"The package {_PACKAGE} holds no drawing where it should.", "Its layout may have changed.")
    lines = (json.dumps(facts._asdict(), ensure_ascii=False) for facts in sorted(drawn))
    (folder / _FACTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(drawn), dict(reasons.most_common())


class _Unfit(Exception):
    """Why a drawing is left out."""


def _draw(path: Path, place: str, folder: Path, seen: set[str]) -> DrawingFacts:
    _unless_duplicate(path.resolve().as_posix(), seen)
    text = path.read_text(encoding="utf-8", errors="replace")
    facts = _facts(text, place)
    try:
        picture = crop_svg(text, SIDE)
    except ValueError as error:
        raise _Unfit("could not be drawn") from error
    if is_blank(picture):
        raise _Unfit("nothing visible on white")
    pixels = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    _unless_duplicate(pixels, seen)
    target = folder / f"{place}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target)
    return facts


def _unless_duplicate(key: str, seen: set[str]) -> None:
    if key in seen:
        raise _Unfit("duplicates of another file")
    seen.add(key)


def _facts(text: str, place: str) -> DrawingFacts:
    try:
        tree = ET.fromstring(text)
    except ET.ParseError as error:
        raise _Unfit("could not be read") from error
    spaces = _NAMESPACES
    if any(
        "".join(node.itertext()).strip()
        for tag in ("text", "flowRoot")
        for node in tree.iterfind(f".//svg:{tag}", spaces)
    ):
        raise _Unfit("hold text")
    marks = [value for node in tree.iter() if node.tag.endswith("}license") for value in node.attrib.values()]
    if not any(_PUBLIC.search(mark) for mark in marks):
        raise _Unfit("not marked as public domain")
    tags = (node.text for node in tree.iterfind(".//dc:subject//rdf:li", spaces))
    return DrawingFacts(
        path=place,
        title=_words(tree, ".//dc:title"),
        tags=tuple(" ".join(tag.split()) for tag in tags if tag and tag.strip()),
        author=_words(tree, ".//dc:creator//dc:title"),
    )


def _words(tree: ET.Element, path: str) -> str:
    return " ".join((tree.findtext(path, "", _NAMESPACES) or "").split())
