"""Photographs from the games of GCompris: 82 with title and description, and 142 in folders named by what they show.

They come from the Debian package `gcompris-qt-data`, out of Qt's resource files. The described ones (`set:gcompris`)
are of farm animals, animals and music of the world, and monuments: the first caption is the title, the second the
description, one to five sentences that often say more than the picture shows. The labelled ones
(`set:gcompris/labels`) are of tools, renewable energy, fish, monuments and other things.

Each picture has an author and a licence of its own. Debian's notice, the file `copyright` in the set's folder, names
them for 146 of the 224 files, and some pictures have been exchanged since: look closely before you pass one on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name
from deixis.data.datasets.sources.rcc import read_rcc
from deixis.errors import DeixisError
from deixis.types import Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "LABELS", "described", "fetch", "read"]

DATASET = DatasetCard(
    title="GCompris: 82 photographs with descriptions, and 142 with labels",
    licence="GPL-3.0-or-later; each photograph has its own: public domain, CC-BY, CC-BY-SA (see the file copyright)",
    how="apt",
    size_mb=44,
    fields=("captions", "labels"),
    parts=("labels",),
)

_NAME = set_name(__name__)
LABELS = {
    "tools": "tools",
    "renewable": "renewable energy",
    "fishes": "fish",
    "monuments": "monuments",
    "others": "other things",
    "alphabets": "other things",
    "numbers": "other things",
}
"""The label of each folder; the last two hold one picture each."""

_PACKAGE = "gcompris-qt-data"
_INSIDE = "gcompris/src/activities/"
_LABELLED = "categorization"
_ENOUGH = {"explore": 60, _LABELLED: 100}
_QUOTED = r'"(?:[^"\\\n]|\\.)*"'
_ENTRY = re.compile(rf'\{{(?:{_QUOTED}|[^{{}}"])*\}}')
_FIELD = re.compile(rf'"(title|text|image2)"\s*:\s*(?:qsTr\(\s*)?({_QUOTED})')
_NUMBER = re.compile(r"\d+$")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the pictures and their words into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had (see `packages.debian_package`), or holds far fewer than it should.
    """
    if not finished(_NAME):
        with from_debian(_NAME, _PACKAGE, DATASET.licence, say) as (share, folder, marker):
            marker["files"] = 0
            for kind, enough in _ENOUGH.items():
                count = sum(_unpack(path, folder) for path in sorted((share / "gcompris-qt/rcc").glob(f"{kind}*.rcc")))
                if count < enough:
                    raise DeixisError(
                        f"The package {_PACKAGE} holds {count} pictures in {kind}*.rcc, and at least {enough} were "
                        "expected.",
                        "Its layout may have changed.",
                    )
                marker["files"] += count
    return home(_NAME)


def read(part: str = "") -> Source:
    """The described pictures in the order of their games, or the labelled ones in that of their paths.

    `extra` of the described ones holds `topic` (such as `world animals`); of the labelled ones `name`, the words of
    the file name (`measuring tape`).

    Args:
        part: `labels` for the labelled ones.

    Raises:
        DeixisError: they have not been fetched.
    """
    root = home(_NAME)
    return _read_labelled(root) if part else _read_described(root)


def described(text: str) -> list[dict[str, str]]:
    """The entries of a game's board (QML) that have a picture: `title`, `text` (if there is one) and `image2`, the path
    of the picture."""
    entries = [{key: _string(value) for key, value in _FIELD.findall(entry)} for entry in _ENTRY.findall(text)]
    return [entry for entry in entries if entry.get("image2") and entry.get("title")]


def _read_described(root: Path) -> Source:
    samples, skipped = [], []
    for board in sorted(root.glob("explore_*/resource/board/*.qml")):
        topic = board.relative_to(root).parts[0].removeprefix("explore_").replace("_", " ")
        for entry in described(board.read_text(encoding="utf-8", errors="replace")):
            name = entry["image2"].removeprefix("qrc:/").removeprefix(_INSIDE)
            if ".." in PurePosixPath(name).parts or not (root / name).is_file():
                skipped.append(Skipped(name, "no picture", entry["title"]))
                continue
            captions = tuple(filter(None, (entry["title"], entry.get("text", ""))))
            groups = (f"concept:{_words(PurePosixPath(name).stem)}", f"picture:{name}")
            samples.append(Sample(name, root / name, captions, groups=groups, extra={"topic": topic}))
    return Source(_NAME, root, "captions", "webp described in qml", tuple(samples), tuple(skipped))


def _read_labelled(root: Path) -> Source:
    samples = []
    pictures = root / _LABELLED / "resource/images"
    for path in sorted(pictures.glob("*/*.webp")):
        label = LABELS.get(path.parent.name, path.parent.name)
        name = path.relative_to(pictures).as_posix()
        samples.append(Sample(name, path, label=label, extra={"name": _words(path.stem)}))
    return Source(f"{_NAME}/labels", root, "labels", "folders of webp", tuple(samples))


def _unpack(resources: Path, folder: Path) -> int:
    """Writes pictures and boards of one resource file, and gives the number of pictures."""
    files = read_rcc(resources, (".webp", ".qml"))
    for name, content in files.items():
        target = folder / name.removeprefix(_INSIDE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return sum(name.endswith(".webp") for name in files)


def _string(quoted: str) -> str:
    """What a string literal of QML says; spaces are made single."""
    try:
        return " ".join(str(json.loads(quoted)).split())
    except ValueError:
        return " ".join(quoted[1:-1].split())


def _words(stem: str) -> str:
    """The words of a file name without its number: `measuringTape6` gives `measuring tape`."""
    return _HUMP.sub(" ", _NUMBER.sub("", stem)).replace("_", " ").lower()
