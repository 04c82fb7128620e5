"""Routes by which a client looks: the page, items and their pictures, folders and jobs, the run, its report, health."""

from __future__ import annotations

import functools
import gzip
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from deixis.apps.search.calibration import NEVER_SAYS_NOTHING
from deixis.apps.search.rerank import RERANKED
from deixis.apps.search.says import READ
from deixis.apps.serve.access import REPORT_POLICY
from deixis.apps.serve.columns import OWN, readable, shortened
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.limits import MOST
from deixis.apps.serve.pictures import PLACEHOLDER, MissingPicture, Pictures, Small
from deixis.apps.serve.schemas import Folder, Health, Item, Job, JobNumber, ListedItem, RunInfo
from deixis.apps.serve.server_state import CurrentState, ServerState
from deixis.errors import DeixisError
from deixis.indexing.filters import FOLDER, column
from deixis.zoo.languages import languages

__all__ = ["listed_items", "router"]

router = APIRouter()

Row = Annotated[int, InPath(ge=0, le=2**31 - 1)]
Number = Annotated[int, InPath(ge=0, le=2**31 - 1)]
Side = Annotated[int, Query(ge=16, le=8192, description="Pixels of the longer side, at most.")]

_STATIC = Path(__file__).parent.parent / "static"
_SIDE = 320
_CAPTIONS, _LETTERS = 8, 1000
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "The picture."},
    304: {"description": "It has not changed."},
    404: {
        "content": {"image/svg+xml": {}, "application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
        "description": "A placeholder picture if the file is missing; an error if there is no such row.",
    },
}


@router.get("/", include_in_schema=False)
async def page(desk: CurrentState, request: Request) -> Response:
    """The page."""
    return await desk.readers(_static, "index.html", request.headers.get("accept-encoding", ""))


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str, desk: CurrentState, request: Request) -> Response:
    """A part of the page."""
    return await desk.readers(_static, name, request.headers.get("accept-encoding", ""))


@router.get("/items")
async def item_by_id(desk: CurrentState, id: Annotated[str, Query(max_length=4096)]) -> Item:
    """Something in the index, by its id."""
    return await desk.readers(_item, desk, id)


@router.get("/items/{row}")
async def item(row: Row, desk: CurrentState) -> Item:
    """Something in the index, with all that is known of it."""
    return await desk.readers(_item, desk, row)


@router.get("/items/{row}/neighbours")
async def neighbours(row: Row, desk: CurrentState, k: Annotated[int, Query(ge=1, le=MOST)] = 20) -> list[ListedItem]:
    """What is most like it."""
    return await desk.readers(_neighbours, desk, row, k)


@router.get("/items/{row}/thumbnail", response_class=Response, responses=_PICTURES)
async def thumbnail(row: Row, desk: CurrentState, request: Request, side: Side = _SIDE) -> Response:
    """A small picture of it."""
    return await _picture(desk, row, side, request)


@router.get("/items/{row}/image", response_class=Response, responses=_PICTURES)
async def image(row: Row, desk: CurrentState, request: Request, side: Side = 1600) -> Response:
    """A large picture of it."""
    return await _picture(desk, row, side, request)


@router.get("/folders")
async def folders(desk: CurrentState) -> list[Folder]:
    """Folders that the owner named when the server was started."""
    return [Folder(id=number, name=readable(name), new=None) for number, (name, _) in enumerate(desk.jobs.folders)]


@router.post("/folders/{number}/update")
async def update(number: Number, desk: CurrentState) -> JobNumber:
    """Looks a folder through, and adds to the index what is new in it."""
    return JobNumber(job=desk.jobs.start(number))


@router.get("/jobs/{number}")
async def job(number: Number, desk: CurrentState) -> Job:
    """How far a job is."""
    state = desk.jobs.state(number)
    return Job(done=state.done, total=state.total, state=state.state, message=state.message)


@router.get("/run")
async def run(desk: CurrentState) -> RunInfo:
    """What is served."""
    return await desk.readers(_run, desk)


@router.get("/report", response_class=Response, responses={200: {"content": {"text/html": {}}}})
async def report(desk: CurrentState) -> Response:
    """The run's report of before and after."""
    return await desk.readers(_report, desk.searcher.run / "report.html")


@router.get("/health")
async def health(desk: CurrentState) -> Health:
    """Whether all is well."""
    index = await desk.readers(desk.index)
    return Health(status=desk.trouble or "ok", index=len(index))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(desk: CurrentState) -> Response:
    """Counts and times, for Prometheus."""
    return Response(desk.metrics.text(), headers={"Content-Type": desk.metrics.content_type})


def listed_items(
    pictures: Pictures,
    rows: Sequence[tuple[int, Mapping[str, Any], float | None, float | None]],
    columns: Sequence[str] = (),
) -> list[ListedItem]:
    """Items as a client sees them.

    Args:
        pictures: that tell how large they are.
        rows: row, item, score, relevance of each.
        columns: that come along, as far as an item has them.
    """
    return [ListedItem(**_fields(pictures, *each), columns=_some(each[1], columns)) for each in rows]


def _some(item: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    values = {name: column(item, name) for name in names if name == "label" or name not in OWN}
    return {readable(name): shortened(value) for name, value in values.items() if value not in (None, "", [])}


def _fields(
    pictures: Pictures, row: int, item: Mapping[str, Any], score: float | None, relevance: float | None
) -> dict[str, Any]:
    width, height = pictures.size(item, _SIDE)
    full = pictures.size(item, 0)
    place = str(item["path"])
    label = item.get("label")
    return {
        "row": row,
        "id": readable(str(item["id"])),
        "score": score,
        "relevance": relevance,
        "width": width,
        "height": height,
        "full": list(full),
        "name": readable(os.path.basename(place)),
        "captions": [readable(str(each))[:_LETTERS] for each in (item.get("captions") or ())[:_CAPTIONS]],
        "label": None if label is None else readable(str(label)),
        "place": readable(place),
    }


def _item(desk: ServerState, reference: int | str) -> Item:
    row = desk.row(reference)
    item = desk.item(row)
    address = f"/items/{row}"
    columns = {name: value for name, value in item.items() if name not in OWN}
    return Item(
        **_fields(desk.pictures, row, item, None, None),
        columns=readable({FOLDER: column(item, FOLDER), **columns}),
        thumbnail=f"{address}/thumbnail",
        image=f"{address}/image",
        neighbours=f"{address}/neighbours",
    )


def _neighbours(desk: ServerState, row: int, k: int) -> list[ListedItem]:
    desk.item(row)
    return listed_items(desk.pictures, [(each.row, each.item, each.score, None) for each in desk.searcher.like(row, k)])


async def _picture(desk: ServerState, row: int, side: int, request: Request) -> Response:
    with desk.picture_gate.place():
        try:
            small = await desk.painters(_small, desk, row, side, request.headers.get("if-none-match", ""))
        except (DeixisError, OSError) as error:
            if isinstance(error, RequestError) and not isinstance(error, MissingPicture):
                raise
            return Response(PLACEHOLDER, 404, {"Cache-Control": "no-store"}, "image/svg+xml")
    # Rows may stand for something else after a change of the index, so each use asks whether it still holds.
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{small.mark}"'}
    return (
        Response(small.data, 200, headers, "image/jpeg") if small.data else Response(status_code=304, headers=headers)
    )


def _small(desk: ServerState, row: int, side: int, held: str) -> Small:
    """The picture; without data where the client holds it."""
    item = desk.item(row)
    mark = desk.pictures.mark(item, side)
    return Small(b"", mark) if f'"{mark}"' in held else desk.pictures.small(item, side)


def _static(name: str, accepted: str) -> Response:
    """A part of the page: one of the files that lie there, by name."""
    if not _STATIC.is_dir() or name not in os.listdir(_STATIC) or not (_STATIC / name).is_file():
        raise RequestError(404, "The page has no such part.", "See /openapi.json for all addresses.")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    data = (_STATIC / name).read_bytes()
    if "gzip" in accepted:
        headers["Content-Encoding"], data = "gzip", _small_form(data)
    return Response(data, 200, headers, kind)


@functools.lru_cache(maxsize=64)
def _small_form(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _report(path: Path) -> Response:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(404, "This run has no report.", "`deixis adapt` writes one.") from error
    return Response(data, 200, {"Content-Security-Policy": REPORT_POLICY}, "text/html")


def _run(desk: ServerState) -> RunInfo:
    index, encoder = desk.index(), desk.searcher.encoder
    calibration, columns = getattr(desk.searcher, "calibration", None), desk.columns()
    return RunInfo(
        name=readable(desk.searcher.run.resolve().name),
        model=encoder.name,
        count=len(index),
        width=encoder.width,
        calibrated=calibration is not None,
        report=(desk.searcher.run / "report.html").is_file(),
        columns=readable(columns.values),
        fields=readable(columns.fields),
        shown=readable(columns.shown),
        languages=languages(encoder),
        dictionaries=desk.languages.names,
        caveat=NEVER_SAYS_NOTHING if calibration is not None and not calibration.threshold else "",
        labels="" if desk.labels is None else readable(desk.labels.table.path.name),
        captions="" if desk.drafts is None else readable(desk.drafts.table.path.name),
        words="" if desk.tags is None else readable(desk.tags.table.path.name),
        reads_text=desk.searcher.reads_text,
        can_explain=desk.explainer is not None,
        can_ground=desk.grounder is not None,
        can_segment=desk.segmenter is not None,
        has_words=READ in columns.fields,
        can_rerank=desk.pairs is not None,
        rerank_count=RERANKED,
        rerank_seconds=desk.pairs.seconds if desk.pairs else None,
        respects=readable(desk.respects.names(index)),
        can_align=desk.pairs is not None and desk.pairs.can_align,
    )
