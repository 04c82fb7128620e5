"""Opens what an image may come from, up to its header, or says in one sentence why it can't be had.

Only formats in `FORMATS` are opened, each by its Pillow plugin directly: Pillow's own limit on pixels is a global
setting, and a helper such as Ghostscript is never started.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

from PIL import Image

from deixis.errors import DeixisError, require
from deixis.inputs.decode.strips import factor_of
from deixis.inputs.formats import FORMATS, describe_foreign, icon_size, is_heif, is_text, plugin
from deixis.inputs.pixels import PixelArray, picture_of
from deixis.types.samples import Drawing, Member, Stored

__all__ = [
    "IN_FORCE",
    "JPEGS",
    "MAX_PIXELS",
    "ImageError",
    "ImageSource",
    "Reason",
    "allow_pixels",
    "allowed_pixels",
    "is_source",
    "name_of",
    "opened",
]

Reason = Literal[
    "missing",
    "a folder",
    "empty file",
    "not an image",
    "truncated",
    "corrupt",
    "too many pixels",
    "unsupported format",
    "unreadable",
]
ImageSource = str | os.PathLike[str] | Member | Drawing | Stored | bytes | Image.Image | PixelArray

MAX_PIXELS = 100_000_000
"""The default limit on width x height: 300 MB once decoded to [3, H, W], at the worst 1.4 GB while it is decoded."""

IN_FORCE = 0
"""In place of a limit: the one in force in this process, see `allow_pixels`."""

JPEGS = ("JPEG", "MPO")
"""Pillow's names of JPEG; MPO: several in one file, as some cameras and phones write."""

_ICON_PIXELS = 4096 * 4096


class ImageError(DeixisError):
    """An image that can't be had, with the reason as a short phrase to count by.

    Args:
        found: what was found, as a sentence that names the file.
        cure: what to do about it.
        reason: one of the phrases of `Reason`.
    """

    def __init__(self, found: str, cure: str, reason: Reason) -> None:
        super().__init__(found, cure)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, Reason]]:  # type: ignore[override]
        return type(self), (self.found, self.cure, self.reason)


def is_source(value: Any) -> bool:
    """Whether a value is something that an image may come from."""
    kinds = (str, os.PathLike, Member, Drawing, Stored, bytes, Image.Image, PixelArray)
    return isinstance(value, kinds)


def name_of(source: ImageSource) -> str:
    """What a source is called in messages."""
    if isinstance(source, bytes):
        return f"The image given as {len(source):,} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "The Pillow image given")
    if isinstance(source, str | os.PathLike):  # before PixelArray: a protocol takes many times as long to look at
        return os.fspath(source)
    if isinstance(source, Member):
        return str(source)
    return "The picture given" if isinstance(source, PixelArray) else source.name


_limit = MAX_PIXELS


def allow_pixels(count: int) -> None:
    """Sets the limit on width x height for this process: that of all calls that name none.

    Raises:
        DeixisError: it is below 1.
    """
    global _limit
    if count < 1:
        raise DeixisError(f"max_pixels is {count}.", "Give the most width x height of a picture, such as 100000000.")
    _limit = count


def allowed_pixels() -> int:
    """The limit in force."""
    return _limit


@contextlib.contextmanager
def opened(
    source: ImageSource, *, max_pixels: int | None = IN_FORCE, smallest: int | None = None
) -> Iterator[Image.Image]:
    """The Pillow image of a source, its header read and its pixels not; files are closed on leaving.

    What decoding raises inside comes out as an `ImageError`, and Pillow's warnings are not shown.

    Args:
        source: as for `images.load_image`.
        max_pixels: the most width x height; 0: the limit in force; None: the header alone is wanted.
        smallest: as for `images.load_image`.

    Raises:
        ImageError: it can't be had.
    """
    name = name_of(source)
    with _quiet, _opened(source, name) as picture:
        if max_pixels is not None:
            _check_size(picture.size, max_pixels or _limit, name)
        with _explained(name, "its pixels can't be read"):
            if picture.format in JPEGS and picture is not source:
                least = smallest or (_least(picture.size) if max_pixels is not None else None)
                if least is not None:
                    picture.draft(None, (least, least))  # type: ignore[arg-type]
            yield picture


def _least(size: tuple[int, int]) -> int | None:
    """What the shorter side of a very large picture must keep, where nobody says so; None: it stays whole."""
    return min(size) // factor_of(size, None) if size[0] * size[1] > MAX_PIXELS else None


class _Quiet:
    """While any thread is inside, Pillow's own warnings are ignored: what matters in them is raised as an error here.

    `warnings.catch_warnings` restores a global list and is not safe with threads; this adds one entry, which concerns
    Pillow's modules alone, and takes out the same entry when the last thread leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            # Entered again each time: a caller's catch_warnings may have swapped the list since.
            warnings.filterwarnings("ignore", module=r"(?:PIL|pillow_heif)\.")
            self._entry = warnings.filters[0]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                with contextlib.suppress(ValueError):
                    warnings.filters.remove(self._entry)  # type: ignore[attr-defined]


_quiet = _Quiet()


@contextlib.contextmanager
def _opened(source: ImageSource, name: str) -> Iterator[Image.Image]:
    """The Pillow image of a source, its header read; files are closed on leaving."""
    if isinstance(source, Image.Image):
        yield source
        return
    if not isinstance(source, str | os.PathLike | Member | bytes):  # protocols take many times as long to look at
        if isinstance(source, Drawing):
            yield Image.fromarray(source.draw())
            return
        if isinstance(source, PixelArray):
            yield picture_of(source)
            return
    with _stream(source, name) as stream:
        head = stream.read(1024)
        if not head:
            raise ImageError(f"{name} is empty (0 bytes).", "Copy or download it again, or leave it out.", "empty file")
        yield _identify(stream, head, name)


def _stream(source: str | os.PathLike[str] | Member | Stored | bytes, name: str) -> io.BufferedIOBase:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, Member):
        with _open_file(str(source.archive)) as archive:
            archive.seek(source.offset)
            return io.BytesIO(archive.read(source.size))
    if isinstance(source, str | os.PathLike):
        return _open_file(name)
    with _explained(name, "its container can't be read"):
        return io.BytesIO(source.read())


def _open_file(name: str) -> io.BufferedIOBase:
    """Opens a regular file for reading, or says why not."""
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name} is a folder, not an image.", "Name a file inside it.", "a folder")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{name} is a pipe or a device, not a file.", "Copy its bytes to a file.", "unreadable")
        return open(name, "rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        if re.match(r"[a-zA-Z][\w+.-]+://", name):
            cure = "URLs are not downloaded: download the image first, and give its path."
        else:
            cure = f"Check the path, which is relative to {os.getcwd()}."
        raise ImageError(f"{name!r} does not exist.", cure, "missing") from error
    except PermissionError as error:
        raise ImageError(
            f"{name} can't be opened: permission denied.", f"Allow reading it: chmod u+r {name!r}", "unreadable"
        ) from error
    except OSError as error:
        raise ImageError(
            f"{name} can't be opened: {error.strerror or error}.", "Check its disk.", "unreadable"
        ) from error


def _identify(stream: io.BufferedIOBase, head: bytes, name: str) -> Image.Image:
    """The Pillow image of an open file, told by its first bytes, never by its suffix."""
    failure: ImageError | None = None
    for format_name, entry in FORMATS.items():
        if not entry.module:
            if is_heif(head):
                return _open_plugin(_heif(name), format_name, stream, name)
            continue
        factory, accept = plugin(format_name)
        accepted = accept(head[:32])
        if isinstance(accepted, str):
            raise ImageError(
                f"{name} is in {format_name} format, which this build of Pillow can't read.",
                "Install a newer Pillow (pip install -U pillow), or save it as PNG or JPEG.",
                "unsupported format",
            )
        if accepted and not is_heif(head):
            try:
                return _open_plugin(factory, format_name, stream, name)
            except ImageError as error:
                failure = failure or error
    if failure is not None and (failure.reason == "too many pixels" or not is_text(head[:64])):
        raise failure
    foreign = describe_foreign(head)
    raise ImageError(
        f"{name} is {foreign.noun}, which is not read here."
        if foreign.picture
        else f"{name} is not an image: it is {foreign.noun}.",
        foreign.cure,
        "unsupported format" if foreign.picture else "not an image",
    )


def _heif(name: str) -> Any:
    try:
        return require("pillow_heif", "data", "read HEIC images").HeifImageFile
    except DeixisError as error:
        raise ImageError(
            f"{name} is a HEIC image, and the package 'pillow-heif' that reads them is not installed.",
            error.cure + " (or save the image as JPEG)",
            "unsupported format",
        ) from error


def _open_plugin(factory: Any, format_name: str, stream: io.BufferedIOBase, name: str) -> Image.Image:
    """Lets a plugin read the header."""
    if format_name == "ICO":
        _check_limit(icon_size(stream), _ICON_PIXELS, name, "Save the picture as PNG.")
    stream.seek(0)
    with _explained(name, f"it starts like {format_name}, but its header can't be read", stream, format_name):
        picture: Image.Image = factory(stream, "")
    return picture


def _runs_out(stream: io.BufferedIOBase, format_name: str) -> bool:
    """Whether a plugin that failed on a header had come to the end of the file, or the file is shorter than it says."""
    if format_name == "WEBP":  # read as a whole, hence always at the end
        stream.seek(4)
        declared = int.from_bytes(stream.read(4), "little") + 8
        return stream.seek(0, os.SEEK_END) < declared
    return format_name not in ("AVIF", "HEIF") and not stream.closed and not stream.read(1)


@contextlib.contextmanager
def _explained(name: str, what: str, stream: io.BufferedIOBase | None = None, format_name: str = "") -> Iterator[None]:
    """Turns what a decoder raises on bad bytes into an `ImageError`; the stream is given while the header is read."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large for Pillow, whatever the limit given here: {str(error).rstrip('.')}.",
            "Save it smaller, or as PNG or JPEG.",
            "too many pixels",
        ) from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory.", "Make it smaller.", "unreadable") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, KeyError... on hostile bytes
        short = isinstance(error, EOFError) or "truncated" in str(error).lower()
        short = short or (stream is not None and _runs_out(stream, format_name))
        reason: Reason = "truncated" if short else "corrupt"
        verdict = "is cut short" if short else "is damaged"
        detail = str(error).strip().rstrip(".") or type(error).__name__
        raise ImageError(
            f"{name} {verdict}: {what} ({detail}).", "Copy or download it again, or leave it out.", reason
        ) from error


def _check_size(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width * height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}).", "Leave it out.", "corrupt")
    _check_limit(size, max_pixels, name, "Save it smaller, or raise the limit (--max-pixels, max_pixels).")


def _check_limit(size: tuple[int, int], max_pixels: int, name: str, cure: str) -> None:
    width, height = size
    pixels = width * height
    if pixels > max_pixels:
        raise ImageError(
            f"{name} has {width:,} x {height:,} = {pixels:,} pixels, {3 * pixels / 1e6:,.0f} MB once decoded; "
            f"the limit is {max_pixels:,} pixels.",
            cure,
            "too many pixels",
        )
