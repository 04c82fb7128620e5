"""Routes to look through drafts of captions: the queue, the nearest captioned pictures, and saving what is right."""

from __future__ import annotations

import collections

from fastapi import APIRouter

from deixis.apps.adapt.drafts import draft_kind
from deixis.apps.label.label_table import DRAFT, Entry
from deixis.apps.serve.columns import readable
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.labelling.draft_queue import DraftQueue, DraftText
from deixis.apps.serve.labelling.label_schemas import CaptionedItem, DraftProgress, QueuedDraft, SaveCaption
from deixis.apps.serve.routes.label_routes import Count, Position, Row, queued, save_entry
from deixis.apps.serve.routes.page_routes import listed_items
from deixis.apps.serve.server_state import CurrentState, ServerState

__all__ = ["router"]

router = APIRouter(prefix="/captions")

_NEAREST = 3


@router.get("")
async def progress(desk: CurrentState) -> DraftProgress:
    """How many drafts were accepted, edited and left."""
    return await desk.readers(_progress, desk)


@router.get("/queue")
async def queue(desk: CurrentState, start: Position = 0, k: Count = 12, waiting: bool = False) -> list[QueuedDraft]:
    """Pictures with drafts from a position on; of those without a caption, from the start again at the end."""
    return await desk.readers(_queue, desk, start, k, waiting)


@router.get("/nearest/{row}")
async def nearest(row: Row, desk: CurrentState) -> list[CaptionedItem]:
    """The captioned pictures that are nearest to one."""
    return await desk.readers(_nearest, desk, row)


@router.post("/{row}")
async def save(row: Row, request: SaveCaption, desk: CurrentState) -> DraftProgress:
    """Saves a caption; an empty one takes it away."""
    return await desk.readers(_save, desk, row, request)


def _drafts(desk: ServerState) -> DraftQueue:
    if desk.drafts is None:
        raise RequestError(404, "No csv with drafts was named.", "Start the server with --captions captions.csv.")
    return desk.drafts


def _progress(desk: ServerState) -> DraftProgress:
    drafts, index = _drafts(desk), desk.index()
    entries, texts = drafts.entries(index), drafts.drafts(index)
    kinds = collections.Counter(
        draft_kind(entries.get(row, Entry()).caption, draft.text) for row, draft in texts.items()
    )
    return DraftProgress(
        file=str(readable(drafts.table.path.name)),
        total=len(texts),
        accepted=kinds["accepted"],
        edited=kinds["edited"],
        untouched=kinds["untouched"],
        absent=drafts.absent(index),
    )


def _queue(desk: ServerState, start: int, k: int, waiting: bool) -> list[QueuedDraft]:
    drafts = _drafts(desk)
    texts, found = drafts.drafts(desk.index()), queued(desk, drafts, start, k, "caption" if waiting else "")
    several = [(each, texts.get(each.item.row, DraftText("", None))) for each in found]
    return [
        QueuedDraft(
            **dict(each), draft=readable(draft.text), sure=draft.sure, kind=draft_kind(each.caption, draft.text)
        )
        for each, draft in several
    ]


def _nearest(desk: ServerState, row: int) -> list[CaptionedItem]:
    desk.item(row)
    index = desk.index()
    found = _drafts(desk).nearest(index, row, _NEAREST)
    items = listed_items(desk.pictures, [(each, index.item(each), None, None) for each, _ in found])
    return [
        CaptionedItem(item=item, caption=readable(caption)) for item, (_, caption) in zip(items, found, strict=True)
    ]


def _save(desk: ServerState, row: int, request: SaveCaption) -> DraftProgress:
    save_entry(desk, _drafts(desk), row, request, {DRAFT: request.draft})
    return _progress(desk)
