"""Writes a source as tar shards that webdataset reads, with an index beside each; the same samples, the same bytes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from deixis.data.readers.captions import excerpt, full_path, is_text
from deixis.data.readers.formats.folders import MAX_TEXT_FILE
from deixis.data.readers.records import to_record
from deixis.data.readers.sources import MAX_SKIPPED
from deixis.data.readers.tars import IndexedSample, Listing, TarEntry, index_path, is_packed, write_index
from deixis.errors import DeixisError
from deixis.files import atomic_folder
from deixis.inputs.formats import FORMATS
from deixis.inputs.images import load_image, probe
from deixis.inputs.opening import allowed_pixels, name_of
from deixis.types.samples import Drawing, Member, Sample, Skipped, Source

__all__ = ["Packed", "check_place", "pack"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_FIELD = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_MARKS = {"JPEG": (b"\xff\xd9",), "MPO": (b"\xff\xd9",), "PNG": (b"IEND",)}
_TAIL = 1024
_FILE_LEFT_OUT = "a file of the sample was left out"

Files = list[tuple[str, bytes]]


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        shards: the tars, in order.
        counts: samples in each.
        bytes: the size of all tars.
        skipped: samples that were left out, and files of `extra`.
    """

    shards: tuple[Path, ...]
    counts: tuple[int, ...]
    bytes: int
    skipped: tuple[Skipped, ...]


def pack(
    source: Source,
    out: str | os.PathLike[str],
    *,
    samples_per_shard: int = 1000,
    name: str = "shard",
    overwrite: bool = False,
    max_skipped: float = MAX_SKIPPED,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Writes the shards `NAME-000000.tar`, `NAME-000001.tar`... of a source, which `read_shards` and webdataset read.

    A sample is the files of one number: its image, byte for byte (a drawing becomes a PNG); `.txt`, its captions, one a
    line; `.cls`, the number of its class; `.json`, all that it holds, as it holds it. The same source gives the same
    bytes. Images that can't be read or are cut short are left
    out.

    Args:
        source: what is packed, in its order.
        out: the folder; it appears when all is written.
        samples_per_shard: the most that one holds; shards are as equal as can be.
        name: what the shards' names begin with.
        overwrite: replace the shards that lie in `out`; anything else there is an error in any case.
        max_skipped: share of the samples that may be left out.
        progress: called with (samples done, samples in all).

    Raises:
        DeixisError: `out` is taken, the disk has too little room, or too many images can't be read.
        OSError: the disk refuses; nothing is left behind.
    """
    out = Path(out)
    if samples_per_shard < 1:
        raise DeixisError(f"A shard can't hold {samples_per_shard} samples.", "Give 1 or more.")
    if not _NAME.fullmatch(name):
        raise DeixisError(f"Names of shards can't begin with {excerpt(name)!r}.", "Use letters, digits, - and _.")
    check_place(out, overwrite)
    _check_room(source, out)
    total = len(source.samples)
    full = -(-total // max(1, -(-total // samples_per_shard)))  # the last one is then not much smaller
    skipped: list[Skipped] = []
    counts: list[int] = []
    drafts = _drafts(source.samples, skipped, progress)
    with atomic_folder(out) as folder:
        for first in drafts:
            portion = itertools.chain([first], itertools.islice(drafts, full - 1))
            counts.append(_write(folder / f"{name}-{len(counts):06}.tar", portion, sum(counts)))
        _refuse_if_little_is_left(source, skipped, max_skipped)
        names = sorted(path.name for path in folder.glob("*.tar"))
        size = sum((folder / each).stat().st_size for each in names)
    return Packed(tuple(out / each for each in names), tuple(counts), size, tuple(skipped))


# The place


def check_place(out: Path, overwrite: bool) -> None:
    """Makes sure, before any work, that `out` is free, or holds nothing but shards that `pack` wrote.

    Raises:
        DeixisError: it is not.
    """
    if out.exists() and not out.is_dir():
        raise DeixisError(f"{full_path(out)} is a file; shards go into a folder.", "Choose another --shards.")
    if not out.is_dir():
        return
    if out.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise DeixisError(
            f"{full_path(out)} is the folder you are in, or one above.", "Name one inside it, such as --shards shards."
        )
    found = sorted(out.iterdir())
    packed = {each for each in found if each.suffix == ".tar" and is_packed(each)}
    packed |= {index_path(each) for each in packed}
    foreign = next((each for each in found if each not in packed), None)
    if foreign is not None:
        raise DeixisError(
            f"{full_path(out)} holds files other than shards of deixis, such as {excerpt(foreign.name)}.",
            "Choose another --shards.",
        )
    if found and not overwrite:
        raise DeixisError(f"{full_path(out)} holds shards already.", "Choose another --shards, or --overwrite them.")


def _check_room(source: Source, out: Path) -> None:
    need = sum(map(_size, source.samples))
    place = next(each for each in (out.absolute(), *out.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if need > free:
        raise DeixisError(
            f"The shards take about {need / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free at {full_path(place)}.",
            "Free some space, or choose another --shards.",
        )


def _size(sample: Sample) -> int:
    """Bytes that a sample takes at the least, with headers; of what is not a file, the headers alone."""
    size = 0
    if isinstance(sample.image, Member):
        size = sample.image.size
    elif isinstance(sample.image, Path):
        with contextlib.suppress(OSError, ValueError):
            size = sample.image.stat().st_size
    return size + 4 * tarfile.BLOCKSIZE


def _refuse_if_little_is_left(source: Source, skipped: Sequence[Skipped], max_skipped: float) -> None:
    reasons = [item for item in skipped if item.reason != _FILE_LEFT_OUT]
    left, total = len(reasons), len(source.samples)
    if left < total and left <= max_skipped * total:
        return
    counts = collections.Counter(item.reason for item in reasons)
    what = "; ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "it holds none"
    raise DeixisError(
        f"{left} of {total} samples of {full_path(source.root)} can't be packed ({what}), above the limit of "
        f"{max_skipped:.0%}. Nothing was written.",
        f"The first: {reasons[0].detail or reasons[0].path}" if reasons else "Give a source with images.",
    )


# The samples


def _drafts(
    samples: Sequence[Sample], skipped: list[Skipped], progress: Callable[[int, int], None] | None
) -> Iterator[Files]:
    """The files of each sample that can be packed."""
    classes = _classes(samples)
    for done, sample in enumerate(samples, 1):
        try:
            yield list(_files(sample, classes, skipped))
        except _LeftOut as reason:
            skipped.append(reason.skipped)
        if progress is not None:
            progress(done, len(samples))


class _LeftOut(Exception):
    def __init__(self, sample: Sample, reason: str, detail: str = "") -> None:
        self.skipped = Skipped(sample.id, reason, excerpt(detail, 300))


def _classes(samples: Sequence[Sample]) -> dict[str, int]:
    """The number of each class, as `.cls` has it: its name, where all names are numbers, else its place among them."""
    names = sorted({sample.label for sample in samples if sample.label is not None})
    if all(re.fullmatch(r"0|[1-9][0-9]{0,8}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _files(sample: Sample, classes: Mapping[str, int], skipped: list[Skipped]) -> Iterator[tuple[str, bytes]]:
    field = None
    if sample.image is not None:
        field, data = _image(sample)
        yield field, data
    captions = [" ".join(text.split()) for text in sample.captions]
    if any(captions):
        yield "txt", "\n".join(filter(None, captions)).encode("utf-8", "replace")
    if sample.label is not None:
        yield "cls", str(classes[sample.label]).encode()
    record = to_record(sample, field)
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    record_bytes = (text if is_text(text) else json.dumps(record, allow_nan=False)).encode()
    if len(record_bytes) > MAX_TEXT_FILE:
        raise _LeftOut(sample, "description is too large", f"{len(record_bytes):,} bytes of {MAX_TEXT_FILE:,}")
    yield "json", record_bytes
    for name, value in sample.extra.items():
        if isinstance(value, Member):
            attached = (
                _attached(value) if _FIELD.fullmatch(name) and name not in ("txt", "cls", "json", field) else None
            )
            if attached is None:
                skipped.append(Skipped(sample.id, _FILE_LEFT_OUT, excerpt(name)))
            else:
                yield name, attached


def _attached(member: Member) -> bytes | None:
    """The bytes of a file besides the image, if all of them are there."""
    try:
        data = member.read()
    except OSError:
        return None
    return data if len(data) == member.size else None


def _image(sample: Sample) -> tuple[str, bytes]:
    """The field and the bytes of an image, if its header can be read and it ends as it should; where its format has no
    mark at the end, or the mark isn't found, if it can be decoded."""
    picture = sample.picture
    try:
        if isinstance(picture, Drawing):
            return "png", _png(picture)
        info = probe(picture)
        if info.width * info.height > allowed_pixels():
            raise _LeftOut(sample, "too many pixels", f"{info.width:,} x {info.height:,}")
        data = picture.read_bytes() if isinstance(picture, Path) else picture.read()
        if not any(mark in data[-_TAIL:] for mark in _MARKS.get(info.format, ())):
            load_image(picture)
    except DeixisError as error:
        reason = getattr(error, "reason", "can't be read")
        raise _LeftOut(sample, reason, str(error).replace(name_of(picture), sample.id)) from error
    except OSError as error:
        raise _LeftOut(sample, "can't be read", error.strerror or str(error)) from error
    if isinstance(picture, Member) and len(data) < picture.size:
        raise _LeftOut(sample, "truncated", "its shard is cut short")
    return _suffix(picture.name, info.format), data


def _suffix(name: str, format_name: str) -> str:
    """How a file of a format is called, whatever it was called before: others tell it by its name."""
    image_format = FORMATS.get("JPEG" if format_name == "MPO" else format_name)
    return image_format.suffixes[0][1:] if image_format is not None else Path(name).suffix[1:].lower()


def _png(drawing: Drawing) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(drawing.draw()).save(stream, "PNG")
    return stream.getvalue()


# The tar


def _write(path: Path, portion: Iterable[Files], number: int) -> int:
    """Writes one shard, the samples numbered from `number`, and its index; returns how many there were."""
    count, entries, samples = 0, [], list[IndexedSample]()
    with open(path, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for count, files in enumerate(portion, 1):
                record = json.loads(dict(files)["json"])
                samples.append(IndexedSample(f"{number + count - 1:09}", tuple(dict(files)), record))
                for field, data in files:
                    info = tarfile.TarInfo(f"{number + count - 1:09}.{field}")
                    info.size = len(data)
                    entries.append(TarEntry(info.name, tar.offset + tarfile.BLOCKSIZE, info.size))
                    tar.addfile(info, io.BytesIO(data))
        file.flush()
        os.fsync(file.fileno())
    write_index(path, Listing(tuple(entries), packed=True, samples=tuple(samples)))
    return count
