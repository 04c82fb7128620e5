"""Indices for other programs: as a .npy file, or as a flat index of faiss.

An export is a folder:

    vectors.npy or vectors.faiss   one row of length 1 an item (IndexFlatIP: inner products are cosines)
    items.jsonl                    one JSON object a row, in the same order; the n-th line is what faiss calls n
    about.json                     the model that made the vectors, its fingerprint, count and width
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deixis.errors import DeixisError
from deixis.files import atomic_folder, write_json
from deixis.indexing.exact import widened
from deixis.indexing.folder import now
from deixis.indexing.index import Index
from deixis.indexing.segments import encoded, write_rows

__all__ = ["to_faiss", "to_npy"]

ABOUT, ITEMS = "about.json", "items.jsonl"
_WRITTEN = {ABOUT, ITEMS, "vectors.npy", "vectors.faiss"}


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


def _export(index: Index, out: Path, kind: str, replace: bool) -> Path:
    _free(out, replace)
    with atomic_folder(out) as folder:
        shape = (len(index), index.width)
        blocks = (part for _, part in index.live_vectors())
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
