"""Class names, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deixis.errors import DeixisError
from deixis.inputs.names import ClassNames
from deixis.types import PartKind, PartSource, Source

__all__ = ["PART", "load"]

PART = PartKind(
    gives="class names in order, and a tokenizer that reads each as one token",
    protocol="Names",
    sources=(
        PartSource("FILE.txt", "birds.txt", "a text file, one name per line; blank lines are ignored"),
        PartSource("NAME,NAME", "robin,blue tit", "the names, separated by commas"),
        PartSource("labels", "labels", "the labels of the data, in alphabetical order"),
    ),
)


def load(name: str | Sequence[str], *, source: Source | None = None, seed: int = 0) -> ClassNames:
    """The names that `name` says; a sequence of names is taken as it is.

    Args:
        name: see `PART`.
        source: whose labels `labels` are.
        seed: not asked.

    Raises:
        DeixisError: a file can't be read, a name comes twice, or there is none.
    """
    if not isinstance(name, str):
        return ClassNames(name)
    if name == "labels":
        if source is None:
            raise DeixisError("The class names are the labels of the data, and there is no data.", "Name the classes.")
        found = sorted({sample.label for sample in source.samples if sample.label is not None})
        if not any(found):
            raise DeixisError(f"{source.name!r} has no labels to name classes by.", "Take data with labels.")
        return ClassNames(found)
    if "," not in name and (Path(name).is_file() or Path(name).suffix == ".txt"):
        return _checked(_lines(Path(name)), name)
    return _checked([each.strip() for each in name.split(",")], repr(name))


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeixisError(f"The class names in {path} can't be read: {error}.", "Give a text file in UTF-8.") from error
    return [line.strip() for line in lines]


def _checked(names: Sequence[str], where: str) -> ClassNames:
    """The names that are not blank."""
    kept = [name for name in names if name.strip()]
    twice = sorted({name for name in kept if kept.count(name) > 1})
    if twice:
        raise DeixisError(f"{where} has the class name {twice[0]!r} twice.", "Name each class once.")
    if not kept:
        raise DeixisError(f"{where} has no class names.", "Give one or more, such as: cat,dog")
    return ClassNames(kept)
