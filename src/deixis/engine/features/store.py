"""Outputs of frozen towers for each image, computed once per content and stored.

The store is one SQLite file: a killed run keeps what it had, two runs may share it, and a damaged file is set aside and
begun anew, since all in it can be computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.types import Batch, FieldSpec, ImageStates

__all__ = ["FeatureStore", "FeatureTable", "table"]

T = TypeVar("T")

_GIGABYTES = 16

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SPECS = (
    FieldSpec("image_embedding", "B D", values="unit"),
    FieldSpec("image_features", "B F"),
    FieldSpec("image_doubt", "B", values="uniform"),
    FieldSpec("text_embedding", "B D", values="unit"),
    FieldSpec("caption_key", "B", "long", values="class"),
)


class FeatureStore:
    """Rows of numbers by key, in one SQLite file. Threads may share it, and so may processes.

    It is bounded: where it would grow beyond its limit, the rows that were written first are dropped.

    Args:
        path: of the file; the default lies in the cache folder.
        limit: bytes; the default is `$DEIXIS_FEATURES_GB` gigabytes, or 16.

    Raises:
        DeixisError: here and in all methods, the file can't be opened, read or written for another reason than damage.
    """

    def __init__(self, path: Path | None = None, limit: int | None = None) -> None:
        self.path, self.limit = path or cache_dir("features.sqlite"), limit or _limit()
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._mended(self._database)

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            self._connection.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
            self._connection.execute("SELECT count(*) FROM (SELECT 1 FROM rows LIMIT 1)").fetchone()
        return self._connection

    def _mended(self, act: Callable[[], T]) -> T:
        """What `act` gives; where it finds the file damaged, once more with a new file."""
        try:
            with self._lock:
                try:
                    return act()
                except sqlite3.DatabaseError as error:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                        raise
                    self._set_aside()
                    return act()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise DeixisError(
                f"The features stored in {self.path} can't be used: {error}.",
                "Wait for other runs, free some space, or name another cache folder with DEIXIS_CACHE.",
            ) from error

    def _set_aside(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            self.path.replace(self.path.with_suffix(".damaged"))
        # An old journal would be played back into the new file.
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)

    def get(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Key -> row of those that are there."""
        return self._mended(lambda: self._get(keys))

    def _get(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for part in _pieces(keys, 500):
            marks = ",".join("?" * len(part))
            for key, value in self._database().execute(f"SELECT key, value FROM rows WHERE key IN ({marks})", part):
                if len(value) % 4 == 0:
                    found[key] = np.frombuffer(value, dtype=np.float32)
        return found

    def put(self, rows: dict[str, np.ndarray]) -> None:
        """Keeps float32 rows by key, all or none of them."""
        values = [(key, row.astype(np.float32).tobytes()) for key, row in rows.items()]

        def insert() -> None:
            with self._database() as database:
                newest = self._last_row(database)
                database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)
                self._drop_oldest(database, newest)

        self._mended(insert)

    @staticmethod
    def _last_row(database: sqlite3.Connection) -> int:
        return int(database.execute("SELECT coalesce(max(rowid), 0) FROM rows").fetchone()[0])

    def _drop_oldest(self, database: sqlite3.Connection, newest: int) -> None:
        """Drops a tenth of the rows at a time, up to `newest`, until the others fit. SQLite numbers rows as they are
        written, and uses the pages that become free before it makes the file larger."""
        while self._used(database) > self.limit:
            first = int(database.execute("SELECT coalesce(min(rowid), 0) FROM rows").fetchone()[0])
            last = min(newest, first + max(1, (newest - first) // 10))
            if first > newest or not database.execute("DELETE FROM rows WHERE rowid <= ?", (last,)).rowcount:
                return

    @staticmethod
    def _used(database: sqlite3.Connection) -> int:
        pages, free, size = (
            int(database.execute(f"PRAGMA {each}").fetchone()[0])
            for each in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def close(self) -> None:
        """Closes the file; it is opened again when it is next needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _limit() -> int:
    """Bytes that the features of all models and collections may take in the cache."""
    value = os.environ.get("DEIXIS_FEATURES_GB", "")
    try:
        limit = int(float(value or _GIGABYTES) * 2**30)
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise DeixisError(f"DEIXIS_FEATURES_GB is {value!r}.", f"Give gigabytes, such as {_GIGABYTES}.")
    return limit


def _pieces(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Frozen features of a collection, one row a sample; the first axis of the image's holds the plain and the
    mirrored view.

    Attributes:
        ids: of the samples.
        embedding: [V, B, D].
        features: [V, B, F].
        doubt: [V, B].
        text: [B, D], of each sample's caption or class name.
        keys: [B], equal where captions are equal.
    """

    ids: tuple[str, ...]
    embedding: Float[Tensor, "V B D"]
    features: Float[Tensor, "V B F"]
    doubt: Float[Tensor, "V B"]
    text: Float[Tensor, "B D"]
    keys: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int]) -> FeatureTable:
        """The samples at `index`."""
        i = torch.as_tensor(index, dtype=torch.long)
        ids = tuple(self.ids[j] for j in i.tolist())
        views = (self.embedding[:, i], self.features[:, i], self.doubt[:, i])
        return FeatureTable(ids, *views, self.text[i], self.keys[i])

    def without_mirror(self, rows: Sequence[int]) -> FeatureTable:
        """With the plain view of some rows in place of their mirrored one."""
        views = {name: getattr(self, name).clone() for name in ("embedding", "features", "doubt")}
        for view in views.values():
            view[1:, rows] = view[:1, rows]
        return dataclasses.replace(self, **views)

    def with_text_of(self, order: Sequence[int]) -> FeatureTable:
        """The same images with the captions of other samples: row i gets the caption of `order[i]`."""
        i = torch.as_tensor(order, dtype=torch.long)
        return dataclasses.replace(self, text=self.text[i], keys=self.keys[i])

    def states(self) -> ImageStates:
        """The plain view, B rows."""
        return ImageStates(self.embedding[0], self.features[0], self.doubt[0])

    def batch(self) -> Batch:
        """All views as samples of their own, V x B rows: what methods are trained on."""
        views = len(self.embedding)
        values = (
            self.embedding.flatten(0, 1),
            self.features.flatten(0, 1),
            self.doubt.flatten(),
            self.text.repeat(views, 1),
            self.keys.repeat(views),
        )
        ids = tuple(f"{name}#{view}" for view in range(views) for name in self.ids)
        extra = {spec.name: value for spec, value in zip(_SPECS, values, strict=True)}
        return Batch(ids=ids, extra=extra, specs={spec.name: spec for spec in _SPECS})


def table(
    ids: Sequence[str],
    views: tuple[Float[Tensor, "V B D"], Float[Tensor, "V B F"], Float[Tensor, "V B"]],
    texts: Sequence[str],
    vectors: Float[Tensor, "B D"],
) -> FeatureTable:
    """Joins encoded images with the texts that belong to them.

    Args:
        ids: B names.
        views: what `embedding.encode_images` gave.
        texts: B captions or class sentences.
        vectors: what `embedding.encode_texts` gave for them.
    """
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    keys = torch.tensor([distinct[text] for text in texts])
    # Copies outside inference mode, since adapters are trained on these.
    embedding, features, doubt = (view.clone() for view in views)
    return FeatureTable(tuple(ids), embedding, features, doubt, vectors.clone(), keys)
