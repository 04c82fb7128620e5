"""The page of encoders of images beside each other, from the rows in `results/encoders.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deixis.apps.common.loading import AT
from deixis.engine.evaluation.protocols import read_protocol
from deixis.ops.stats import t_interval
from docs.tables import Row, Table

__all__ = ["encoders_page"]

_FIRST, _BATCH, _FEWEST = "starter", 32, 10
_INTRO = """What encoders of images are good for, measured by the [protocols](protocols.md) that need no words. Beside
the starter stands what costs nothing: its features whitened by PCA (`starter+whiten`), an untrained ResNet
(`scratch:resnet`), a perceptual hash (`phash`) and the pixels. A tower that was trained on one's own pictures has to
beat these. `seer` and `pixpro` are such towers: begun with the starter's, and trained without labels on {seen}
drawn from the very set on which they are measured; `seer, new` begins with an untrained ResNet. `python -m
bench.encoders_rows` and `python -m bench.trained_encoders_rows` add what is missing; `--encoders my-name=RUN --only
stamps` of the first adds a run.

Values are the main metric of each protocol in per cent, with 95 % intervals over concepts; **bold** where the
difference to the starter, image by image, clears zero upwards, *italic* where it does so downwards. Where a tower was
trained with several seeds, the value is their mean, the interval is over seeds, that of the difference too, and the
number of seeds stands behind the name. Where fewer than {fewest} images ask, nothing is marked. Images are altered for
`copies` and `corruption`, of at most 100 images a set; `shapes` are scenes of large tinted shapes with their masks and
boxes. Seconds are for reading and encoding an image on one thread of the machine of the rows."""

_SHORT = """On how many sets an encoder is better than the starter, and on how many worse, of all that it was measured
on; elsewhere no difference is proven."""

_PLACES = """Features read within an encoder, as the mean of a block's map or where its method says, and a linear
classifier on them: `python -m bench.encoders_rows --encoders my-name=RUN --only stamps --at all`. One who has no test
images takes the place whose classifier explains validation images best (**bold**, mean cross-entropy)."""

_LASTED = """From a folder of {images} pictures to its last line, comparison included, `deixis train {method}` took
{seconds:.0f} seconds with {threads} threads ({cpu}; `python -m bench.trained_encoders_rows --command {images}`)."""


def encoders_page(rows: Sequence[Row], made: str, table: Table, commands: Sequence[Row] = ()) -> str:
    """The page in Markdown: a table for each set, and one of the kinds of copies.

    Args:
        rows: of `results/encoders.jsonl`; of several of one place the last counts.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
        commands: of `results/training.jsonl`, how long a whole training took.
    """
    seeds: dict[tuple[str, str, str, str], dict[int, Row]] = {}
    for row in rows:
        if row["metric"] == read_protocol(row["protocol"]).metrics[0].name:
            place = row["data"], row["encoder"], row["protocol"], row["condition"]
            seeds.setdefault(place, {})[row.get("seed", 0)] = row
    every = {place: _over_seeds(list(found.values())) for place, found in seeds.items()}
    last = {place: row for place, row in every.items() if AT not in place[1]}
    places = {place: row for place, row in every.items() if "validation_loss" in row}
    steps = max((row["steps"] for row in rows if "steps" in row), default=0)
    intro = _INTRO.format(fewest=_FEWEST, seen=f"{steps * _BATCH:,} images" if steps else "images")
    parts = ["# Encoders of images", made, intro, *(_LASTED.format(**row) for row in commands[-1:])]
    parts += ["## In short", _SHORT, _in_short(last, table)]
    for data in dict.fromkeys(data for data, *_ in last):
        parts += [f"## {data}", _set_table({key[1:]: row for key, row in last.items() if key[0] == data}, table)]
    parts += _places(places, table)
    edits = _by_condition(last, "copies", table)
    parts += ["## Copies by edit", "R@1 in per cent, mean of the sets that have rows of all encoders.", edits]
    kinds = _by_condition(last, "corruption", table)
    parts += ["## Corruption by kind and strength", "Likewise: top-1 of a classifier of clean images.", kinds]
    return "\n\n".join(parts) + "\n"


def _places(rows: Mapping[tuple[str, str, str, str], Row], table: Table) -> list[str]:
    """A table of the places of each encoder that has several, the best on validation images marked."""
    found: dict[tuple[str, str], list[Row]] = {}
    for (data, encoder, *_), row in rows.items():
        found.setdefault((data, encoder.partition(AT)[0]), []).append(row)
    parts = []
    for (data, encoder), own in found.items():
        if len(own) > 1:
            best = min(row["validation_loss"] for row in own)
            lines = [
                (f"`{row['encoder'].partition(AT)[2] or 'end'}`", _cell(row), _marked(row["validation_loss"], best))
                for row in own
            ]
            parts += [f"### `{encoder}` on {data}", table(("place", "linear, top-1", "validation loss"), lines)]
    return ["## Places of encoders", _PLACES, *parts] if parts else []


def _marked(value: float, best: float) -> str:
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def _over_seeds(rows: Sequence[Row]) -> Row:
    """One row of those of several seeds: means, with intervals over seeds."""
    if len(rows) == 1:
        return rows[0]
    value = t_interval([row["value"] for row in rows])
    seconds = sum(row["seconds_per_image"] for row in rows) / len(rows)
    change = list(t_interval([row["difference"][0] for row in rows]))
    over = {"value": value.value, "low": value.low, "high": value.high, "difference": change}
    return {**rows[0], **over, "seconds_per_image": seconds, "seeds": len(rows)}


def _set_table(rows: Mapping[tuple[str, str, str], Row], table: Table) -> str:
    """Encoders of a set, a column for each protocol."""
    protocols = list(dict.fromkeys(protocol for _, protocol, _ in rows))
    titles = {name: read_protocol(name).metrics[0].title for name in protocols}
    overall: dict[tuple[str, str], Row] = {}
    for (encoder, protocol, _), row in rows.items():
        overall.setdefault((encoder, protocol), row)
    lines = []
    for encoder in dict.fromkeys(encoder for encoder, *_ in rows):
        own = [overall.get((encoder, protocol)) for protocol in protocols]
        seconds = next(row["seconds_per_image"] for row in own if row is not None)
        count = max(row.get("seeds", 1) for row in own if row is not None)
        name = f"`{encoder}`" + f", {count} seeds" * (count > 1)
        lines.append((name, *("" if row is None else _cell(row) for row in own), f"{seconds:.2g}"))
    return table(("", *(f"{name}, {titles[name]}" for name in protocols), "seconds per image"), lines)


def _in_short(rows: Mapping[tuple[str, str, str, str], Row], table: Table) -> str:
    """Of each encoder and protocol on how many sets it is better and worse than the first."""
    overall: dict[tuple[str, str], dict[str, int]] = {}
    for (data, encoder, protocol, _), row in rows.items():
        if row.get("difference"):
            overall.setdefault((encoder, protocol), {}).setdefault(data, _direction(row))
    protocols = list(dict.fromkeys(protocol for _, protocol in overall))
    lines = []
    for encoder in dict.fromkeys(encoder for encoder, _ in overall):
        signs = [list(overall.get((encoder, protocol), {}).values()) for protocol in protocols]
        cells = (f"{each.count(1)} better, {each.count(-1)} worse of {len(each)}" if each else "" for each in signs)
        lines.append((f"`{encoder}`", *cells))
    return table(("", *protocols), lines)


def _direction(row: Row) -> int:
    """1 where the difference to the first encoder clears zero upwards, -1 downwards, 0 where it does not."""
    _, low, high = row.get("difference") or (0.0, None, None)
    if low is None or high is None or low <= 0 <= high or row.get("queries", _FEWEST) < _FEWEST:
        return 0
    return 1 if low > 0 else -1


def _cell(row: Row) -> str:
    ends = f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" if row["low"] is not None else ""
    text = f"{100 * row['value']:.1f}{ends}"
    return {1: f"**{text}**", -1: f"*{text}*", 0: text}[_direction(row)]


def _by_condition(last: Mapping[tuple[str, str, str, str], Row], protocol: str, table: Table) -> str:
    """A row for each condition, a column for each encoder; of sets in which each of the encoders has a row."""
    rows = {(key[0], key[1], key[3]): row for key, row in last.items() if key[2] == protocol}
    encoders = list(dict.fromkeys(encoder for _, encoder, _ in rows))
    conditions = list(dict.fromkeys(condition for *_, condition in rows))
    sets = [
        data
        for data in dict.fromkeys(data for data, *_ in rows)
        if all((data, encoder, each) in rows for encoder in encoders for each in conditions)
    ]
    if not sets:
        return "There are no such rows."
    lines = []
    for each in conditions:
        means = [sum(rows[data, encoder, each]["value"] for data in sets) / len(sets) for encoder in encoders]
        lines.append((each, *(f"{100 * mean:.1f}" for mean in means)))
    return table((", ".join(sets), *(f"`{encoder}`" for encoder in encoders)), lines)
