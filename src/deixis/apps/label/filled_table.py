"""A csv that is filled in row by row, while other windows and programs may write to it, too."""

from __future__ import annotations

import abc
import contextlib
import csv
import fcntl
import io
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from deixis.apps.label.cells import harmless
from deixis.data.readers.captions import decode, is_text
from deixis.data.readers.cells import plain_text
from deixis.data.readers.formats.tables import delimiter
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained

__all__ = ["ChangedMeanwhile", "EntryType", "FilledTable"]

_SUFFIXES = (".csv", ".tsv")
_PATIENCE = 5.0  # seconds for which another writer is waited for

EntryType = TypeVar("EntryType", bound=tuple[str, ...])
"""What is written beside a picture."""


class ChangedMeanwhile(DeixisError):
    """Somebody else has written beside the same picture since it was read."""


class _Rows(NamedTuple):
    """The table as it lies on the disk: all rows as they are, which columns hold what, and the row of each picture."""

    cells: list[list[str]]
    mark: str
    columns: tuple[int, ...]
    places: dict[str, int]
    bom: bool


class FilledTable(abc.ABC, Generic[EntryType]):
    """A table in which some cells beside each picture are filled in.

    Threads may share it; windows and processes, too, as each change reads the file again under a lock, changes one row,
    and replaces the file in one step.

    A subclass says in `entry` what is written, a NamedTuple of texts; in `header` the columns of a new table; and finds
    the columns of one that is there.

    Args:
        path: the csv; it need not be there yet.

    Raises:
        DeixisError: it is no csv, has no column of paths, or can't be written.
    """

    entry: type[EntryType]
    header: tuple[str, ...]

    @abc.abstractmethod
    def columns(self, header: list[str]) -> tuple[int, ...]:
        """Where the path and the texts of an entry stand; those that are missing get a column of their own.

        Args:
            header: names of columns, to which missing ones are added.
        """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, ...], _Rows] | None = None
        if self.path.suffix.lower() not in _SUFFIXES or self.path.is_dir():
            raise DeixisError(f"{path} is no csv; labels go into one.", "Give a file such as labels.csv.")
        if not self.path.parent.is_dir():
            raise DeixisError(f"There is no folder {self.path.parent}.", "Create it, or choose another csv.")
        self._rows()
        self._require_writable()

    def entries(self) -> Mapping[str, EntryType]:
        """The place of each picture -> what is written beside it, in the order of the rows."""
        with self._lock:
            rows = self._rows()
        return {place: self._entry(rows, number) for place, number in rows.places.items()}

    def column(self, name: str) -> Mapping[str, str]:
        """The place of each picture -> its text in a further column; nothing where there is no such column."""
        with self._lock:
            rows = self._rows()
        return {place: text for place, number in rows.places.items() if (text := _text(rows, number, name))}

    def save(self, place: str, entry: EntryType, before: EntryType, beside: Mapping[str, str] | None = None) -> None:
        """Writes beside a picture; what others wrote beside other pictures stays.

        Args:
            place: of the picture: its path, or that of its shard with its name inside.
            entry: what is written.
            before: what stood there when it was last read.
            beside: texts of further columns when they were last read: that the entry was written with these in view.

        Raises:
            ChangedMeanwhile: something else stands there by now.
            DeixisError: the file can't be written: it is read-only, open in another program, or the disk is full.
        """
        with self._lock, self._alone():
            self._require_writable()
            rows = self._rows()
            number = rows.places.get(place)
            there = self.entry() if number is None else self._entry(rows, number)
            if there not in (before, entry):
                raise _changed(there, before)
            for name, text in (beside or {}).items():
                if (now := "" if number is None else _text(rows, number, name)) != text:
                    raise ChangedMeanwhile(
                        f"In {self.path.name} the {name} of this picture is {now!r} by now, and was {text!r}.",
                        "Look at it, then save again.",
                    )
            if there != entry:
                self._write(rows, place, number, entry)

    def _write(self, rows: _Rows, place: str, number: int | None, entry: EntryType) -> None:
        width = max(rows.columns) + 1
        row = list(rows.cells[number]) if number is not None else []
        row += [""] * (max(width, len(rows.cells[0])) - len(row))
        row[rows.columns[0]] = row[rows.columns[0]] or place
        for column, value in zip(rows.columns[1:], entry, strict=True):
            if plain_text(row[column]) != value:
                row[column] = harmless(value)
        cells = list(rows.cells)
        cells[len(cells) if number is None else number : (len(cells) if number is None else number) + 1] = [row]
        with explained(self.path), atomic_path(self.path) as temporary:
            encoding = "utf-8-sig" if rows.bom else "utf-8"
            with open(temporary, "w", encoding=encoding, errors="surrogateescape", newline="") as file:
                csv.writer(file, delimiter=rows.mark).writerows(cells)
        self._read = None

    def _rows(self) -> _Rows:
        """The table as it is now; it is parsed only where it has changed."""
        try:
            with open(self.path, "rb") as file:
                facts = os.fstat(file.fileno())
                version = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
                if self._read is None or self._read[0] != version:
                    self._read = (version, self._parsed(file.read()))
            return self._read[1]
        except FileNotFoundError:
            return _Rows([list(self.header)], ",", tuple(range(len(self.header))), {}, False)
        except OSError as error:
            raise DeixisError(f"{self.path} can't be read: {error.strerror}.", "Check its permissions.") from error

    def _parsed(self, data: bytes) -> _Rows:
        text = decode(data)
        if not is_text(text):
            raise DeixisError(
                f"{self.path} is not UTF-8.", "Save it as UTF-8, for example: iconv -f windows-1252 -t utf-8 OLD > NEW"
            )
        mark = delimiter(text, tabs=self.path.suffix.lower() == ".tsv")
        try:
            cells = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row]
        except csv.Error as error:
            raise DeixisError(
                f"{self.path} can't be read as a table: {error}.", "Check its quotation marks."
            ) from error
        cells = cells or [list(self.header)]
        columns = self.columns(cells[0])
        places = {
            self._place(row[columns[0]]): number
            for number, row in enumerate(cells)
            if number and _filled(row, columns[0])
        }
        return _Rows(cells, mark, columns, places, data.startswith(b"\xef\xbb\xbf"))

    def _place(self, cell: str) -> str:
        return os.path.normpath(os.path.join(self.path.parent, cell))

    def _entry(self, rows: _Rows, number: int) -> EntryType:
        row = rows.cells[number]
        return self.entry(*(plain_text(row[column]) if len(row) > column else "" for column in rows.columns[1:]))

    def _require_writable(self) -> None:
        """Refuses a file that is read-only, or that another program has open and would write over."""
        cure = "Choose another csv, or allow writing: chmod u+w FILE"
        if self.path.exists():
            if not self.path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
                raise DeixisError(f"{self.path} is read-only, so nothing can be saved in it.", cure)
            self._require_free()
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise DeixisError(f"{self.path} can't be written: permission denied.", cure)

    def _require_free(self) -> None:
        office = self.path.with_name(f".~lock.{self.path.name}#")
        if office.exists():
            who = office.read_text("utf-8", "replace").split(",")
            by = f" (by {who[1].strip()})" if len(who) > 1 and who[1].strip() else ""
            raise DeixisError(
                f"{self.path} is open in an office program{by}, which would write over what is saved here.",
                f"Close it there, then save again. If it is not open any more, remove {office}.",
            )
        with contextlib.suppress(PermissionError), open(self.path, "rb+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DeixisError(f"Another program holds {self.path}.", "Close it there, then save again.") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other servers of the same table waiting; the lock is on the folder, so that no file is left behind."""
        handle, end = os.open(self.path.parent, os.O_RDONLY), time.monotonic() + _PATIENCE
        try:
            while not _locked(handle):
                if time.monotonic() > end:
                    raise DeixisError(f"Another program writes beside {self.path} all the time.", "Save again.")
                time.sleep(0.01)
            yield
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True


def _filled(row: Sequence[str], column: int) -> bool:
    return len(row) > column and bool(row[column].strip())


def _text(rows: _Rows, number: int, name: str) -> str:
    """A cell of a further column."""
    column = rows.cells[0].index(name) if name in rows.cells[0] else len(rows.cells[number])
    return plain_text(rows.cells[number][column]).strip() if len(rows.cells[number]) > column else ""


def _changed(there: tuple[str, ...], before: tuple[str, ...]) -> ChangedMeanwhile:
    texts = zip(there, before, strict=True)
    said = next((now for now, then in texts if now and now != then), "")
    return ChangedMeanwhile(
        f"Another window has saved {said!r} for this picture meanwhile." if said
        else "Another window has emptied the row of this picture meanwhile.",
        "Save again to replace that.",
    )  # fmt: skip
