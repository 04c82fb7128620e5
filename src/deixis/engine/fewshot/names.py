"""What classes are called in texts, and whether a model can distinguish these names."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder

__all__ = ["class_names", "examples", "require_places", "unreadable_names"]


def class_names(labels: Sequence[str], words: Mapping[str, str] | None = None, *, least: int = 0) -> tuple[str, ...]:
    """What texts call classes: their labels with spaces for underscores.

    Args:
        labels: of the classes.
        words: label -> words, for those that are called otherwise.
        least: classes that there must be; learning takes two.

    Raises:
        DeixisError: there are fewer classes, nothing is left of a name, or two have one name, whatever its case.
    """
    if len(labels) < least:
        raise DeixisError(
            f"There is {len(labels)} class, and classification needs at least two.", "Give images of another class."
        )
    names = tuple(" ".join((words or {}).get(label, label).replace("_", " ").split()) for label in labels)
    first: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if not name:
            raise DeixisError(f"The class {label!r} has no name.", "Give it one: names={...}, or rename its folder.")
        other = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), label)
        if other != label:
            raise DeixisError(
                f"The classes {other!r} and {label!r} have one name.",
                "Make them one class, or give one of them another name.",
            )
    return names


def require_places(templates: Sequence[str]) -> None:
    """Makes sure that each template has a place for the name.

    Raises:
        DeixisError: one has none.
    """
    for each in templates:
        if "{}" not in each:
            raise DeixisError(f"The template {each!r} has no place for the name.", "Put {} where it goes.")


def unreadable_names(encoder: DualEncoder, names: Sequence[str], overrides: Mapping[str, Any]) -> list[str]:
    """What a model can't read of the names in their sentences: those that are too long, in words.

    Args:
        encoder: whose text tower reads them.
        names: of the classes.
        overrides: with `templates`, if the method reads sentences.

    Raises:
        DeixisError: two classes make one text.
    """
    notes: list[str] = []
    first: dict[Any, str] = {}
    for template in overrides.get("templates", ()):
        texts = [template.format(name) for name in names]
        cuts = encoder.tokenizer.overflow(texts, encoder.context_length)
        long = [name for name, cut in zip(names, cuts, strict=True) if cut]
        if long and not notes:
            notes.append(
                f"{len(long)} class names are longer than the {encoder.context_length} tokens that {encoder.name} "
                f"reads, and are cut: {examples(long)}."
            )
        for name, row in zip(names, encoder.tokenizer(texts, encoder.context_length).ids.tolist(), strict=True):
            other = first.setdefault((template, *row), name)
            if other is not name:
                raise DeixisError(
                    f"The classes {_short(other)} and {_short(name)} have one name, as far as {encoder.name} can read.",
                    "Rename one of them, or use a method without names: linear.",
                )
    if overrides.get("templates") and all(name.isnumeric() for name in names):
        notes.append("The class names are numbers, which mean nothing to a text tower; give their names.")
    return notes


def examples(items: Sequence[str]) -> str:
    """The first three, each in short, and how many more there are."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{', '.join(map(_short, items[:3]))}{more}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
