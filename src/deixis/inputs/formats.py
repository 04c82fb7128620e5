"""Which image formats are opened, by which Pillow plugin, and what a file that is none of them looks like."""

from __future__ import annotations

import codecs
import importlib
import io
from typing import Any, NamedTuple

from PIL import Image

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "Foreign",
    "Format",
    "describe_foreign",
    "icon_size",
    "is_heif",
    "is_text",
    "plugin",
]


class Format(NamedTuple):
    """A format: the module of its Pillow plugin (empty for HEIF, which another package reads) and its suffixes."""

    module: str
    suffixes: tuple[str, ...]


FORMATS: dict[str, Format] = {
    "JPEG": Format("JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    "PNG": Format("PngImagePlugin", (".png", ".apng")),
    "WEBP": Format("WebPImagePlugin", (".webp",)),
    "GIF": Format("GifImagePlugin", (".gif",)),
    "AVIF": Format("AvifImagePlugin", (".avif", ".avifs")),
    "HEIF": Format("", (".heic", ".heif", ".hif")),
    "TIFF": Format("TiffImagePlugin", (".tif", ".tiff")),
    "BMP": Format("BmpImagePlugin", (".bmp", ".dib")),
    "JPEG2000": Format("Jpeg2KImagePlugin", (".jp2", ".j2k", ".j2c", ".jpx", ".jpf")),
    "PPM": Format("PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm")),
    "ICO": Format("IcoImagePlugin", (".ico",)),
    "QOI": Format("QoiImagePlugin", (".qoi",)),
}

IMAGE_SUFFIXES: frozenset[str] = frozenset(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
"""Lower case, with the dot: under these, images are looked for. What a file holds is told by its bytes alone."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


class Foreign(NamedTuple):
    """What a file that is not opened turned out to be: a noun phrase, whether it is a picture at all, and the cure."""

    noun: str
    picture: bool
    cure: str


CONVERT = "Save it as PNG or JPEG."
LEAVE_OUT = "Leave it out, or put the real image in its place."

SIGNATURES: tuple[tuple[bytes, Foreign], ...] = (
    (b"8BPS", Foreign("a Photoshop document", True, CONVERT)),
    (b"%PDF", Foreign("a PDF document", True, "Save its pages as PNG or JPEG.")),
    (b"%!PS", Foreign("a PostScript document", True, CONVERT)),
    (b"\xff\x0a", Foreign("a JPEG XL image", True, CONVERT)),
    (b"\x00\x00\x00\x0cJXL ", Foreign("a JPEG XL image", True, CONVERT)),
    (b"PK\x03\x04", Foreign("a zip archive or an office document", False, "Unpack it first.")),
    (b"\x1f\x8b", Foreign("a gzip archive", False, "Unpack it first.")),
    (b"\x1aE\xdf\xa3", Foreign("a video", False, "Save a frame of it as PNG or JPEG.")),
    (b"version https://git-lfs", Foreign("a git-lfs pointer", False, "Fetch the real file with: git lfs pull")),
)


def plugin(name: str) -> tuple[Any, Any]:
    """Pillow's (factory, accept) of a format of `FORMATS`, its module imported when first asked for."""
    importlib.import_module(f"PIL.{FORMATS[name].module}")
    return Image.OPEN[name]


def icon_size(stream: io.BufferedIOBase) -> tuple[int, int]:
    """Width and height of the largest picture in an ICO file, as the pictures' own headers tell; 0 and 0 without any.

    The file's directory says at most 256 x 256, whatever they hold, and Pillow decodes the first of them on opening.
    """
    stream.seek(4)
    count = int.from_bytes(stream.read(2), "little")
    directory = stream.read(16 * count)
    sizes = [(0, 0)]
    for start in range(12, len(directory) - 3, 16):
        stream.seek(int.from_bytes(directory[start : start + 4], "little"))
        head = stream.read(24)
        if head.startswith(b"\x89PNG"):
            sizes.append((int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")))
        else:  # a bitmap, whose height counts the rows of its mask, too, and may be negative
            height = int.from_bytes(head[8:12], "little", signed=True)
            sizes.append((int.from_bytes(head[4:8], "little"), abs(height) // 2))
    return max(sizes, key=lambda size: size[0] * size[1])


def is_heif(head: bytes) -> bool:
    """Whether a file that starts with `head` (64 bytes or more) is HEIF other than AVIF."""
    brands = [head[start : start + 4] for start in (8, *range(16, 64, 4))]
    return head[4:8] == b"ftyp" and b"avif" not in brands and any(brand in HEIF_BRANDS for brand in brands)


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8 text without control characters; the last letter may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter.isspace() for letter in text)


def describe_foreign(head: bytes) -> Foreign:
    """What a file is that starts with `head` and is in none of `FORMATS`, as far as its first bytes tell."""
    for signature, foreign in SIGNATURES:
        if head.startswith(signature):
            return foreign
    if head[4:8] == b"ftyp":
        return Foreign("a video", False, "Save a frame of it as PNG or JPEG.")
    lowered = head.lower()
    if b"<svg" in lowered:
        return Foreign("an SVG drawing", True, CONVERT)
    if b"<html" in lowered or b"<!doctype html" in lowered:
        return Foreign("a web page, perhaps a download that failed", False, "Download the image again.")
    if is_text(head):
        return Foreign("text", False, LEAVE_OUT)
    return Foreign("in a format that is not known here", False, LEAVE_OUT)
