"""What an image file says of itself: caption, title, keywords and date in its XMP, IPTC or EXIF.

Where several say something, XMP is believed before IPTC and IPTC before EXIF, as the Metadata Working Group advises.
Only the header is read, no pixel is decoded, and what is broken counts as absent.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast
from xml.etree import ElementTree

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from deixis.inputs.opening import ImageError, ImageSource, opened

__all__ = ["FIELDS", "Metadata", "metadata"]

FIELDS = ("title", "caption", "keywords", "date")
"""What is read, and the names of the columns that it becomes."""

_LONGEST, _MOST = 10_000, 200
_HEAD = 1 << 16
_MARKS = (b"Exif\0\0", b"eXIf", b"http://ns.adobe.com/xap", b"Photoshop 3.0", b"adobe.xmp", b"Raw profile type")
_PACKET = 1 << 20  # bytes of XMP
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DATE = re.compile(r"(\d{4})(?:[-:](\d\d)(?:[-:](\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?)?)?")
_XMP_DATES = ("DateTimeOriginal", "DateCreated", "CreateDate")
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9E
_OF_CAMERAS = re.compile(
    r"(olympus|(konica )?minolta|samsung|kodak|sony|nikon|pentax|vivitar)?\s*(digital camera|dsc|camera pictures?)"
    r"|exif_jpeg|\.?dcim\W.*|untitled|default|image",
    re.IGNORECASE,
)


class Metadata(NamedTuple):
    """What a file says of itself; empty where it says nothing.

    Attributes:
        title: its title or headline.
        caption: what it shows, in words.
        keywords: each by itself.
        date: when it was taken or made: `2024-05-01 10:22:33`, or as much of that as is known.
        broken: what could not be read and why.
    """

    title: str = ""
    caption: str = ""
    keywords: tuple[str, ...] = ()
    date: str = ""
    broken: str = ""

    def columns(self) -> dict[str, Any]:
        """The fields that say something, by their names in `FIELDS`."""
        values = {"title": self.title, "caption": self.caption, "keywords": list(self.keywords), "date": self.date}
        return {name: value for name, value in values.items() if value}


def metadata(source: ImageSource) -> Metadata:
    """Reads what an image file says of itself; a file that can't be opened says nothing.

    Args:
        source: as for `images.load_image`.
    """
    if isinstance(source, Path) and _is_silent(source):
        return Metadata()
    try:
        with opened(source, max_pixels=None) as picture:
            xmp, broken = _xmp(picture)
            parts = [xmp, _guarded(_iptc, picture), _guarded(_exif, picture)]
    except (ImageError, OSError):
        return Metadata()
    first: dict[str, Any] = {}
    for part in parts:
        first = {**{name: value for name, value in part.columns().items() if value}, **first}
    return Metadata(**{**first, "keywords": tuple(first.get("keywords", ())), "broken": broken})


def _is_silent(path: Path) -> bool:
    """Whether the start of a JPEG or PNG, where such things stand, holds no mark of any: most files, told in a tenth of
    the time."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return True
    return head.startswith((b"\xff\xd8", b"\x89PNG")) and not any(mark in head for mark in _MARKS)


def _guarded(read: Callable[[Image.Image], Metadata], picture: Image.Image) -> Metadata:
    try:
        return read(picture)
    except Exception:  # each is a small file system of its own, broken in as many ways
        return Metadata()


# XMP


def _xmp(picture: Image.Image) -> tuple[Metadata, str]:
    """What the XMP says, or why it can't be read. It is a text of others: entities are never expanded."""
    packet = _packet(picture)
    if not packet:
        return Metadata(), ""
    if len(packet) > _PACKET or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return Metadata(), f"its XMP has {len(packet):,} bytes or declares entities"
    try:
        tree = ElementTree.fromstring(packet)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        return Metadata(), f"its XMP is no XML: {error}"
    dates = (text for name in _XMP_DATES for text in _values(tree, name))
    return Metadata(
        title=next(_values(tree, "title"), "") or next(_values(tree, "Headline"), ""),
        caption=next(_values(tree, "description"), ""),
        keywords=_distinct(_values(tree, "subject")),
        date=next(filter(None, map(_date, dates)), ""),
    ), ""


def _packet(picture: Image.Image) -> bytes:
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    if not packet and picture.format == "TIFF":
        packet = picture.tag_v2.get(700, b"")  # type: ignore[attr-defined]
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else bytes(packet)
    return data.strip(b"\0 \r\n\t")


def _values(tree: ElementTree.Element, name: str) -> Iterator[str]:
    """What stands under a name, as an attribute, as text or as a list, whatever its prefix; the default language
    first."""
    for node in tree.iter():
        if node.tag == f"{_RDF}Description":
            yield from (_clean(value) for key, value in node.attrib.items() if key.rpartition("}")[2] == name)
        if str(node.tag).rpartition("}")[2] == name:
            items = sorted(node.iter(f"{_RDF}li"), key=lambda item: "x-default" not in item.attrib.values())
            yield from filter(None, (_clean(each.text) for each in items or [node]))


# IPTC and EXIF


def _iptc(picture: Image.Image) -> Metadata:
    found = IptcImagePlugin.getiptcinfo(cast(ImageFile.ImageFile, picture)) or {}
    utf8 = found.get((1, 90)) == b"\x1b%G"

    def texts(number: int) -> list[str]:
        values = found.get((2, number), [])
        return [_decoded(each, utf8) for each in (values if isinstance(values, list) else [values])]

    day, hour = next(iter(texts(55)), ""), next(iter(texts(60)), "")
    when = f"{day[:4]}-{day[4:6]}-{day[6:8]}" + (f" {hour[:2]}:{hour[2:4]}:{hour[4:6]}" if hour[:6].isdigit() else "")
    return Metadata(
        title=next(filter(None, [*texts(5), *texts(105)]), ""),
        caption=next(filter(None, texts(120)), ""),
        keywords=_distinct(iter(texts(25))),
        date=_date(when) if day else "",
    )


def _decoded(data: bytes, utf8: bool) -> str:
    """IPTC text, which seldom says how it is written."""
    with contextlib.suppress(UnicodeDecodeError):
        return _clean(data.decode("utf-8"))
    return _clean(data.decode("utf-8" if utf8 else "cp1252", "replace"))


def _exif(picture: Image.Image) -> Metadata:
    if picture.format == "PNG" and "exif" not in picture.info:
        return Metadata()  # Pillow would decode it to look for EXIF behind its pixels
    exif = picture.getexif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    described = _clean(exif.get(ExifTags.Base.ImageDescription))
    dates = (inner.get(ExifTags.Base.DateTimeOriginal), inner.get(ExifTags.Base.DateTimeDigitized))
    return Metadata(
        title=_wide(exif.get(_XP_TITLE)),
        caption=_wide(exif.get(_XP_COMMENT)) or ("" if _OF_CAMERAS.fullmatch(described) else described),
        keywords=_distinct(iter(_wide(exif.get(_XP_KEYWORDS)).split(";"))),
        date=next(filter(None, (_date(str(each)) for each in dates if each)), ""),
    )


def _wide(value: Any) -> str:
    return _clean(bytes(value).decode("utf-16-le", "replace")) if isinstance(value, bytes | tuple) else ""


def _date(text: str) -> str:
    """A date as it is compared: `2024-05-01 10:22:33`, or the part of it that is there; empty where it is none."""
    match = _DATE.match(text.strip())
    if match is None or match[1] == "0000" or "00" in (match[2], match[3]):
        return ""
    year, month, day, hour, minute, second = match.groups()
    date = "-".join(filter(None, (year, month, day)))
    return f"{date} {hour}:{minute}:{second or '00'}" if hour else date


def _clean(value: Any) -> str:
    """A text in one line, without control characters, bounded."""
    if not isinstance(value, str):
        return ""
    words = " ".join(value.replace("\0", " ").split())
    return "".join(letter for letter in words if letter.isprintable())[:_LONGEST]


def _distinct(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(_clean, texts))))[:_MOST]
