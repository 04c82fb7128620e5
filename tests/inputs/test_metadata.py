"""What image files say of themselves is read in every form they say it in, and what is broken is no captions."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from deixis.inputs.metadata import Metadata, metadata

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:DateCreated="2021-07-04T12:30:00+02:00">
<dc:title><rdf:Alt>
<rdf:li xml:lang="de">Hafen</rdf:li><rdf:li xml:lang="x-default">Harbour</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt>
<rdf:li xml:lang="x-default">Boats in a harbour &amp; a gull</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>gull</rdf:li><rdf:li>boat</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
OF_XMP = Metadata("Harbour", "Boats in a harbour & a gull", ("boat", "gull"), "2021-07-04 12:30:00")


def picture(path: Path, **how: Any) -> Path:
    Image.new("RGB", (16, 12), "teal").save(path, **how)
    return path


def iptc(*records: tuple[int, bytes], utf8: bool = False) -> bytes:
    """An application segment of a JPEG, as Photoshop writes it."""
    head = b"\x1c\x01\x5a\x00\x03\x1b%G" if utf8 else b""
    data = head + b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in records)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)
    body = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def with_iptc(path: Path, segment: bytes) -> Path:
    memory = io.BytesIO()
    Image.new("RGB", (16, 12)).save(memory, "JPEG")
    data = memory.getvalue()
    path.write_bytes(data[:2] + segment + data[2:])
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_xmp_is_read_in_every_format_that_carries_it(tmp_path: Path, suffix: str) -> None:
    how: dict[str, Any] = {"xmp": XMP.encode()}
    if suffix == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP)
        how = {"pnginfo": info}
    if suffix == "tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = XMP.encode()
        how = {"tiffinfo": tags}
    assert metadata(picture(tmp_path / f"a.{suffix}", **how)) == OF_XMP


def test_exif_is_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "A gull on a pole"
    exif[0x9C9B] = "Gull\0".encode("utf-16-le")
    exif[0x9C9E] = "bird; sea ;bird".encode("utf-16-le")
    exif.get_ifd(0x8769)[0x9003] = "2019:12:24 18:05:59"
    expected = Metadata("Gull", "A gull on a pole", ("bird", "sea"), "2019-12-24 18:05:59")
    assert metadata(picture(tmp_path / "a.jpg", exif=exif)) == expected
    assert metadata(picture(tmp_path / "a.png", exif=exif)) == expected


def test_iptc_is_read_whether_or_not_it_says_how_it_is_written(tmp_path: Path) -> None:
    records = [(5, "Möwe"), (120, "Eine Möwe"), (25, "Vögel"), (25, "Meer"), (55, "20180301"), (60, "081500+0100")]
    expected = Metadata("Möwe", "Eine Möwe", ("Vögel", "Meer"), "2018-03-01 08:15:00")
    for encoding, utf8 in (("utf-8", True), ("utf-8", False), ("cp1252", False)):
        segment = iptc(*((number, text.encode(encoding)) for number, text in records), utf8=utf8)
        assert metadata(with_iptc(tmp_path / "a.jpg", segment)) == expected


def test_xmp_is_believed_before_iptc_and_iptc_before_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "of EXIF"
    exif[0x9C9B] = "title of EXIF".encode("utf-16-le")
    exif.get_ifd(0x8769)[0x9003] = "2001:01:01 00:00:00"
    path = picture(tmp_path / "a.jpg", exif=exif, xmp=XMP.encode())
    assert metadata(path) == OF_XMP
    path = picture(tmp_path / "b.jpg", exif=exif)
    data = path.read_bytes()
    path.write_bytes(data[:2] + iptc((120, b"of IPTC")) + data[2:])
    assert metadata(path) == Metadata("title of EXIF", "of IPTC", (), "2001-01-01 00:00:00")


@pytest.mark.parametrize("name", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "DCIM\\100MEDIA\\DJI_1.JPG", "untitled", "   "])
def test_what_a_camera_writes_into_every_picture_is_no_caption(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = name
    assert metadata(picture(tmp_path / "a.jpg", exif=exif)).caption == ""


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"this is no xml at all", "no XML"),
        (b"<x:xmpmeta><open></x:xmpmeta>", "no XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares entities"),
        (b"<a>" + b"x" * 2**20 + b"</a>", "1,048,583 bytes"),
    ],
)
def test_xmp_that_is_no_xml_says_so_and_the_rest_is_read(tmp_path: Path, packet: bytes, said: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "A gull"
    path = tmp_path / "a.webp"
    Image.new("RGB", (8, 8)).save(path, exif=exif, xmp=packet)
    found = metadata(path)
    assert found.caption == "A gull"
    assert said in found.broken


def test_broken_exif_and_files_that_are_no_images_say_nothing(tmp_path: Path) -> None:
    assert metadata(picture(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")) == Metadata()
    (tmp_path / "b.jpg").write_bytes(b"Exif\0\0 no picture")
    assert metadata(tmp_path / "b.jpg") == metadata(tmp_path / "none.jpg") == Metadata()
    assert metadata(with_iptc(tmp_path / "c.jpg", iptc((55, b"00000000"), (120, b"\0\0")))) == Metadata()


def test_a_long_text_is_cut_and_control_characters_are_no_part_of_it(tmp_path: Path) -> None:
    found = metadata(with_iptc(tmp_path / "a.jpg", iptc((120, b"a\0b\x07c\n" + b"d" * 20_000))))
    assert found.caption.startswith("a bc ddd")
    assert len(found.caption) <= 10_000
