"""Routes to label pictures: the queue, suggestions, and saving into the one csv that the operator named."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi import Path as InPath

from deixis.apps.label.filled_table import ChangedMeanwhile
from deixis.apps.label.label_table import Entry
from deixis.apps.serve.columns import readable
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.labelling.label_queue import LabelQueue
from deixis.apps.serve.labelling.label_schemas import LabelProgress, LabelSuggestions, QueuedItem, SaveLabel
from deixis.apps.serve.routes.page_routes import listed_items
from deixis.apps.serve.server_state import CurrentState, ServerState

__all__ = ["Count", "Position", "Row", "positions", "queued", "router", "save_entry"]

router = APIRouter(prefix="/labels")

Row = Annotated[int, InPath(ge=0, le=2**31 - 1)]
Position = Annotated[int, Query(ge=0, le=2**31 - 1)]
Count = Annotated[int, Query(ge=1, le=60)]


@router.get("")
async def progress(desk: CurrentState) -> LabelProgress:
    """How far the labelling is."""
    return await desk.readers(_progress, desk)


@router.get("/queue")
async def queue(
    desk: CurrentState, start: Position = 0, k: Count = 12, without: Literal["", "label", "caption"] = ""
) -> list[QueuedItem]:
    """Pictures from a position on; of those without a label or caption, from the start again at the end."""
    return await desk.readers(lambda: queued(desk, _labels(desk), start, k, without))


@router.get("/classes")
async def classes(desk: CurrentState, q: Annotated[str, Query(max_length=200)] = "") -> list[str]:
    """Names of classes that hold some words."""
    found = await desk.readers(lambda: _labels(desk).matches(desk.index(), q))
    return [str(readable(name)) for name in found]


@router.get("/suggestions/{row}")
async def suggestions(row: Row, desk: CurrentState) -> LabelSuggestions:
    """What a picture may be."""
    desk.item(row)
    with desk.gate.place():
        found = await desk.model(lambda: _labels(desk).suggestions(desk.index(), row, desk.searcher.encoder))
    return LabelSuggestions(labels=readable(found.labels), captions=readable(found.captions))


@router.post("/{row}")
async def save(row: Row, request: SaveLabel, desk: CurrentState) -> LabelProgress:
    """Saves what a picture is; an empty text takes it away."""
    return await desk.readers(_save, desk, row, request)


def _labels(desk: ServerState) -> LabelQueue:
    if desk.labels is None:
        raise RequestError(404, "No csv was named for labels.", "Start the server with --labels labels.csv.")
    return desk.labels


def _progress(desk: ServerState) -> LabelProgress:
    labels, index = _labels(desk), desk.index()
    entries = labels.entries(index).values()
    return LabelProgress(
        file=str(readable(labels.table.path.name)),
        total=len(index),
        label=sum(bool(entry.label) for entry in entries),
        caption=sum(bool(entry.caption) for entry in entries),
    )


def queued(desk: ServerState, labels: LabelQueue, start: int, k: int, without: str) -> list[QueuedItem]:
    """Pictures of a queue with what is saved for them.

    Args:
        desk: the server.
        labels: the queue.
        start: position of the first.
        k: how many.
        without: `label` or `caption`: only those without one, from the start again at the end.
    """
    index = desk.index()
    rows, entries = labels.rows(index), labels.entries(index)
    done = {row for row, entry in entries.items() if entry._asdict()[without]} if without else None
    chosen = positions(rows, start, done)[:k]
    items = listed_items(desk.pictures, [(rows[each], index.item(rows[each]), None, None) for each in chosen])
    saved = (entries.get(rows[each], Entry()) for each in chosen)
    return [
        QueuedItem(position=position, item=item, caption=readable(entry.caption), label=readable(entry.label))
        for position, item, entry in zip(chosen, items, saved, strict=True)
    ]


def positions(rows: Sequence[int], start: int, done: Collection[int] | None) -> list[int]:
    """Positions from one on.

    Args:
        rows: of a queue.
        start: the first.
        done: rows that are left out, where the others come round from the start again; None: all up to the end.
    """
    ahead = range(start, len(rows))
    if done is None:
        return list(ahead)
    return [each for each in [*ahead, *range(min(start, len(rows)))] if rows[each] not in done]


def _save(desk: ServerState, row: int, request: SaveLabel) -> LabelProgress:
    save_entry(desk, _labels(desk), row, request)
    return _progress(desk)


def save_entry(
    desk: ServerState, labels: LabelQueue, row: int, request: SaveLabel, beside: Mapping[str, str] | None = None
) -> None:
    """Saves what a client sent for a row.

    Args:
        desk: the server.
        labels: the queue of the csv.
        row: of the index.
        request: the texts, and those that stood there when the client last looked.
        beside: further columns as they stood there.

    Raises:
        RequestError: there is no such row, a text can't be written down, or somebody else has changed it meanwhile.
    """
    desk.item(row)
    texts = (request.caption, request.label, request.before_caption, request.before_label)
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise RequestError(422, "A text holds half a character (a lone surrogate).", "Send it in UTF-8.")
    caption, label = (" ".join(text.split()) for text in texts[:2])
    try:
        labels.save(desk.index(), row, Entry(caption, label), Entry(*texts[2:]), beside)
    except ChangedMeanwhile as error:
        raise RequestError(409, error.found, error.cure) from error
