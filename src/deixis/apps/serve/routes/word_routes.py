"""Routes to look at words and what they go with, and to accept or refuse the tags that pictures probably lack."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query

from deixis.apps.label.filled_table import ChangedMeanwhile
from deixis.apps.serve.columns import readable
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.labelling.tag_queue import TagQueue
from deixis.apps.serve.labelling.word_schemas import (
    NearWord,
    QueuedTag,
    QueuedTags,
    SaveTag,
    WordNeighbours,
    WordsProgress,
)
from deixis.apps.serve.routes.label_routes import Count, Position, Row, positions
from deixis.apps.serve.routes.page_routes import listed_items
from deixis.apps.serve.server_state import CurrentState, ServerState
from deixis.apps.words.tags import cut
from deixis.apps.words.written import TagCells

__all__ = ["router"]

router = APIRouter(prefix="/words")


@router.get("")
async def progress(desk: CurrentState) -> WordsProgress:
    """How many suggestions were accepted, refused and left."""
    return await desk.readers(_progress, desk)


@router.get("/queue")
async def queue(desk: CurrentState, start: Position = 0, k: Count = 12, waiting: bool = False) -> list[QueuedTags]:
    """Pictures with suggestions from a position on; of those with one to decide, from the start again at the end."""
    return await desk.readers(_queue, desk, start, k, waiting)


@router.get("/near")
async def near(desk: CurrentState, q: Annotated[str, Query(max_length=200)] = "", k: Count = 1) -> list[WordNeighbours]:
    """Words that hold some letters, those first that begin with them, the commonest first; with the words near each."""
    return await desk.readers(_near, desk, q, k)


@router.post("/{row}")
async def save(row: Row, request: SaveTag, desk: CurrentState) -> WordsProgress:
    """Saves what becomes of a suggestion."""
    return await desk.readers(_save, desk, row, request)


def _tags(desk: ServerState) -> TagQueue:
    if desk.tags is None:
        raise RequestError(404, "No folder of words was named.", "Start the server with --words my-words.")
    return desk.tags


def _progress(desk: ServerState) -> WordsProgress:
    tags, index = _tags(desk), desk.index()
    rows, path, entries = tags.rows(index), tags.table.path, tags.entries(index)
    decisions = collections.Counter(
        entries.get(row, TagCells()).of(one.tag) for row in rows for one in tags.suggestions(index, row)
    )
    return WordsProgress(
        file=readable(f"{path.parent.name}/{path.name}"),
        total=len(rows),
        suggested=decisions.total(),
        accepted=decisions["accepted"],
        refused=decisions["refused"],
        absent=len(tags.words.suggestions) - len(rows),
        words=len(tags.words.words),
        sentence=readable(tags.words.sentence),
    )


def _queue(desk: ServerState, start: int, k: int, waiting: bool) -> list[QueuedTags]:
    tags, index = _tags(desk), desk.index()
    rows, entries = tags.rows(index), tags.entries(index)
    of = {row: entries.get(row, TagCells()) for row in rows}
    done = {
        row
        for row, cells in of.items()
        if all(cells.of(one.tag) != "untouched" for one in tags.suggestions(index, row))
    }
    chosen = positions(rows, start, done if waiting else None)[:k]
    items = listed_items(desk.pictures, [(rows[each], index.item(rows[each]), None, None) for each in chosen])
    return [
        QueuedTags(
            position=position,
            item=item,
            tags=readable(cut(of[item.row].tags)),
            suggestions=[
                QueuedTag(tag=readable(tag), chance=chance, decision=of[item.row].of(tag))
                for tag, chance in tags.suggestions(index, item.row)
            ],
        )
        for position, item in zip(chosen, items, strict=True)
    ]


def _near(desk: ServerState, words: str, k: int) -> list[WordNeighbours]:
    known, wanted = _tags(desk).words, words.lower().strip()
    holding = sorted(
        (word for word in known.words if wanted in word),
        key=lambda word: (word != wanted, not word.startswith(wanted), -known.pictures[word]),
    )
    return [
        WordNeighbours(
            word=readable(word),
            pictures=known.pictures[word],
            goes_with=_ordered(known.words[word].get("goes with", {})),
            looks_like=_ordered(known.words[word].get("looks like", {})),
            both=_ordered(known.words[word].get("both", {})),
        )
        for word in holding[:k]
    ]


def _ordered(near: Mapping[str, float]) -> list[NearWord]:
    return [NearWord(word=readable(word), cosine=cosine) for word, cosine in near.items()]


def _save(desk: ServerState, row: int, request: SaveTag) -> WordsProgress:
    desk.item(row)
    try:
        _tags(desk).decide(desk.index(), row, request.tag, request.decision, request.before)
    except ChangedMeanwhile as error:
        raise RequestError(409, error.found, error.cure) from error
    return _progress(desk)
