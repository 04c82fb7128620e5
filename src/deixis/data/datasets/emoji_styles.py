"""The same emoji in six styles: for models that must know a thing again however it is drawn.

The styles are npm packages of Iconify (`@iconify-json/*`), each a JSON file of SVG drawings by name. Retained are the
1,051 names that all six hold and mean the same by, so that each concept has one picture in every style; they are drawn
once, as PNG files of 128 pixels with transparency. Labels and tags come from `emojibase-data`, as for the set `emoji`,
whose keys of concepts these samples share: a split by concept holds over both sets.

The style of a sample stands in `extra["style"]`. The part `concepts` has labels in place of captions: a class is a
concept, of those that desk-clip never saw (`emoji_unseen.txt`, by `bench/desk_clip_data.py`), and is learned from three
styles, chosen by in one, and asked for in two that no other side has.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deixis.data.datasets import emoji
from deixis.data.datasets.sources.cache import MARKER, finished, home, set_name, workshop, writing
from deixis.data.datasets.sources.packages import npm_package
from deixis.data.datasets.sources.svg import is_blank, render_svg, require_renderer
from deixis.errors import DeixisError
from deixis.types import Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["CONCEPTS", "DATASET", "SIDE", "STYLES", "Icons", "Style", "fetch", "read"]

DATASET = DatasetCard(
    title="1,051 emoji in each of six styles, with names and tags",
    licence=(
        "by style: twemoji and emojione CC-BY-4.0, noto and noto-v1 Apache-2.0, openmoji CC-BY-SA-4.0, "
        "fluent-emoji-flat MIT (packed by @iconify-json; labels: emojibase-data, MIT)"
    ),
    how="npm",
    size_mb=17,
    fields=("captions",),
    parts=("emojione", "fluent-emoji-flat", "noto", "noto-v1", "openmoji", "twemoji", "concepts"),
)

_NAME = set_name(__name__)
CONCEPTS = "concepts"
"""The part whose classes are concepts."""

_UNSEEN = Path(__file__).with_name("emoji_unseen.txt")
_SIDES = {
    **dict.fromkeys(("emojione", "noto", "twemoji"), "train"),
    "noto-v1": "val",
    **dict.fromkeys(("fluent-emoji-flat", "openmoji"), "test"),
}
SIDE = 128
"""Width and height of the pictures in pixels."""


class Style(NamedTuple):
    """A way of drawing emoji: where it comes from, and whose it is.

    Attributes:
        version: of the package `@iconify-json/STYLE`.
        sha256: of its archive, hexadecimal.
        licence: of the drawings, as SPDX writes it.
        author: whom the licence requires to name.
    """

    version: str
    sha256: str
    licence: str
    author: str


STYLES: Mapping[str, Style] = {
    "emojione": Style(
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
        "EmojiOne 2.3 (EmojiTwo)",
    ),
    "fluent-emoji-flat": Style(
        "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175", "MIT", "Microsoft Corporation"
    ),
    "noto": Style(
        "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", "Apache-2.0", "Google Inc"
    ),
    "noto-v1": Style(
        "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37", "Apache-2.0", "Google Inc"
    ),
    "openmoji": Style(
        "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5", "CC-BY-SA-4.0", "OpenMoji"
    ),
    "twemoji": Style(
        "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7", "CC-BY-4.0", "Twitter (jdecked)"
    ),
}
_CLASHES = frozenset(
    {"cricket", "scroll", "up-button"}
)  # an insect or a game, parchment or a mouse, "UP!" or a triangle


class Icons(NamedTuple):
    """The drawings of a style, as Iconify's JSON holds them.

    Attributes:
        drawings: name -> `body` (SVG elements) and, where it differs, `width` and `height`.
        aliases: further name -> `parent`, and whether it is mirrored (`hFlip`).
        size: width and height of most drawings.
        chars: code points -> name; empty in old packages.
    """

    drawings: Mapping[str, Any]
    aliases: Mapping[str, Any]
    size: tuple[int, int]
    chars: Mapping[str, str]

    def svg(self, name: str) -> str:
        """The drawing of that name as a document, fitted into a square."""
        alias = self.aliases.get(name, {"parent": name})
        drawing = self.drawings[alias["parent"]]
        width, height = drawing.get("width", self.size[0]), drawing.get("height", self.size[1])
        turn = f"translate({width} 0) scale(-1 1)" if alias.get("hFlip") else ""
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        frame = f'width="{SIDE}" height="{SIDE}" viewBox="0 0 {width} {height}"'
        return f'<svg {spaces} {frame}><g transform="{turn}">{drawing["body"]}</g></svg>'


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the pictures into the cache; does nothing if they are there.

    Raises:
        DeixisError: a package cannot be had (see `packages.npm_package`), or resvg-py, which draws them, is missing.
    """
    if finished(_NAME):
        return home(_NAME)
    require_renderer()
    with workshop(_NAME) as work:
        icons = {style: _icons(style, work, say) for style in STYLES}
        with writing(_NAME, licence=DATASET.licence, side=SIDE) as (folder, marker):
            marker["packages"] = {f"@iconify-json/{style}": STYLES[style].version for style in STYLES}
            marker["packages"] |= emoji.fetch_words(work, folder, say)
            marker["licences"] = {style: {"licence": s.licence, "author": s.author} for style, s in STYLES.items()}
            codes, failed = _codes(icons.values()), []
            for style, each in icons.items():
                say(f"drawing {len(codes)} emoji of the style {style}")
                failed += _draw(each, codes, folder / "pictures" / style)
            marker["files"] = len(codes) * len(STYLES) - len(failed)
            marker["failed"] = failed
    say(f"{_NAME}: {marker['files']} pictures in {home(_NAME)}, {len(failed)} could not be drawn")
    return home(_NAME)


def read(part: str = "") -> Source:
    """The pictures: concept by concept in the order of Unicode's charts, each in the styles by alphabet.

    Each sample's `extra` holds `style` and `licence` (of that style), and what those of the set `emoji` hold.

    Args:
        part: one style, or `concepts`; empty for all styles.

    Raises:
        DeixisError: they have not been fetched.
    """
    if part == CONCEPTS:
        return _concepts()
    root = home(_NAME)
    samples, styles = [], [part] if part else list(STYLES)
    for entry in emoji.entries(_NAME):
        for style in styles:
            name = f"{style}/{emoji.plain_code(entry.hexcode)}.png"
            if (root / "pictures" / name).is_file():
                samples.append(entry.sample(name, root / "pictures" / name, style=style, licence=STYLES[style].licence))
    failed = tuple(skipped for skipped in _failed(root) if skipped.path.startswith(f"{part}/" if part else ""))
    name = f"{_NAME}/{part}" if part else _NAME
    return Source(name, root, "captions", "png by style, named by code points", tuple(samples), failed)


def _concepts() -> Source:
    """The pictures of the concepts that desk-clip never saw, labelled: of each the emoji that Unicode has first."""
    unseen, whole = set(_UNSEEN.read_text(encoding="utf-8").split()), read()
    samples = tuple(
        dataclasses.replace(
            sample, captions=(), groups=(), label=sample.captions[0], split=_SIDES[str(sample.extra["style"])]
        )
        for sample in whole.samples
        if Path(sample.id).stem in unseen
    )
    return dataclasses.replace(whole, name=f"{_NAME}/{CONCEPTS}", kind="labels", samples=samples, skipped=())


def _failed(root: Path) -> tuple[Skipped, ...]:
    marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    return tuple(Skipped(name, "could not be drawn", why) for name, why in marker["failed"])


def _icons(style: str, work: Path, say: Callable[[str], None]) -> Icons:
    pinned = STYLES[style]
    package = npm_package(f"@iconify-json/{style}", pinned.version, work, say, sha256=pinned.sha256)
    try:
        icons, chars = (
            json.loads((package.folder / name).read_text(encoding="utf-8")) for name in ("icons.json", "chars.json")
        )
        return Icons(icons["icons"], icons.get("aliases", {}), (icons["width"], icons["height"]), chars)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeixisError(
            f"The package @iconify-json/{style} is not laid out as expected: {error}.", "It is refused."
        ) from error


def _codes(icons: Collection[Icons]) -> dict[str, str]:
    """Name -> code points, of the emoji that each style has under that name."""
    names = set.intersection(*({*each.drawings, *each.aliases} for each in icons)) - _CLASHES
    codes: dict[str, str] = {}
    for each in icons:
        for code, name in each.chars.items():
            codes.setdefault(name, emoji.plain_code(code))
    return {name: codes[name] for name in sorted(names & codes.keys())}


def _draw(icons: Icons, codes: Mapping[str, str], folder: Path) -> list[tuple[str, str]]:
    """Writes CODE.png for each emoji; gives those that could not be drawn, with the reason."""
    folder.mkdir(parents=True)
    failed = []
    for name, code in codes.items():
        try:
            picture = render_svg(icons.svg(name))
            if is_blank(picture):
                raise ValueError("nothing is visible")
            picture.save(folder / f"{code}.png")
        except (KeyError, ValueError) as error:
            failed.append((f"{folder.name}/{code}.png", f"{name}: {error}"))
    return failed
