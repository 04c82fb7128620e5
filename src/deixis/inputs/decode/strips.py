"""Very large pictures made smaller while they are decoded, a band of rows at a time, so that they are never in memory
as a whole: TIFF in strips or tiles, and PNG of 8 bits.

A strip or tile of a TIFF is decoded as a small TIFF of its own. The rows of a PNG hang on the row before, so each band
is decoded as a small PNG that begins with the last row of the band before.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

from deixis.inputs.decode.upright import to_rgb

__all__ = ["TARGET", "factor_of", "reduced"]

TARGET = 25_000_000
"""Pixels that a very large picture is reduced to, where nobody says how small it may be."""

_BAND = 16_000_000  # bytes of a band, about
_STRIP = 128_000_000  # bytes of a strip that is decoded at once
_KEPT = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 338, 339, 347, 530, 532)
_WIDTH, _HEIGHT, _ROWS, _OFFSETS, _COUNTS = 256, 257, 278, 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_COMPRESSION, _SAMPLES, _BITS, _PLANAR = 259, 277, 258, 284
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def factor_of(size: tuple[int, int], smallest: int | None) -> int:
    """By what a very large picture is reduced.

    Args:
        size: of the picture.
        smallest: pixels that its shorter side must keep; None: some `TARGET` pixels are kept.
    """
    if smallest is None:
        return max(1, math.ceil(math.sqrt(size[0] * size[1] / TARGET)))
    return max(1, min(size) // smallest)


def reduced(picture: Image.Image, factor: int) -> Image.Image | None:
    """A picture, not decoded yet, made smaller by a whole factor (each pixel the mean of a square) as it is stored.

    Args:
        picture: opened by Pillow from a stream.
        factor: 1 or more.

    Returns:
        In mode RGB; None where it can only be decoded as a whole.
    """
    read = {"TIFF": _tiff_bands, "PNG": _png_bands}.get(picture.format or "")
    bands = None if read is None else read(picture)
    if bands is None:
        return None
    width, height = _stored(picture)
    small = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor)))
    waiting: list[Image.Image] = []
    top = tall = 0
    for band in bands:
        waiting.append(band)
        tall += band.height
        done = top * factor + tall >= height
        rows = tall if done else tall // factor * factor
        if rows:
            joined = waiting[0] if len(waiting) == 1 else _stacked(waiting)
            small.paste(joined.crop((0, 0, width, rows)).reduce(factor), (0, top))
            top += math.ceil(rows / factor)
            waiting = [joined.crop((0, rows, width, tall))] if rows < tall else []
            tall -= rows
    return small


def _stored(picture: Any) -> tuple[int, int]:
    """Width and height before any turn."""
    if picture.format == "TIFF":
        return int(picture.tag_v2[_WIDTH]), int(picture.tag_v2[_HEIGHT])
    return picture.size


def _stacked(bands: list[Image.Image]) -> Image.Image:
    joined = Image.new("RGB", (bands[0].width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        joined.paste(band, (0, top))
        top += band.height
    return joined


# TIFF


def _tiff_bands(picture: Any) -> Iterator[Image.Image] | None:
    tags = picture.tag_v2
    deep = picture.mode in ("I", "F")  # whose white is known only once all values are
    if deep or tags.get(_PLANAR, 1) != 1:
        return None
    if _TILE_OFFSETS in tags:
        return _tiled(picture, tags)
    width, height = _stored(picture)
    rows = min(int(tags.get(_ROWS, height)), height)
    if tags.get(_COMPRESSION, 1) == 1:
        return _plain(picture, tags, rows)
    return _stripped(picture, tags, rows) if rows * width * 4 < _STRIP else None


def _tuple(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _stripped(picture: Any, tags: Any, rows: int) -> Iterator[Image.Image]:
    (width, height), top = _stored(picture), 0
    for offset, count in zip(_tuple(tags[_OFFSETS]), _tuple(tags[_COUNTS]), strict=True):
        tall = min(rows, height - top)
        yield _piece(picture, tags, offset, count, (width, tall))
        top += tall


def _plain(picture: Any, tags: Any, rows: int) -> Iterator[Image.Image]:
    """Strips that are not compressed, cut where they are long."""
    width, height = _stored(picture)
    stride = math.ceil(width * sum(_tuple(tags.get(_BITS, 1))) / 8)
    if len(_tuple(tags.get(_BITS, 1))) == 1:
        stride = math.ceil(width * int(_tuple(tags.get(_BITS, 1))[0]) * int(tags.get(_SAMPLES, 1)) / 8)
    some = max(1, _BAND // stride)
    top = 0
    for offset in _tuple(tags[_OFFSETS]):
        tall = min(rows, height - top)
        for start in range(0, tall, some):
            part = min(some, tall - start)
            yield _piece(picture, tags, offset + start * stride, part * stride, (width, part))
        top += tall


def _tiled(picture: Any, tags: Any) -> Iterator[Image.Image]:
    width, height = _stored(picture)
    wide, tall = int(tags[_TILE_WIDTH]), int(tags[_TILE_HEIGHT])
    across = math.ceil(width / wide)
    pieces = list(zip(_tuple(tags[_TILE_OFFSETS]), _tuple(tags[_TILE_COUNTS]), strict=True))
    for row, top in enumerate(range(0, height, tall)):
        band = Image.new("RGB", (width, min(tall, height - top)))
        for column, (offset, count) in enumerate(pieces[row * across : (row + 1) * across]):
            band.paste(_piece(picture, tags, offset, count, (wide, tall)), (column * wide, 0))
        yield band


def _piece(picture: Any, tags: Any, offset: int, count: int, size: tuple[int, int]) -> Image.Image:
    """A strip or tile, decoded as a TIFF of its own."""
    picture.fp.seek(offset)
    data = picture.fp.read(count)
    own = TiffImagePlugin.ImageFileDirectory_v2(prefix=tags.prefix)
    for tag in _KEPT:
        if tag in tags:
            own.tagtype[tag] = tags.tagtype[tag]
            own[tag] = tags[tag]
    own[_WIDTH], own[_HEIGHT], own[_ROWS], own[_OFFSETS], own[_COUNTS] = *size, size[1], 0, len(data)
    memory = io.BytesIO()
    own.save(memory)
    memory.write(data)
    memory.seek(0)
    with TiffImagePlugin.TiffImageFile(memory) as piece:
        piece.load()
        return to_rgb(piece)


# PNG


def _png_bands(picture: Any) -> Iterator[Image.Image] | None:
    """Bands of a PNG of 8 bits whose rows come in order; None for all others."""
    picture.fp.seek(len(_PNG) + 8)
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", picture.fp.read(13))
    keyed = kind in (0, 2) and "transparency" in picture.info
    if bits != 8 or interlaced or keyed or kind not in _PNG_MODES:
        return None
    mode = _PNG_MODES[kind]
    return _png_rows(picture, mode, (width, height), len(Image.new(mode, (1, 1)).tobytes()))


def _png_rows(picture: Any, mode: str, size: tuple[int, int], pixel: int) -> Iterator[Image.Image]:
    width, height = size
    stride = width * pixel + 1  # a byte says how the row was filtered
    band = max(1, _BAND // stride)
    before, held, done = bytes(stride - 1), b"", 0
    for data in _inflated(picture.fp, band * stride):
        held += data
        rows = min(len(held) // stride, height - done)
        if not rows:
            continue
        image = _png(b"\0" + before + held[: rows * stride], mode, (width, rows + 1), pixel)
        held, done = held[rows * stride :], done + rows
        before = image.crop((0, rows, width, rows + 1)).tobytes()
        yield _coloured(image.crop((0, 1, width, rows + 1)), mode, picture)
    if done < height:
        raise EOFError(f"{done} of {height} rows, truncated")


def _png(rows: bytes, mode: str, size: tuple[int, int], pixel: int) -> Image.Image:
    """Filtered rows as a picture, by Pillow; those of a palette as numbers."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[pixel]
    header = struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    with PngImagePlugin.PngImageFile(io.BytesIO(_PNG + b"".join(parts))) as image:
        image.load()
        return image.copy()


def _coloured(image: Image.Image, mode: str, picture: Image.Image) -> Image.Image:
    if mode == "P":
        named = Image.frombytes("P", image.size, image.tobytes())
        named.putpalette(picture.palette.getdata()[1], picture.palette.mode)  # type: ignore[union-attr]
        named.info = {key: value for key, value in picture.info.items() if key == "transparency"}
        return to_rgb(named)
    return to_rgb(image)


def _inflated(stream: Any, most: int) -> Iterator[bytes]:
    """What the IDAT chunks of a PNG hold, in parts."""
    inflate = zlib.decompressobj()
    stream.seek(len(_PNG))
    while len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name != b"IDAT":
            stream.seek(length + 4, io.SEEK_CUR)
            if name == b"IEND":
                return
            continue
        left = length
        while left:
            data = stream.read(min(left, 1 << 20))
            if not data:
                return
            left -= len(data)
            while data:
                yield inflate.decompress(data, most)
                data = inflate.unconsumed_tail
        stream.seek(4, io.SEEK_CUR)
