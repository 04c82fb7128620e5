"""The report of an adaptation: one HTML file that needs no server, no network and no script.

Everything that comes from the user (captions, paths, names) is escaped; pictures travel inside as small thumbnails.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from deixis.apps.common import formatting
from deixis.apps.report import report_tables
from deixis.apps.report.calibration_tables import relevance
from deixis.apps.report.charts import estimate, heat, hundred
from deixis.apps.report.class_tables import confusion_table
from deixis.apps.report.thumbnails import Thumbnail, Thumbnails
from deixis.apps.report.verdict_text import verdict
from deixis.files import atomic_path
from deixis.types import Picture

__all__ = ["Example", "render"]

_PICTURES, _EXAMPLES, _LETTERS = 60, 8, 240
_FIRST = {"r1": "came first", "r5": "was among the first five", "r10": "was among the first ten"}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Example:
    """A search before and after adapting.

    Attributes:
        query: the words: what was searched for, or for `image_to_text` the caption that was to be found, or for
            `image_to_class` the right class.
        direction: `text_to_image`, `image_to_text` or `image_to_class`.
        image: the picture that is the right answer, or else the query picture.
        rank_before: place of the right answer with the original model, from 1.
        rank_after: its place with the adapted model.
        top_before: the pictures ranked first by the original model, best first; up to 4 are shown.
        top_after: the same for the adapted model.
        classes_before: for `image_to_class`, the classes ranked first by the original model, best first.
        classes_after: the same for the adapted model.
        reason: why the picture that the adapted model ranks first is so near to the query, in a sentence; empty where
            nothing is said.
    """

    query: str
    direction: str
    image: Picture
    rank_before: int
    rank_after: int
    top_before: tuple[Picture, ...] = ()
    top_after: tuple[Picture, ...] = ()
    classes_before: tuple[str, ...] = ()
    classes_after: tuple[str, ...] = ()
    reason: str = ""


class Strip(NamedTuple):
    """The first pictures of one model: each with its place and whether it is the right one."""

    title: str
    pictures: list[tuple[int, Thumbnail, bool]]


class NamedClasses(NamedTuple):
    """The first classes of one model: each with its place and whether it is the right one."""

    title: str
    classes: list[tuple[int, str, bool]]


class ExampleCard(NamedTuple):
    """An example made ready for the page."""

    query: str
    direction: str
    before: int
    after: int
    picture: Thumbnail
    strips: list[Strip]
    classes: list[NamedClasses]
    reason: str


def render(result: Mapping[str, Any], gallery: Sequence[Example], out: Path, *, run: Path | None = None) -> Path:
    """Writes the report.

    Args:
        result: what `result.json` holds; optional parts may be missing.
        gallery: searches to show, the most telling first; those whose rank did not change are left out.
        out: the file to write, or a folder that gets a `report.html`.
        run: the run folder as its user will know it, for the lines to copy; the folder of `out` where not given.

    Returns:
        The file written.
    """
    target = out / "report.html" if out.is_dir() else out
    thumbnails = Thumbnails()
    better, worse = _choose(gallery)
    page = _sections(result) | {
        "better": [_card(example, thumbnails) for example in better],
        "worse": [_card(example, thumbnails) for example in worse],
        "usage": _usage(run or target.parent, result),
    }
    text = _environment().get_template("report.html").render(page | {"pictures": list(thumbnails.readable())})
    with atomic_path(target) as temporary:
        temporary.write_text(_UNPRINTABLE.sub("\ufffd", text.lstrip()), encoding="utf-8")
    return target


@functools.cache  # templates are compiled once
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _sections(result: Mapping[str, Any]) -> dict[str, Any]:
    table, plot = report_tables.main_table(result)
    method = result.get("method") or {}
    shorts = {row.metric.short for _, rows in table for row in rows}
    return {
        "title": str(result["data"].get("name") or "pictures"),
        "sentence": result["sentence"],
        "verdict": verdict(result),
        "field": _field(result),
        "facts": _facts(result),
        "unseen": report_tables.unseen(result),
        "alone": (result.get("split") or {}).get("index"),
        "table": table,
        "plot": plot,
        "measures": [(name, text) for name, text in formatting.MEASURES.items() if name in shorts],
        "primary": formatting.metric(report_tables.primary(result)),
        "headline": formatting.metric(report_tables.headline(result)),
        "splits": report_tables.per_split(result),
        "intervals": report_tables.intervals(result),
        "seeds": report_tables.seeds(result),
        "slices": report_tables.comparison(result, "slices", adapted_first="everything"),
        "controls": report_tables.comparison(result, "controls", adapted_first="adapted model", notes=True),
        "forgotten": report_tables.comparison(result, "forgotten"),
        "relevance": relevance(result, report_tables.unseen(result)),
        "confusion": confusion_table(result),
        "heat": heat(method.get("curves") or [], method.get("chosen") or []),
        "data": report_tables.data_rows(result),
        "skipped": report_tables.skipped(result),
        "settings": report_tables.settings(result),
    }


def _field(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Counts of 100 searches; None where no measure counts searches."""
    key = report_tables.searches(result)
    before, after = (estimate((result.get(side) or {}).get(key)) for side in ("before", "after"))
    suffix = key.rpartition("_")[2]
    if before is None or after is None or suffix not in {*_FIRST, "accuracy"}:
        return None
    change = estimate(result["difference"][key])
    proven = change is not None and change.tone in ("better", "worse")
    return hundred(before.value, after.value) | {"of": _searched(key), "proven": proven}


def _searched(key: str) -> str:
    if key == "accuracy":
        return "100 pictures: where the class that came first was the right one"
    direction, _, suffix = key.rpartition("_")
    what = {"text_to_image": "searches by words", "image_to_text": "searches by picture"}.get(direction, "searches")
    return f"100 {what}: where the right {'picture' if 'words' in what else 'answer'} {_FIRST[suffix]}"


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, split = result["data"], result.get("split") or {}
    facts = [(data.get("images"), "images"), (data.get("captions"), report_tables.texts(result))]
    facts += [(data.get("groups"), "concept groups")]
    facts += [(split.get("count"), "divisions")] if split.get("index") is None else []
    rows = [(formatting.count(value), name) for value, name in facts if value is not None]
    total = (result.get("seconds") or {}).get("total")
    return rows + ([(formatting.duration(total), "of work")] if total is not None else [])


def _choose(gallery: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """The first examples of either kind, taken in turn while their distinct pictures are few enough for one file."""
    better = [example for example in gallery if example.rank_after < example.rank_before][:_EXAMPLES]
    worse = [example for example in gallery if example.rank_after > example.rank_before][:_EXAMPLES]
    shown: set[Picture] = set()
    chosen: list[Example] = []
    for example in (item for pair in zip_longest(better, worse) for item in pair if item is not None):
        wanted = shown | {example.image, *example.top_before[:4], *example.top_after[:4]}
        if len(wanted) <= _PICTURES:
            shown = wanted
            chosen.append(example)
    return [example for example in better if example in chosen], [example for example in worse if example in chosen]


def _card(example: Example, thumbnails: Thumbnails) -> ExampleCard:
    tops = (("Before", example.top_before), ("After", example.top_after))
    strips = [
        Strip(title, [(place, thumbnails[path], path == example.image) for place, path in enumerate(paths[:4], 1)])
        for title, paths in tops
        if paths
    ]
    named = (("Before", example.classes_before), ("After", example.classes_after))
    classes = [
        NamedClasses(title, [(place, name, name == example.query) for place, name in enumerate(names[:4], 1)])
        for title, names in named
        if names
    ]
    query = example.query if len(example.query) <= _LETTERS else example.query[:_LETTERS].rstrip() + "\u2026"
    ranks = (example.rank_before, example.rank_after)
    return ExampleCard(query, example.direction, *ranks, thumbnails[example.image], strips, classes, example.reason)


def _usage(folder: Path, result: Mapping[str, Any]) -> dict[str, str]:
    """The lines to copy: Python, shell, and the one that gets a set to measure forgetting on."""
    name = str(folder)
    quoted, data = shlex.quote(name), shlex.quote(str(result["data"].get("path") or "DATA"))
    return {
        "python": (
            "import deixis\n\n"
            f"model = deixis.load({name!r})\n"
            'images = model.encode_image(["first.jpg", "second.jpg"])\n'
            'texts = model.encode_text(["a red bird", "a wooden boat"])\n'
            "scores = images @ texts.T  # cosine of each picture with each text\n\n"
            f'hits = deixis.search({name!r}, "a red bird")\n'
        ),
        "shell": f'deixis search {quoted} "a red bird"\ndeixis search {quoted} picture.jpg\n',
        "outside": f"deixis data get emoji\ndeixis adapt {data} --out {quoted}\n",
    }
