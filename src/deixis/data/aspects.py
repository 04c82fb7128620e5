"""In which respects pictures are alike: columns of a table, or what is known of a scene, as triplets of a picture, an
instruction such as "the colour", and the value in words, such as "red".
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from deixis.errors import DeixisError
from deixis.types import Sample, Source

__all__ = [
    "SCENE_WORDINGS",
    "Aspect",
    "column_aspects",
    "column_triplets",
    "column_value",
    "holds_measurements",
    "scene_aspects",
    "scene_value",
    "triplets",
]

SCENE_WORDINGS: Mapping[str, tuple[str, ...]] = {
    "kind": ("the kind of thing", "what it is", "which shape it shows", "what sort of object is in the picture"),
    "colour": ("the colour", "its colour", "which colour the thing has", "how it is coloured"),
    "size": ("the size", "its size", "how large the thing is", "how big it is"),
    "place": ("the place", "its position", "where in the picture it is", "the spot at which it stands"),
    "ground": ("the background", "its background", "what it stands on", "the pattern behind it"),
}
"""What is known of a scene of one thing -> wordings of the instruction; the last is held out."""

_COLUMN_WORDINGS = ("the {}", "its {}", "the {} of it", "which {} it has")
_FEW = 2  # pictures that have to share a value
_NUMBER, _FRACTION = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?", re.I), re.compile(r"[.,]\d*[1-9]")


@dataclasses.dataclass(frozen=True)
class Aspect:
    """A respect in which pictures may be alike.

    Attributes:
        name: short, such as `colour`.
        wordings: of the instruction that names it.
        values: that it may have, in words.
    """

    name: str
    wordings: tuple[str, ...]
    values: tuple[str, ...] = ()


def scene_value(sample: Sample, name: str) -> str:
    """What a scene of one thing shows in a respect, in words.

    Args:
        sample: of `deixis.data.synthetic.scenes`.
        name: a key of `SCENE_WORDINGS`.

    Raises:
        DeixisError: the scene has no thing, or several.
    """
    if len(sample.regions) != 1:
        raise DeixisError(f"The scene {sample.id!r} shows {len(sample.regions)} things.", "Ask for scenes of one.")
    facts = sample.regions[0].attributes
    found = {
        "kind": sample.regions[0].category,
        "colour": facts["colour"],
        "size": facts["size"],
        "place": facts["position"],
        "ground": sample.extra["background"],
    }
    return str(found[name])


def scene_aspects(source: Source) -> tuple[Aspect, ...]:
    """The respects of scenes, with the values that they have there.

    Args:
        source: scenes of one thing.
    """
    return tuple(
        Aspect(name, wordings, tuple(sorted({scene_value(each, name) for each in source.samples})))
        for name, wordings in SCENE_WORDINGS.items()
    )


def column_value(sample: Sample, name: str) -> str:
    """What a column says of a sample, in words; empty where it says nothing.

    Args:
        sample: of a table.
        name: of the column.
    """
    value = sample.extra.get(name)
    return "" if value is None or value != value else " ".join(str(value).split())  # NaN differs from itself


def holds_measurements(values: Collection[str]) -> bool:
    """Whether values are measured numbers: most are numbers, and some of these have a fraction.

    Cells of a csv are texts, so that the form of a value tells, not its type. Whole numbers are not measured: a year, a
    size of clothes or a number of wheels names a kind as a word does, and where numbers hardly repeat that is seen by
    itself. Whole numbers with an empty fraction count (`2020.0`: what a column of them with gaps becomes).

    Args:
        values: that differ, in words.
    """
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    return 2 * len(numbers) > len(values) and any(map(_FRACTION.search, numbers))


def column_aspects(source: Source, columns: Sequence[str]) -> tuple[Aspect, ...]:
    """The respects that columns of a table are.

    Args:
        source: as it was read; what is in no other use stands in `extra`.
        columns: at least one, by name.

    Raises:
        DeixisError: there is no such column; or it has one value, a value of its own for each row, or numbers that are
            measured and not counted.
    """
    there = list(dict.fromkeys(name for sample in source.samples for name in sample.extra))
    if not columns:
        raise DeixisError("No column is named.", f"Name some of: {', '.join(there) or 'none, as the data has none'}.")
    return tuple(_column_aspect(source, name, there) for name in dict.fromkeys(columns))


def column_triplets(source: Source) -> Source:
    """The triplets of all columns in which pictures of a table can be alike; the others are named in the notes.

    Args:
        source: as it was read.

    Raises:
        DeixisError: there is no such column; the message says what is wrong with the last.
    """
    aspects, refused = list[Aspect](), dict[str, DeixisError]()
    for name in dict.fromkeys(name for sample in source.samples for name in sample.extra):
        try:
            aspects += column_aspects(source, [name])
        except DeixisError as error:
            refused[name] = error
    if not aspects:
        nothing = DeixisError(f"{source.name!r} has no column of values.", "Give a table with kinds, colours...")
        raise list(refused.values())[-1] if refused else nothing
    found = triplets(source, aspects, column_value)
    notes = [f"Respects: {', '.join(aspect.name for aspect in aspects)}."]
    notes += [f"Pictures are not alike in: {', '.join(refused)}."] if refused else []
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def _column_aspect(source: Source, name: str, there: Sequence[str]) -> Aspect:
    if name not in there:
        raise DeixisError(
            f"{source.name!r} has no column {name!r}.", f"It has: {', '.join(there) or 'none beside those in use'}."
        )
    counts = collections.Counter(column_value(sample, name) for sample in source.samples)
    del counts[""]
    shared = sorted(value for value, count in counts.items() if count >= _FEW)
    if len(counts) < 2:
        only = f"the one value {next(iter(counts))!r}" if counts else "no value at all"
        raise DeixisError(f"The column {name!r} has {only}: pictures can't be told apart by it.", "Leave it out.")
    if holds_measurements(counts):
        raise DeixisError(
            f"The column {name!r} holds measured numbers, and what is alike among them has no limit.",
            "Give words for ranges of them, such as small, medium and large.",
        )
    if len(shared) < 2:
        raise DeixisError(
            f"The column {name!r} has {len(counts)} different values in {sum(counts.values())} rows, and {len(shared)} "
            "of them more than once: hardly any two pictures are alike in it.",
            "Give a column whose values repeat.",
        )
    words = name.replace("_", " ").replace("-", " ").strip().casefold()
    return Aspect(name, tuple(each.replace("{}", words) for each in _COLUMN_WORDINGS), tuple(shared))


def triplets(
    source: Source, aspects: Sequence[Aspect], value_of: Callable[[Sample, str], str], *, held_wording: bool = False
) -> Source:
    """A sample for each picture and respect: its caption is the value, and its columns are `instruction` (the
    wordings), `aspect` (the name) and `respect` (its number). What has no value in a respect has no sample there.

    Args:
        source: pictures.
        aspects: the respects.
        value_of: sample and name of a respect -> value in words; empty where there is none.
        held_wording: the last wording of each respect is left out, to be asked with later.
    """
    found = []
    for sample in source.samples:
        for number, aspect in enumerate(aspects):
            value = value_of(sample, aspect.name)
            wordings = aspect.wordings[:-1] if held_wording and len(aspect.wordings) > 1 else aspect.wordings
            extra = {"instruction": wordings, "aspect": aspect.name, "respect": number}
            groups = sample.groups or (f"picture {sample.id}",)
            if value:
                found.append(Sample(f"{sample.id} {aspect.name}", sample.image, (value,), groups=groups, extra=extra))
    missing = len(source.samples) * len(aspects) - len(found)
    notes = (f"{missing} values are missing and are not learned from.",) if missing else ()
    return dataclasses.replace(source, kind="captions", samples=tuple(found), notes=(*source.notes, *notes))
