"""Tar shards in the form of webdataset: the files of one name, up to its first dot, make a sample.

The bytes of an image stay in the archive; a sample says where they are (`types.Member`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from deixis.data.readers.captions import NOT_UTF8, Tally, decode, excerpt, full_path, is_text, texts_in
from deixis.data.readers.formats.folders import MAX_TEXT_FILE
from deixis.data.readers.names import split_of_file
from deixis.data.readers.records import from_record, plain_sample
from deixis.data.readers.rows import kind_of
from deixis.data.readers.tars import IndexedSample, Listing, TarEntry, listing, write_index
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Member, Sample, Skipped, Source

__all__ = ["read_shards", "split_name"]

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_OF_RECORD = frozenset({"json", "txt", "cls"})
_TEXTS, _CAPTIONS, _LABELS = ("txt", "text", "caption"), ("caption", "captions", "text"), ("label", "class_name")

MAX_LABEL = 1000
"""Characters of a class's name; a longer one is none."""


def read_shards(paths: Sequence[Path]) -> Source:
    """Reads webdataset shards: plain tars whose files `KEY.jpg`, `KEY.txt`, `KEY.cls`, `KEY.json` make a sample.

    * The image is the first file of a key whose ending is that of an image (`KEY.jpg` before `KEY.mask.png`).
    * Captions are the lines of the text; else `caption` or `text` of the json. The label is the text of `cls`, else
      `label` of the json. What is left of the json is `extra`, as are the other files, each a `Member`.
    * A json that `deixis.data.writers.pack` wrote says all that a sample holds.
    * The name of a shard such as `train-0000.tar` gives the split, where nothing else does.

    No archive is unpacked. Its contents are listed by an index beside it, which is made where it is missing or out of
    date and the folder can be written to. Of what was packed by deixis it holds the records, too, so that ten thousand
    samples are listed in a tenth of a second, and nothing of the tars is read for it.

    Args:
        paths: the tars, in the order in which samples are wanted. Ids are `SHARD/KEY`.

    Raises:
        DeixisError: a tar is missing, compressed or none, or there is no sample in any.
    """
    archives = [Path(path) for path in dict.fromkeys(paths)]
    if not archives:
        raise DeixisError("No shard was given.", "Name one or more .tar files.")
    root = (
        archives[0] if len(archives) == 1 else Path(os.path.commonpath([path.absolute().parent for path in archives]))
    )
    reader = _Reader()
    with _without_collector():
        for archive in archives:
            reader.read(archive, _shard_name(archive, root))
    samples = reader.settled()
    if not samples:
        raise _without_samples(root, reader)
    count = f"{len(archives)} webdataset shards" if len(archives) > 1 else "webdataset shard"
    name = root.resolve().name.removesuffix(".tar")
    return Source(name, root, kind_of(samples), count, tuple(samples), tuple(reader.skipped), tuple(reader.notes()))


def split_name(name: str) -> tuple[str, str] | None:
    """The key and the field (lower case) of a file in a shard, as webdataset has them: `a/b` and `seg.png` of
    `a/b.seg.PNG`; None where there is no key, or it is webdataset's own."""
    match = _NAME.fullmatch(re.sub(r"^(\./)+", "", name))
    return None if match is None or _META.match(name) else (match.group(1), match.group(2).lower())


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing that is made inside is garbage, and looking for some takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _shard_name(archive: Path, root: Path) -> str:
    path = archive.name if archive == root else PurePosixPath(os.path.relpath(archive.absolute(), root)).as_posix()
    return path.removesuffix(".tar")


def _place_of_image(image: str, fields: tuple[str, ...]) -> int | None:
    """The place of a sample's image among its files, -1 where it is words alone; None where there is more to it."""
    if not _OF_RECORD.issuperset({*fields} - {image}) or (image and image not in fields):
        return None
    return fields.index(image) if image else -1


def _split_of(shard: str) -> str:
    """The split that the name of a shard says."""
    return split_of_file(PurePosixPath(shard).name)


def _without_samples(root: Path, reader: _Reader) -> DeixisError:
    found = f"{full_path(root)} holds no samples."
    if reader.skipped:
        first = reader.skipped[0]
        found = (
            f"{full_path(root)} holds no sample that can be used: {excerpt(first.path)} {first.reason} {first.detail}"
        )
    return DeixisError(found.strip(), "A shard holds files of one name for each sample, such as 0001.jpg and 0001.txt.")


class _Reader:
    """Collects the samples of shard after shard, and what there is to tell about them."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._tally = Tally()
        self._samples: dict[str, Sample] = {}
        self._bare: list[str] = []
        self._further: list[str] = []
        self._keyless = 0

    def read(self, archive: Path, shard: str) -> None:
        """Adds the samples of one shard."""
        try:
            found = listing(archive)
            self.skipped += [
                Skipped(f"{shard}/{item.path}" if item.path else shard, item.reason, item.detail)
                for item in found.skipped
            ]
            with open(archive, "rb") as file:
                if found.samples:
                    self._read_indexed(archive, file, shard, found)
                else:
                    self._read_listed(archive, file, shard, found)
        except OSError as error:
            raise DeixisError(
                f"{full_path(archive)} can't be read: {error.strerror or error}.", "Check the path and its permissions."
            ) from error

    def settled(self) -> list[Sample]:
        """The samples. Those without an image that were not packed as words alone count only where none has one."""
        if len(self._bare) < len(self._samples):
            bare = [self._samples.pop(name) for name in self._bare]
            self.skipped += [Skipped(sample.id, "no image") for sample in bare]
        return list(self._samples.values())

    def notes(self) -> list[str]:
        """Remarks for the user."""
        notes = self._tally.notes()
        if self._further:
            notes.append(
                f"{len(self._further)} further images of samples that have one (such as {excerpt(self._further[0])}) "
                "are left in `extra`; names are cut at their first dot, as webdataset does."
            )
        if self._keyless:
            notes.append(
                f"{self._keyless} files have no name before a dot, or are webdataset's own, and were left out."
            )
        return notes

    def _read_indexed(self, archive: Path, file: BinaryIO, shard: str, found: Listing) -> None:
        """Samples whose records stand in the index: nothing of the archive is read, unless a sample is no plain one."""
        split, start, places = _split_of(shard), 0, dict[Any, int | None]()
        for key, fields, record in found.samples:
            name, first, start = f"{shard}/{key}", start, start + len(fields)
            sample = None
            if record is not None:
                layout = str(record.get("image", "")), fields
                place = places[layout] if layout in places else places.setdefault(layout, _place_of_image(*layout))
                if place is not None:
                    picture = Member(archive, *found.entries[first + place]) if place >= 0 else None
                    sample = plain_sample(record, shard, name, picture, split)
            if sample is None:
                own = dict(zip(fields, found.entries[first:start], strict=True))
                self._add(_Draft(archive, file, name, own, record), shard)
            elif sample.id in self._samples:
                self.skipped.append(Skipped(excerpt(sample.id, 200), "second sample of a name"))
            else:
                self._samples[sample.id] = sample

    def _read_listed(self, archive: Path, file: BinaryIO, shard: str, found: Listing) -> None:
        """Samples that are looked for in the archive; the index then has their records, where the folder lets it."""
        samples: list[IndexedSample] = []
        groups = self._grouped(found.entries, shard)
        for key, fields in groups.items():
            draft = _Draft(archive, file, f"{shard}/{key}", fields)
            self._add(draft, shard)
            samples.append(IndexedSample(key, tuple(fields), draft.record()))
        in_order = [entry for fields in groups.values() for entry in fields.values()] == list(found.entries)
        if in_order and any(each.record is not None for each in samples):
            with contextlib.suppress(OSError):
                write_index(archive, found._replace(samples=tuple(samples)))

    def _grouped(self, entries: Sequence[TarEntry], shard: str) -> dict[str, dict[str, TarEntry]]:
        samples: dict[str, dict[str, TarEntry]] = {}
        for entry in entries:
            parts = split_name(entry.name)
            if parts is None:
                self._keyless += 1
                continue
            fields = samples.setdefault(parts[0], {})
            if parts[1] in fields:
                self.skipped.append(Skipped(f"{shard}/{excerpt(entry.name, 200)}", "second file of a name"))
            else:
                fields[parts[1]] = entry
        return samples

    def _add(self, draft: _Draft, shard: str) -> None:
        packed = draft.packed(self._tally)
        sample = packed if packed is not None else draft.foreign(self._tally)
        self.skipped += draft.skipped
        if packed is not None:
            sample = dataclasses.replace(sample, id=f"{shard}/{packed.id}" if packed.id else draft.name)
        else:
            self._further += draft.further()
        sample = dataclasses.replace(sample, split=sample.split or _split_of(shard))
        if sample.id in self._samples:
            self.skipped.append(Skipped(excerpt(sample.id, 200), "second sample of a name"))
        elif packed is None and sample.image is None and not sample.captions:
            self.skipped.append(Skipped(sample.id, "no image"))
        else:
            self._samples[sample.id] = sample
            if packed is None and sample.image is None:
                self._bare.append(sample.id)


class _Draft:
    """The files of one key, before they are a sample."""

    def __init__(
        self,
        archive: Path,
        file: BinaryIO,
        name: str,
        fields: dict[str, TarEntry],
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.skipped: list[Skipped] = []
        self._archive, self._file, self._fields = archive, file, fields
        self._json = self._parsed() if record is None else record

    def record(self) -> Mapping[str, Any] | None:
        """What the json holds, if it is one of `deixis.data.writers.pack` that is understood."""
        return self._json if isinstance(self._json, dict) and "deixis" in self._json else None

    def packed(self, tally: Tally) -> Sample | None:
        """The sample, if the json is one of `deixis.data.writers.pack`."""
        if not isinstance(self._json, dict) or "deixis" not in self._json:
            return None
        try:
            sample = from_record(self._json, tally)
            image = self._json.get("image")
            if image is not None and image not in self._fields:
                raise ValueError(f"its image, {image!r:.40}, is missing")
        except (ValueError, TypeError) as error:
            self.skipped.append(Skipped(self.name, "json of a wrong form", excerpt(str(error), 200)))
            self._json = None
            return None
        return self._with_files(sample, image, _OF_RECORD)

    def foreign(self, tally: Tally) -> Sample:
        """The sample, of files that anybody may have written."""
        text = next((field for field in _TEXTS if field in self._fields), "")
        captions = tally.clean((self._text(text) or "").splitlines(), self.name) if text else ()
        label = _label(self._text("cls"))
        extra = dict(self._json) if isinstance(self._json, dict) else {}
        if not captions:
            for name in _CAPTIONS:
                captions = captions or tally.clean(filter(is_text, texts_in(extra.pop(name, None))), self.name)
        for name in _LABELS:
            label = label if label is not None else _label(extra.pop(name, None))
        images = self._images()
        used = {text, "cls", *(["json"] if isinstance(self._json, dict) else [])}
        return self._with_files(
            Sample(self.name, None, captions, label, extra=extra), images[0] if images else None, used
        )

    def further(self) -> list[str]:
        """The names of images besides the first."""
        return [self._fields[field].name for field in self._images()[1:]]

    def _images(self) -> list[str]:
        found = [field for field in self._fields if f".{field.rpartition('.')[2]}" in IMAGE_SUFFIXES]
        return sorted(found, key=lambda field: "." in field)

    def _with_files(self, sample: Sample, image: str | None, used: Container[str]) -> Sample:
        files = {
            field: Member(self._archive, *entry)
            for field, entry in self._fields.items()
            if field not in used and field != image
        }
        picture = Member(self._archive, *self._fields[image]) if image is not None else None
        return dataclasses.replace(sample, image=picture, extra={**sample.extra, **files})

    def _text(self, field: str) -> str | None:
        """The text of a file, if it is there and is one of a reasonable size."""
        entry = self._fields.get(field)
        if entry is None:
            return None
        if entry.size > MAX_TEXT_FILE:
            reason = "json is too large" if field == "json" else "caption file is too large"
            self.skipped.append(Skipped(self.name, reason, f"{field} above {MAX_TEXT_FILE // 2**20} MiB"))
            return None
        text = decode(os.pread(self._file.fileno(), entry.size, entry.offset))
        if not is_text(text):
            self.skipped.append(Skipped(self.name, NOT_UTF8, field))
            return None
        return text

    def _parsed(self) -> Any:
        text = self._text("json")
        if text is None:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError, MemoryError) as error:
            self.skipped.append(Skipped(self.name, "json can't be read", excerpt(str(error), 200)))
            return None


def _label(value: Any) -> str | None:
    """A class as it is written in a file or a json; None where it is none, or no name for one."""
    if value is None or isinstance(value, (list, dict, bool)):
        return None
    text = " ".join("".join(c for c in str(value) if c.isprintable() or c.isspace()).split())
    return text if 0 < len(text) <= MAX_LABEL and is_text(text) else None
