"""The page on scale: what an image and a query cost as an index grows, from rows in `results/`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from docs.tables import Row, Table

__all__ = ["Law", "fitted", "scale_page"]

_MISSING = "Not measured yet: `python -m bench.scale_rows`."
_INTRODUCTION = """What one machine does with a collection, measured as far as it was, and beyond that by the law that
fits what was measured. Vectors are exact and of float32; `--dtype float16` halves their bytes, `--dims` divides them
further. Rows: `python -m bench.scale_rows`, and the races `search_exact` and `embed_folder` of
[races.md](races.md)."""
_FIT = """Each law is *seconds = a + b N*, fitted to the medians by least squares of the relative error, so that small
indexes count as much as large ones. It holds as long as the vectors fit into memory; beyond that a query reads them
from the disk, and costs at least their bytes over what the disk gives in a second."""
_TAKES_OVER = """## What breaks first, and what takes over

1. **Embedding.** It is the first to take days. `torchrun -m deixis index` and `torchrun -m deixis train` share the
   pictures among ranks, on one machine or several. A rank that dies, or does not come, is told of by the others.
2. **Memory.** Vectors are mapped, so an index may be larger than memory, and is then as slow as the disk. Fewer bytes
   a vector come first; then several index folders, searched by several processes and merged exactly
   (`deixis.indexing.shards`), each of which keeps its own in memory.
3. **A query's time.** It grows with N, since every vector is read. `deixis index --approximate` builds a graph whose
   answers are looked up instead; some may be missing.
4. **One machine.** PostgreSQL with pgvector holds the collection where several machines ask and others write
   (`deixis export RUN --to postgres`); what PostgreSQL does for replicas and backups need not be done
   here."""
_BEYOND = tuple(10**exponent for exponent in range(4, 10))
_MINUTE, _HOUR, _DAY, _GB = 60, 3600, 86400, 1e9


class Law(NamedTuple):
    """Seconds = fixed + each * N.

    Attributes:
        fixed: seconds of an index without vectors.
        each: seconds a vector.
        error: the largest relative error over what it was fitted to.
        most: the largest N of these.
    """

    fixed: float
    each: float
    error: float
    most: int

    def __call__(self, count: int) -> float:
        return self.fixed + self.each * count


def fitted(points: Mapping[int, float]) -> Law | None:
    """The law of some medians; None where there are fewer than two. Neither part is negative.

    Args:
        points: N -> seconds.
    """
    if len(points) < 2:
        return None
    # With u = 1 / t and v = N / t, a u + b v is to be 1.
    pairs = [(1 / seconds, count / seconds) for count, seconds in points.items()]
    uu, vv, uv = (sum(a * b for a, b in each) for each in (_with(pairs, 0, 0), _with(pairs, 1, 1), _with(pairs, 0, 1)))
    u, v = (sum(pair[place] for pair in pairs) for place in (0, 1))
    determinant = uu * vv - uv * uv
    fixed, each = (u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant
    if fixed < 0:
        fixed, each = 0.0, v / vv
    elif each < 0:
        fixed, each = u / uu, 0.0
    error = max(abs(fixed + each * count - seconds) / seconds for count, seconds in points.items())
    return Law(fixed, each, error, max(points))


def _with(pairs: Sequence[tuple[float, float]], one: int, other: int) -> list[tuple[float, float]]:
    return [(pair[one], pair[other]) for pair in pairs]


def scale_page(rows: Sequence[Row], races: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown.

    Args:
        rows: of `results/scale.jsonl`.
        races: of `results/bench.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    search = _latest(rows, "search") or _of_race(races)
    laws = {key: fitted({n: row[key] for n, row in search.items()}) for key in ("query_seconds", "batch_query_seconds")}
    parts = ["# Scale", made, _INTRODUCTION, "## A query", _measured(search, table), _laws(laws)]
    parts += ["## An image", _images(races, table)]
    parts += ["## Up to a billion", _beyond(search, laws, _rate(races), table), _TAKES_OVER]
    parts += ["## Several folders, several processes", _shards(rows, search, table)]
    parts += ["## PostgreSQL with pgvector", _postgres(rows, search, table)]
    parts += ["## A rank that is gone", _ranks(rows, table)]
    return "\n\n".join(parts) + "\n"


def _latest(rows: Sequence[Row], what: str) -> dict[int, Row]:
    """Of each N the last row."""
    found = {int(row["vectors"]): row for row in rows if row["what"] == what}
    return dict(sorted(found.items()))


_SIZE = re.compile(r"(\d+)([kM]), batch (\d+)")


def _of_race(races: Sequence[Row]) -> dict[int, Row]:
    """What the race `search_exact` says of the same, on the day on which most sizes were raced, the last of such days:
    one law is not fitted to two machines. Of a batch the seconds a query."""
    days: dict[str, dict[int, dict[str, float]]] = {}
    for row in races:
        match = _SIZE.fullmatch(row["case"]) if row["race"] == "search_exact" else None
        if match is None:
            continue
        count, batch = int(match[1]) * {"k": 1000, "M": 10**6}[match[2]], int(match[3])
        key = "query_seconds" if batch == 1 else "batch_query_seconds"
        days.setdefault(str(row.get("date", ""))[:10], {}).setdefault(count, {})[key] = row["ours"] / batch
    whole = {day: {n: row for n, row in found.items() if len(row) == 2} for day, found in sorted(days.items())}
    most = max(reversed(whole.values()), key=len, default={})
    return {count: {"vectors": count, "width": 512, **row} for count, row in sorted(most.items())}


def _seconds(value: float) -> str:
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 2 * _MINUTE:
        return f"{value:.3g} s"
    if value < _HOUR:
        return f"{value / _MINUTE:.3g} minutes"
    return f"{value / _HOUR:.3g} hours" if value < _DAY else f"{value / _DAY:,.0f} days"


def _measured(search: Mapping[int, Row], table: Table) -> str:
    if not search:
        return _MISSING
    head = ("vectors", "one query", "a query of 500 at once", "first query", "written in")
    cells = [
        (
            f"{count:,}",
            *(_seconds(row[key]) if key in row else "" for key in _SEARCH_KEYS),
        )
        for count, row in search.items()
    ]
    return table(head, cells)


_SEARCH_KEYS = ("query_seconds", "batch_query_seconds", "first_query_seconds", "build_seconds")


def _laws(laws: Mapping[str, Law | None]) -> str:
    names = {"query_seconds": "One query", "batch_query_seconds": "A query of 500 at once"}
    said = [
        f"{names[key]}: {1000 * law.fixed:.3g} ms + {1e9 * law.each:.3g} ns x N, within {100 * law.error:.0f} % "
        f"of each median up to {law.most:,}."
        for key, law in laws.items()
        if law is not None
    ]
    return " ".join([_FIT, *said]) if said else "Too few sizes were measured to fit a law."


def _embedding(races: Sequence[Row]) -> dict[str, float]:
    """Case -> images a second, ours, of the latest row."""
    return {row["case"]: row["ours"] for row in races if row["race"] == "embed_folder" and row["unit"] == "images/s"}


def _rate(races: Sequence[Row]) -> float:
    """Images a second of the quickest case, which is that of the starter and small files; NaN where none was run."""
    return max(_embedding(races).values(), default=math.nan)


def _images(races: Sequence[Row], table: Table) -> str:
    rates = _embedding(races)
    if not rates:
        return "Not measured yet: `python -m bench.embed_folder`."
    rows = [(case, f"{rate:.3g}", _seconds(1 / rate)) for case, rate in rates.items()]
    text = "Each image costs the same, however many there are: it is read, decoded and embedded once."
    return f"{text}\n\n{table(('case', 'images a second', 'an image'), rows)}"


def _beyond(search: Mapping[int, Row], laws: Mapping[str, Law | None], rate: float, table: Table) -> str:
    one, batch = laws["query_seconds"], laws["batch_query_seconds"]
    if one is None or batch is None:
        return _MISSING
    width = next(iter(search.values()))["width"]
    rows = []
    for count in _BEYOND:
        kind = "within" if count <= one.most else "by the law"
        embed = "" if math.isnan(rate) else _seconds(count / rate)
        size = f"{4 * width * count / _GB:,.3g} GB"
        rows.append((f"{count:,}", kind, size, _seconds(one(count)), _seconds(batch(count)), embed))
    head = ("vectors", "", f"bytes, {width} numbers", "one query", "a query of 500 at once", "to embed, one machine")
    return table(head, rows)


def _shards(rows: Sequence[Row], search: Mapping[int, Row], table: Table) -> str:
    found = _latest(rows, "shards")
    if not found:
        return _MISSING
    cells = [
        (
            f"{count:,}",
            row["parts"],
            "yes" if row["equal"] else "**no**",
            _seconds(row["query_seconds"]),
            _seconds(row["batch_query_seconds"]),
            _seconds(search[count]["query_seconds"]) if count in search else "",
        )
        for count, row in found.items()
    ]
    head = ("vectors", "folders", "answers equal", "one query", "a query of 500 at once", "one query, one folder")
    return table(head, cells)


def _postgres(rows: Sequence[Row], search: Mapping[int, Row], table: Table) -> str:
    found = _latest(rows, "postgres")
    if not found:
        return _MISSING
    cells = [
        (
            f"{count:,}",
            _seconds(row["copy_seconds"]),
            _seconds(row["build_seconds"]),
            "yes" if row["equal"] else "**no**",
            _seconds(row["exact_query_seconds"]),
            _seconds(row["query_seconds"]),
            f"{row['recall']:.3f}",
            _seconds(search[count]["query_seconds"]) if count in search else "",
        )
        for count, row in found.items()
    ]
    head = ("vectors", "copied in", "with graph", "exact answers equal", "exact query", "query by the graph")
    return table((*head, "its recall at 10", "exact query, index folder"), cells)


def _ranks(rows: Sequence[Row], table: Table) -> str:
    found = [row for row in rows if row["what"] == "ranks"]
    if not found:
        return _MISSING
    text = "Two ranks train over loopback (gloo), and one is killed. The other ends with one message."
    cells = [
        (
            row["ranks"],
            f"{row['patience']:g} s",
            "yes" if row["told"] else "**no**",
            _seconds(row["seconds"]),
            row["said"],
        )
        for row in found[-1:]
    ]
    return f"{text}\n\n{table(('ranks', '`--timeout`', 'told', 'after', 'what it says'), cells)}"
