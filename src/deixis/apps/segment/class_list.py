"""Which classes are to be segmented, refused before anything is loaded. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deixis import zoo
from deixis.apps.common.concepts import concept_names
from deixis.apps.segment.settings import SegmentSettings
from deixis.errors import DeixisError

__all__ = ["checked_classes", "checked_stuff", "reads_classes"]

_MOST = 100


def reads_classes(model: str) -> bool:
    """Whether a model is a run or index folder that is searched by words, and no run of a method.

    Args:
        model: as it was named.
    """
    folder = Path(model)
    return (folder / "model" / "config.json").is_file() and not (folder / zoo.METHOD).is_file()


def checked_classes(classes: Sequence[str], settings: SegmentSettings, *, concepts: bool = True) -> tuple[str, ...]:
    """The names as they are used: without blanks around them.

    Args:
        classes: their names.
        settings: model or method.
        concepts: whether words in angle brackets are concepts; else they are words like others.

    Raises:
        DeixisError: there is none, an empty one, one without a letter, one twice or more than 100; a model has classes
            of its own, or is named beside support pictures or stuff; one is a concept, and no run is named; or stuff is
            no class.
    """
    names = tuple(" ".join(each.split()) for each in classes)
    if settings.model:
        _require_no_support(settings)
        if not names:
            return ()
        if not reads_classes(settings.model):
            raise DeixisError(
                f"A model names its own classes, and {names[0]!r} was given.",
                "Leave the classes out; or leave --model out, for classes of any name.",
            )
    elif concepts and (taught := [name for name in names if concept_names(name)]):
        raise DeixisError(
            f"{taught[0]!r} is a concept that a run was taught, and no run is named.",
            "Name it: --model RUN; or leave the angle brackets out, for the words as they are.",
        )
    if not names:
        raise DeixisError("There is no class.", 'Name one or several: deixis segment photo.jpg "a dog" "grass"')
    if len(names) > _MOST:
        raise DeixisError(f"{len(names)} classes are requested, and {_MOST} is the most.", "Name fewer classes.")
    for name in names:
        if not any(each.isalnum() for each in name):
            raise DeixisError(f"The class {name!r} has no words.", 'Name what is to be segmented, such as "a dog".')
    folded = [name.casefold() for name in names]
    twice = next((name for name, low in zip(names, folded, strict=True) if folded.count(low) > 1), "")
    if twice:
        raise DeixisError(f"The class {twice!r} comes twice.", "Name each class once.")
    checked_stuff(names, settings.stuff)
    return names


def checked_stuff(names: Sequence[str], stuff: Sequence[str]) -> tuple[str, ...]:
    """The classes that are stuff, as the classes are written.

    Args:
        names: of the classes.
        stuff: those of them that are no things.

    Raises:
        DeixisError: one is no class.
    """
    known = {name.casefold(): name for name in names}
    for each in stuff:
        if " ".join(each.split()).casefold() not in known:
            raise DeixisError(f"{each!r} is stuff, and no class.", f"The classes are: {', '.join(names)}.")
    return tuple(known[" ".join(each.split()).casefold()] for each in stuff)


def _require_no_support(settings: SegmentSettings) -> None:
    given = [name for name in ("sampler", "stuff") if getattr(settings, name)]
    if given:
        raise DeixisError(
            f"--{given[0]} is for methods that learn classes from pictures of them, and a model is named.",
            f"Leave --{given[0]} out; or leave --model out, and name the --method.",
        )
