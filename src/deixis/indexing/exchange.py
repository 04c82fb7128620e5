"""Indices for other programs, and back: as a .npy file, as a flat index of faiss, and from clip-retrieval's folders.

An export is a folder:

    vectors.npy or vectors.faiss   one row of length 1 an item (IndexFlatIP: inner products are cosines)
    items.jsonl                    one JSON object a row, in the same order; the n-th line is what faiss calls n
    about.json                     the model that made the vectors, its fingerprint, count and width

Vectors of length 1 are taken in bit by bit, so that what goes out and comes back is the same index.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from deixis.errors import DeixisError, require
from deixis.files import atomic_folder, write_json
from deixis.indexing.exact import widened
from deixis.indexing.folder import FORMAT, now, write_manifest
from deixis.indexing.index import Index
from deixis.indexing.segments import ROWS, encoded, live_rows, unit, write_rows, write_segment

__all__ = ["from_clip_retrieval", "from_faiss", "from_npy", "to_faiss", "to_npy"]

ABOUT, ITEMS = "about.json", "items.jsonl"
_WRITTEN = {ABOUT, ITEMS, "vectors.npy", "vectors.faiss"}
_NEAR_ONE = {"float32": 1e-6, "float16": 2e-3}
"""How far the length of a rounded vector of length 1 may be from 1."""


def to_npy(index: Index, out: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Writes the vectors, as they are stored, and the items of an index to a new folder.

    Args:
        index: an opened index; rows that were removed are left out.
        out: the folder.
        replace: an export that is there; nothing else is ever replaced.

    Raises:
        DeixisError: something is at `out` already.
    """
    return _export(index, Path(out), "npy", replace)


def to_faiss(index: Index, out: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Writes an index as an `IndexFlatIP` of faiss, in float32, and the items beside it; arguments as `to_npy`.

    Raises:
        DeixisError: something is at `out` already, or faiss is not installed.
    """
    _faiss()
    return _export(index, Path(out), "faiss", replace)


def from_npy(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, model: str = "", fingerprint: str = ""
) -> Index:
    """Makes an index of what `to_npy` wrote, or of a like folder.

    Args:
        source: a folder with `vectors.npy` [N D] and `items.jsonl`.
        out: the index folder to write.
        model: name of the model that made the vectors, where `about.json` does not tell.
        fingerprint: of that model, likewise; where both tell one, they must agree.

    Raises:
        DeixisError: a file is missing or damaged, counts or widths differ, a vector points nowhere, an id comes twice,
            nobody says which model made the vectors, or something is at `out` already.
    """
    place, about = Path(source), _about(Path(source))
    maker = _maker(place, about, model, fingerprint)
    vectors = _load(place / "vectors.npy")
    _compare(place, about, vectors)
    return _import(Path(out), [vectors], _items(place / ITEMS), maker, (about or {}).get("dtype"))


def from_faiss(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, model: str = "", fingerprint: str = ""
) -> Index:
    """Makes an index of what `to_faiss` wrote, or of a folder with `vectors.faiss`, any flat index of faiss, and
    `items.jsonl`; arguments and errors as `from_npy`. Read files that you trust only: faiss does not expect others."""
    place, about = Path(source), _about(Path(source))
    maker = _maker(place, about, model, fingerprint)
    vectors = _read_flat(place / "vectors.faiss")
    _compare(place, about, vectors)
    return _import(Path(out), [vectors], _items(place / ITEMS), maker, (about or {}).get("dtype"))


def from_clip_retrieval(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, model: str, fingerprint: str
) -> Index:
    """Makes an index of what `clip-retrieval inference` wrote.

    That is `img_emb/img_emb_N.npy` and, with as many rows each, `metadata/metadata_N.parquet`. Of these the column
    `image_path` becomes the id and the path, `caption` the caption; others are kept.

    Args:
        source: its output folder.
        out: the index folder to write.
        model: name of the model that made the vectors; those files do not tell.
        fingerprint: of that model.

    Raises:
        DeixisError: as `from_npy`, or pyarrow is not installed.
    """
    place = Path(source)
    maker = _maker(place, None, model, fingerprint)
    parts, tables = (_numbered(place, *each) for each in (("img_emb", ".npy"), ("metadata", ".parquet")))
    if not parts or parts.keys() != tables.keys():
        raise DeixisError(
            f"{place} holds {len(parts)} files img_emb/img_emb_N.npy and {len(tables)} metadata/metadata_N.parquet.",
            "Give the whole output folder of `clip-retrieval inference`.",
        )
    vectors, items = [], list[dict[str, Any]]()
    for number in sorted(parts):
        vectors.append(_load(parts[number]))
        rows = _rows(tables[number])
        if len(rows) != len(vectors[-1]):
            raise _differing(parts[number], len(vectors[-1]), tables[number], len(rows))
        items += rows
    return _import(Path(out), vectors, items, maker)


def _export(index: Index, out: Path, kind: str, replace: bool) -> Path:
    _free(out, replace)
    with atomic_folder(out) as folder:
        shape = (len(index), index.width)
        blocks = (part for _, part in live_rows(index.segments, index.live))
        if kind == "npy":
            write_rows(folder / "vectors.npy", shape, np.dtype(index.manifest["dtype"]), blocks)
        else:
            _write_flat(folder / "vectors.faiss", shape, blocks)
        with open(folder / ITEMS, "xb") as file:
            file.writelines(encoded(item for _, item in index.items()))
            file.flush()
            os.fsync(file.fileno())
        told = {key: index.manifest[key] for key in ("model", "fingerprint", "dtype", "count", "width")}
        write_json(folder / ABOUT, {"format": 1, "made": now(), **told})
    return out


def _free(out: Path, replace: bool = False) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DeixisError(f"{out} is there already.", "Name a new folder.")
    held = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if held and not (replace and ABOUT in held and held <= _WRITTEN):
        raise DeixisError(f"{out} is there already{', and is no export' if replace else ''}.", "Name a new folder.")


def _import(
    out: Path,
    parts: Sequence[Float[np.ndarray, "_ D"]],
    items: Sequence[Mapping[str, Any]],
    maker: Mapping[str, str],
    dtype: Any = None,
) -> Index:
    """Writes an index whose vectors keep their bits where they are of length 1 already.

    `dtype` is that of the index that was exported, as far as it is known.
    """
    _free(out)
    count, width = sum(map(len, parts)), parts[0].shape[1]
    if not count:
        raise DeixisError("There is nothing to import: no vectors.", "Give at least one.")
    if any(part.shape[1] != width for part in parts):
        raise DeixisError(f"Vectors of widths {sorted({part.shape[1] for part in parts})} lie together.", "")
    if count != len(items):
        raise DeixisError(f"There are {count} vectors and {len(items)} items.", "Each vector needs its line.")
    ids, seen = [item["id"] for item in items if "id" in item], set[Any]()
    if not all(isinstance(each, str) for each in ids):
        raise DeixisError("An id is no text.", "Give each item a text as its id.")
    twice = next((each for each in ids if each in seen or seen.add(each)), None)  # type: ignore[func-returns-value]
    if twice is not None:
        raise DeixisError(f"The id {twice!r} comes twice.", "Give each item an id of its own.")
    if dtype not in _NEAR_ONE:
        dtype = "float16" if all(part.dtype == np.float16 for part in parts) else "float32"
    with atomic_folder(out) as folder:
        entry, files = write_segment(folder, 1, (count, width), dtype, _ready(parts, _NEAR_ONE[dtype]), encoded(items))
        head = {**maker, "dtype": dtype, "width": width, "count": count, "created": now(), "changed": now()}
        write_manifest(folder, {**head, "format": FORMAT, "segments": [entry], "removed": [], "files": files})
    return Index.open(out)


def _ready(parts: Iterable[Float[np.ndarray, "_ D"]], near: float) -> Iterator[Float32[np.ndarray, "_ D"]]:
    first = 0
    for part in parts:
        for start in range(0, len(part), ROWS):
            block = np.asarray(part[start : start + ROWS])
            rows = unit(block, "Vector", first + start)
            if block.dtype in (np.float16, np.float32):
                kept = np.abs(np.sqrt((block.astype(np.float64) ** 2).sum(axis=1)) - 1) <= near
                rows[kept] = block[kept]
            yield rows
        first += len(part)


def _about(folder: Path) -> dict[str, Any] | None:
    """What an export says of itself; None where it says nothing."""
    path = folder / ABOUT
    try:
        about = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, "it can't be read") from error
    kinds = {"model": str, "fingerprint": str, "count": int, "width": int}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in kinds.items()):
        raise _damaged(path, f"{', '.join(kinds)} are wanted in it")
    return about


def _maker(place: Path, about: Mapping[str, Any] | None, model: str, fingerprint: str) -> dict[str, str]:
    """Which model made the vectors: what the folder tells, or else the caller."""
    told = {} if about is None else about
    if fingerprint and told.get("fingerprint") not in (None, fingerprint):
        raise DeixisError(
            f"The vectors of {place} were made by the model {told['model']!r} ({told['fingerprint'][:12]}), not by one "
            f"with the fingerprint {fingerprint[:12]}.",
            "Give that model.",
        )
    maker = {"model": model or told.get("model", ""), "fingerprint": fingerprint or told.get("fingerprint", "")}
    if not all(maker.values()):
        raise DeixisError(
            f"Nothing says which model made the vectors of {place}.",
            "Tell its name and fingerprint: deixis.load(NAME).fingerprint()",
        )
    return maker


def _compare(place: Path, about: Mapping[str, Any] | None, vectors: Float[np.ndarray, "N D"]) -> None:
    if about is not None and vectors.shape != (about["count"], about["width"]):
        raise DeixisError(
            f"{place} holds {vectors.shape[0]} vectors of width {vectors.shape[1]}, its {ABOUT} tells of "
            f"{about['count']} of width {about['width']}.",
            "Export it again.",
        )


def _load(path: Path) -> Float[np.ndarray, "N D"]:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DeixisError(f"There is no {path}.", "Give the folder that holds it.") from error
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, "it can't be read as an array") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        held = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "an archive"
        raise DeixisError(f"{path} holds {held}.", "A table of floating-point numbers is wanted, one vector a row.")
    return vectors


def _items(path: Path) -> list[dict[str, Any]]:
    items = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise _damaged(path, f"line {number} is no JSON object")
                items.append(item)
    except FileNotFoundError as error:
        raise DeixisError(f"There is no {path}.", "Give the folder that holds it.") from error
    except ValueError as error:
        raise _damaged(path, f"line {len(items) + 1} is no JSON object") from error
    return items


def _damaged(path: Path, why: str) -> DeixisError:
    return DeixisError(f"{path} is damaged: {why}.", "Export it again.")


def _differing(vectors: Path, count: int, table: Path, rows: int) -> DeixisError:
    return DeixisError(f"{vectors} holds {count} vectors, {table} {rows} rows.", "Write both again, together.")


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise DeixisError("The package faiss is not installed.", "Install it with: pip install faiss-cpu") from error


def _write_flat(path: Path, shape: tuple[int, int], blocks: Iterable[Float[np.ndarray, "_ D"]]) -> None:
    faiss = _faiss()
    flat = faiss.IndexFlatIP(shape[1])
    for block in blocks:
        flat.add(np.ascontiguousarray(widened(block)))
    with contextlib.suppress(RuntimeError):
        faiss.write_index(flat, os.fspath(path))
    # It says nothing of a disk that is full when the file is closed.
    if not path.is_file() or path.stat().st_size < 4 * shape[0] * shape[1]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


def _read_flat(path: Path) -> Float32[np.ndarray, "N D"]:
    faiss = _faiss()
    if not path.is_file():
        raise DeixisError(f"There is no {path}.", "Give the folder that holds it.")
    try:
        flat = faiss.read_index(os.fspath(path))
    except RuntimeError as error:
        raise _damaged(path, "faiss can't read it") from error
    if not isinstance(flat, faiss.IndexFlat):
        raise DeixisError(
            f"{path} is an index of the kind {type(flat).__name__}, which need not hold the vectors as they were.",
            "Give a flat index, or the vectors as .npy.",
        )
    stored = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return np.array(stored, np.float32).reshape(flat.ntotal, flat.d)  # a copy: the memory is that of `flat`


def _numbered(place: Path, folder: str, suffix: str) -> dict[int, Path]:
    """The parts of a series by number; how many zeros stand before it hangs on how many there are."""
    form = re.compile(rf"{folder}_(\d+){re.escape(suffix)}")
    inner = place / folder
    entries = inner.iterdir() if inner.is_dir() else ()
    return {int(match[1]): each for each in entries if (match := form.fullmatch(each.name))}


def _rows(path: Path) -> list[dict[str, Any]]:
    parquet = require("pyarrow.parquet", "data", "read parquet files")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own are kinds of these
        raise _damaged(path, "it can't be read as parquet") from error
    return [_item(row, path, number) for number, row in enumerate(rows)]


def _item(row: Mapping[str, Any], path: Path, number: int) -> dict[str, Any]:
    name = row.get("image_path")
    if not isinstance(name, str):
        raise DeixisError(f"Row {number} of {path} has no image_path.", "Write it again with images.")
    captions = [row["caption"]] if isinstance(row.get("caption"), str) else []
    others = {key: _plain(value) for key, value in row.items() if key not in ("image_path", "caption")}
    return {**others, "id": name, "path": name, "captions": captions, "label": others.get("label")}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a number that is none is no value, and what JSON has no form for becomes text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | int) else str(value)
