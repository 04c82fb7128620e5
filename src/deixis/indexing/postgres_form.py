"""How vectors, items and conditions look in PostgreSQL with the extension pgvector; see `postgres`."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from deixis.indexing.filters import FOLDER, column, folded, number, split

__all__ = ["KINDS", "condition", "copied", "facts", "restored", "storable", "vector", "written"]

KINDS = {"float32": ("vector", ">f4"), "float16": ("halfvec", ">f2")}
"""The type of the column, and of a number in it, by how an index stores vectors."""

_ODD = {0: 0x10FFFD} | {0xD800 + place: 0xF0000 + place for place in range(0x800)}
_EVEN = {there: here for here, there in _ODD.items()}


def storable(value: Any) -> Any:
    """A value whose texts PostgreSQL can hold: neither NUL nor the lone surrogates that stand for file names that are
    no UTF-8, which move to code points for private use."""
    return _moved(value, _ODD)


def restored(value: Any) -> Any:
    """What `storable` was given."""
    return _moved(value, _EVEN)


def _moved(value: Any, table: Mapping[int, int]) -> Any:
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else value.translate(table)
    if isinstance(value, dict):
        return {_moved(key, table): _moved(each, table) for key, each in value.items()}
    return [_moved(each, table) for each in value] if isinstance(value, list) else value


def facts(item: Mapping[str, Any]) -> dict[str, list[list[str | None]]]:
    """What conditions look at: of each column its entries, each as text and, where it is one, as a number.

    Python folds letters and reads numbers, here as for `filters`, so that both give the same answers.
    """
    told: dict[str, list[list[str | None]]] = {}
    for name, value in {FOLDER: column(item, FOLDER), **item}.items():
        entries = value if isinstance(value, list) else [value]
        told[name] = [_entry(each) for each in entries]
    return told


def _entry(value: Any) -> list[str | None]:
    if value is None or isinstance(value, dict):
        return [None, None]
    read = number(value)
    return [folded(value), None if read is None else repr(read)]


def condition(text: str, place: int) -> tuple[str, str, dict[str, Any]]:
    """A condition of `filters` in SQL.

    Args:
        text: the condition.
        place: its number among those of a statement, which its place holders bear.

    Returns:
        The column, an expression on the column `facts`, and what goes to its place holders.

    Raises:
        DeixisError: it can't be read.
    """
    name, sign, wanted = split(text)
    asked = number(wanted)
    test = _test("=" if sign == "!=" else sign, asked)
    if sign in ("=", "!=") and not wanted:
        test = f"({test} OR entry->>0 IS NULL)"
    entries = "jsonb_array_elements(COALESCE(facts->%(name)s, '[[null, null]]')) AS entry"
    found = f"EXISTS (SELECT 1 FROM {entries} WHERE {test})"
    values = {"name": storable(name), "wanted": storable(wanted.casefold()), "read": asked}
    for each in values:
        found = found.replace(f"%({each})s", f"%({each}_{place})s")
    return name, f"NOT {found}" if sign == "!=" else found, {f"{key}_{place}": each for key, each in values.items()}


def _test(sign: str, asked: float | None) -> str:
    """Whether an entry meets a condition; a NaN, which PostgreSQL takes for the largest of numbers, meets none."""
    text, read = "(entry->>0)", "(entry->>1)::float8"
    if sign == "~":
        return f"position(%(wanted)s IN {text}) > 0"
    as_text = f'{text} COLLATE "C" {sign} %(wanted)s COLLATE "C"'
    if asked is None:
        return as_text if sign == "=" else f"(entry->>1 IS NULL AND {as_text})"
    as_number = f"({read} <> 'NaN' AND {read} {sign} %(read)s)" if not math.isnan(asked) else "FALSE"
    return f"({as_number} OR (entry->>1 IS NULL AND {as_text}))" if sign == "=" else as_number


def written(query: Float32[np.ndarray, " D"]) -> str:
    """A vector as PostgreSQL reads it, without loss."""
    return "[" + ",".join(map(repr, query.astype(float).tolist())) + "]"


def vector(data: bytes, dtype: str) -> Float32[np.ndarray, " D"]:
    """A vector as PostgreSQL gives it in binary form."""
    return np.frombuffer(data, KINDS[dtype][1], offset=4).astype(np.float32)


def copied(
    blocks: Iterable[Float[np.ndarray, "_ D"]], items: Iterable[Mapping[str, Any]], dtype: str
) -> Iterator[bytes]:
    """Rows of the columns id, item, facts and embedding in the binary form of COPY, row by row.

    Args:
        blocks: the vectors.
        items: as many, each with its `id`.
        dtype: of the column.
    """
    yield b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    rest = iter(items)
    for block in blocks:
        head = struct.pack(">hh", block.shape[1], 0)
        rows = np.ascontiguousarray(block, KINDS[dtype][1])
        for row in rows:
            item = next(rest)
            fields = (storable(item["id"]).encode(), _json(item), _json(facts(item)), head + row.tobytes())
            yield struct.pack(">h", len(fields)) + b"".join(struct.pack(">i", len(each)) + each for each in fields)
    yield struct.pack(">h", -1)


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """A value as jsonb travels in binary form: a version, then text."""
    plain = json.loads(json.dumps(value, allow_nan=False, default=os.fspath))
    return b"\x01" + json.dumps(storable(plain), ensure_ascii=False).encode()
