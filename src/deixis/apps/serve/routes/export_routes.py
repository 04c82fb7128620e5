"""Routes that give pictures of the index away as files: a table of what is known of them, or the pictures."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from deixis.apps.label.cells import harmless
from deixis.apps.serve.columns import OWN, readable
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.pictures import located
from deixis.apps.serve.server_state import CurrentState, ServerState
from deixis.errors import DeixisError

__all__ = ["router"]

router = APIRouter()

_MOST = 1000
_CHUNK = 1 << 20
_FILES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}, "application/zip": {}}}}

Rows = Annotated[
    str, Query(pattern=r"^\d{1,9}(,\d{1,9})*$", max_length=10 * _MOST, description="Rows with commas between them.")
]


@router.get("/export.csv", response_class=Response, responses=_FILES)
async def table(rows: Rows, desk: CurrentState) -> Response:
    """What is known of pictures, a line for each."""
    text = await desk.readers(lambda: _table(_items(desk, rows)))
    return Response(text, headers=_attachment("pictures.csv"), media_type="text/csv; charset=utf-8")


@router.get("/export.zip", response_class=Response, responses=_FILES)
async def archive(rows: Rows, desk: CurrentState) -> Response:
    """The files of pictures as they are, with the table of what is known of them."""
    items = await desk.readers(_items, desk, rows)
    chunks = iterate_in_threadpool(_archive(items))
    return StreamingResponse(chunks, headers=_attachment("pictures.zip"), media_type="application/zip")


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _items(desk: ServerState, rows: str) -> list[dict[str, Any]]:
    numbers = list(dict.fromkeys(map(int, rows.split(","))))
    if len(numbers) > _MOST:
        raise RequestError(422, f"{len(numbers):,} pictures were asked for.", f"A file is made of up to {_MOST:,}.")
    return [desk.item(row) for row in numbers]


def _table(items: Sequence[dict[str, Any]]) -> str:
    """`path, caption, label` as `deixis adapt` reads them, then all other columns."""
    names = dict.fromkeys(name for item in items for name in item if name not in OWN)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([_cell(name) for name in ("path", "caption", "label", "id", *names)])
    for item in items:
        caption = " ".join((item.get("captions") or [])[:1])
        known = [item["path"], caption, item.get("label"), item["id"]]
        writer.writerow([_cell(value) for value in (*known, *(item.get(name) for name in names))])
    return file.getvalue()


def _cell(value: Any) -> str:
    """A value as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return str(readable(harmless(text)))


class _Pipe(io.RawIOBase):
    """Where an archive is written to: what has come since it was last taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def _archive(items: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """A zip, made while it is sent; pictures are compressed already. What has gone is listed in it."""
    pipe, taken, gone = _Pipe(), {"pictures.csv", "missing.txt"}, list[str]()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("pictures.csv", _table(items))
        for item in items:
            name = _free(_inside(str(item["id"])), taken)
            try:
                with _opened(str(item["path"])) as source, archive.open(name, "w", force_zip64=True) as target:
                    while data := source.read(_CHUNK):
                        target.write(data)
                        yield pipe.take()
            except (DeixisError, OSError):
                gone.append(str(readable(item["path"])))
        if gone:
            archive.writestr("missing.txt", "These pictures could not be read:\n" + "\n".join(gone) + "\n")
    yield pipe.take()


def _opened(place: str) -> io.BufferedIOBase:
    source = located(place)
    return open(source, "rb") if isinstance(source, Path) else io.BytesIO(source.read())


def _inside(id: str) -> str:
    """The name of a picture inside an archive: never a path that leads out of the folder it is unpacked in."""
    parts = (re.sub(r'[\x00-\x1f\x7f<>:"|?*\\]', "_", part) for part in str(readable(id)).split("/"))
    return "/".join(part for part in parts if part.strip(". ")) or "picture"


def _free(name: str, taken: set[str]) -> str:
    stem, dot, suffix = name.rpartition(".")
    free, number = name, 2
    while free.casefold() in taken:
        free, number = f"{stem or suffix} {number}{dot if stem else ''}{suffix if stem else ''}", number + 1
    taken.add(free.casefold())
    return free
