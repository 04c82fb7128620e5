"""`deixis words`: what tags go with and look like, and which ones pictures lack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read, read
from deixis.apps.common.formatting import counted, points, span
from deixis.apps.common.loading import load_encoder
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.label.cells import write_rows
from deixis.apps.words.looks import looks_of
from deixis.apps.words.remarks import tag_remarks
from deixis.apps.words.settings import LEARNS, WordsSettings
from deixis.apps.words.tags import TagTable, cut, tag_table, tags_of
from deixis.apps.words.written import MISSING, REFUSED, TAGS, WORDS, require_none_lost, tag_rows
from deixis.data.splits import concept_groups, split
from deixis.engine.tag_suggestions import WAYS, TaggedPictures, TagSuggester, hold_back, ranks_of
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval, cluster_t_interval
from deixis.types import place

__all__ = ["FIRST", "words"]

FIRST = 5
"""A held-back tag counts as found among so many suggestions."""

_TRAIN, _LISTED = 0.6, 10
_BYTES = "surrogateescape"  # names of files that are no UTF-8 are written as they are
_NAMES = {
    "joint": "company and looks together",
    "company": "the tags that go together",
    "looks": "looks alone",
    "nearest": "the nearest pictures",
}


class _Pictures(NamedTuple):
    """Tags and features of the same pictures, and which belong together."""

    table: TagTable
    features: Float[Tensor, "N F"]
    groups: tuple[int, ...]

    def take(self, index: Sequence[int]) -> _Pictures:
        chosen = self.features[torch.as_tensor(index, dtype=torch.long)]
        return _Pictures(self.table.take(index), chosen, tuple(self.groups[i] for i in index))


@takes_settings(settings=WordsSettings, reading=Reading)
def words(
    data: str,
    settings: WordsSettings | None = None,
    reading: Reading | None = None,
    *,
    out: str | Path = "deixis-words",
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Learns from tagged pictures what each tag goes with and looks like, and suggests tags that pictures lack.

    `words.json` has for each tag the nearest others by company, by looks and by both; `missing.csv` the rows
    `path,tag,chance`: the tags that each picture probably lacks, with how often a held-back tag was the one at this
    place; `tags.csv` all pictures with their captions and tags, to which the page of `deixis serve` adds the
    suggestions that are accepted. A column `refused` has tags that a picture is not to have. How often held-back tags
    are found is measured on pictures that nothing was learned or chosen from.

    Args:
        data: what `deixis.apps.common.dataset.read` takes, with a column of tags.
        settings: model, column of tags and way of suggesting.
        reading: other columns.
        out: the folder to write.
        overwrite: replace what an earlier run left there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: there are no tags, or too few pictures that have two; or what stands at `out` has tags that were
            accepted or refused on the page, and is not learned from.
    """
    settings, out, talk, clock = settings or WordsSettings(), Path(out), Reporter(quiet), Clock()
    _reservation = free_name(out, overwrite)
    require_none_lost(out, data)
    source = read(data, reading)
    tag_table(tags_of(source.samples, settings.tags), settings.least, settings.most)  # refused before images are read
    checked = check_and_read(source, talk)
    samples = checked.source.samples
    tags = tags_of(samples, settings.tags)
    table = tag_table(tags, settings.least, settings.most)
    remarks = tag_remarks(tags)
    for remark in remarks:
        talk.say(remark)
    with settings.active():
        encoder = load_encoder(settings.model)
        features = looks_of(encoder, samples, checked.report.hashes, talk, crops=settings.crops)
    groups = tuple(concept_groups(samples, checked.report.same))
    every = _Pictures(table, features, groups)
    with run_folder(out, overwrite) as folder:
        measured = _measured(encoder, every, settings)
        learned = _learned(encoder, every, settings)
        way = str(measured["by"])
        write_json(folder / WORDS, _neighbours(table, learned))
        refused = [cut(sample.extra.get(REFUSED)) for sample in samples]
        scores = _without(learned.scores(way, table.tags, features, own=True), refused, table)
        paths = [str(place(sample.picture)) for sample in samples]
        rows = _missing(scores, table, paths, measured["chances"][: settings.suggestions])
        write_rows(folder / MISSING, [("path", "tag", "chance"), *rows], _BYTES)
        write_rows(folder / TAGS, tag_rows(samples, paths, tags, refused), _BYTES)
        result = {
            "format": 1,
            "verb": "words",
            "pictures": len(samples),
            "tags": len(table.words),
            **measured,
            "sentence": _sentence(measured),
            "suggested": len(rows),
            "remarks": remarks,
            "seconds": clock.read(),
            "versions": versions(),
        }
        write_json(folder / "result.json", result)
    talk.result(str(result["sentence"]))
    talk.result(f"{counted(len(rows), 'suggested tag')} in {out / MISSING}; what each goes with in {WORDS}.")
    talk.say(f"Accept or refuse them on the page: deixis serve INDEX --words {out}")
    return result


def _learned(encoder: DualEncoder, pictures: _Pictures, settings: WordsSettings) -> TagSuggester:
    words, some = len(pictures.table.words), TaggedPictures(pictures.table.tags, pictures.features)
    return TagSuggester(LEARNS, encoder, words, some, {"seed": settings.seed})


def _measured(encoder: DualEncoder, every: _Pictures, settings: WordsSettings) -> dict[str, Any]:
    """Which way finds held-back tags best on one half of the pictures that were not learned from, and how often each
    does on the other."""
    parts = split(every.groups, settings.seed, _TRAIN)
    rest = [every.groups[i] for i in parts.test]
    halves = split(rest, settings.seed, 0.5, minimum=2)
    learned = _learned(encoder, every.take(parts.train), settings)
    chosen_on, reported_on = (
        _held_back(every.take([parts.test[i] for i in half]), settings.seed) for half in (halves.train, halves.test)
    )
    ways = WAYS if settings.by == "auto" else (settings.by,)
    found = {way: ranks_of(learned.scores(way, *chosen_on[:2]), chosen_on[2]) for way in ways}
    way = max(ways, key=lambda each: float((found[each] < FIRST).double().mean()))
    reported = {
        each: _interval(ranks_of(learned.scores(each, *reported_on[:2]), reported_on[2]) < FIRST, reported_on[3])
        for each in WAYS
    }
    chances = [
        round(float((found[way] == rank).double().mean()), 3) for rank in range(max(FIRST, settings.suggestions))
    ]
    return {
        "by": way,
        "held_back": len(reported_on[2]),
        "among_first": FIRST,
        "found": {each: [round(value, 4) for value in interval] for each, interval in reported.items()},
        "chances": chances,
    }


def _held_back(
    pictures: _Pictures, seed: int
) -> tuple[Int64[Tensor, "M T"], Float[Tensor, "M F"], Int64[Tensor, " M"], list[int]]:
    """Remaining tags, features, held-back tag and group of the pictures that have two tags or more."""
    left, taken = hold_back(pictures.table.tags, seed)
    rows = (taken >= 0).nonzero()[:, 0]
    groups = [pictures.groups[i] for i in rows.tolist()]
    if len(set(groups)) < 2:
        raise DeixisError(
            f"Of the pictures held back {len(rows)} have two tags or more.",
            "Tag more pictures with several tags each, or lower --least.",
        )
    return left[rows], pictures.features[rows], taken[rows], groups


def _interval(hits: Tensor, groups: Sequence[int]) -> Interval:
    return cluster_t_interval(hits.double().numpy(), torch.tensor(groups).numpy())


def _neighbours(table: TagTable, learned: TagSuggester) -> dict[str, Any]:
    """For each tag its pictures and, by each kind of vector, the nearest other tags with their cosines."""
    count = min(_LISTED, len(table.words) - 1)
    numbers = torch.bincount(table.tags[table.tags >= 0], minlength=len(table.words)).tolist()
    keys = {"company": "goes with", "looks": "looks like", "joint": "both"}
    found: dict[str, Any] = {word: {"pictures": number} for word, number in zip(table.words, numbers, strict=True)}
    for name, vectors in learned.vectors.items():
        cosines = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
        values, places = cosines.topk(count, dim=1)
        for word, row, near in zip(table.words, values.tolist(), places.tolist(), strict=True):
            found[word][keys[name]] = {table.words[i]: round(value, 3) for i, value in zip(near, row, strict=True)}
    return found


def _without(scores: Float[Tensor, "N V"], refused: Sequence[Sequence[str]], table: TagTable) -> Float[Tensor, "N V"]:
    """Minus infinity for the tags that were refused for a picture."""
    numbers = {word: number for number, word in enumerate(table.words)}
    for row, tags in zip(scores, refused, strict=True):
        row[[numbers[tag] for tag in tags if tag in numbers]] = -torch.inf
    return scores


def _missing(
    scores: Float[Tensor, "N V"], table: TagTable, paths: Sequence[str], chances: Sequence[float]
) -> list[tuple[str, str, str]]:
    """Path, tag and chance, the likeliest first; nothing for pictures without a tag that counts."""
    order = scores.argsort(dim=1, descending=True, stable=True)[:, : len(chances)]
    tagged = (table.tags >= 0).any(1).tolist()
    return [
        (path, table.words[row[rank]], f"{chance:.2f}")
        for rank, chance in enumerate(chances)
        for path, row, score, known in zip(paths, order.tolist(), scores.tolist(), tagged, strict=True)
        if known and rank < len(row) and score[row[rank]] > -torch.inf
    ]


def _sentence(result: dict[str, Any]) -> str:
    found, way = result["found"], result["by"]
    share, low, high = found[way]
    others = "; ".join(f"{_NAMES[each]}: {points(found[each][0], 0)}" for each in found if each != way)
    return (
        f"Of 100 tags held back {points(share, 0)} were among the first {result['among_first']} suggestions "
        f"[{span(low, high)}], by {_NAMES[way]} ({others})."
    )
