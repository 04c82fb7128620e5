"""Pictures out of SVG, by resvg: it draws the same pixels on every machine, and reads no files and no fonts."""

from __future__ import annotations

import io
import re

from PIL import Image

from deixis.errors import DeixisError

__all__ = ["crop_svg", "is_blank", "render_svg", "require_renderer"]

_OUTSIDE = re.compile(r"""(href\s*=\s*)(["'])\s*(?!#|data:)[^"']*\2""", re.IGNORECASE)
_LOOK = 128  # pixels across, to find where on its page a drawing is
_MOST_ZOOM = 16
_WHITE = 245
_DPI = 96


def require_renderer() -> None:
    """Says, before anything is downloaded, whether SVG can be drawn.

    Raises:
        DeixisError: resvg-py is not installed.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise DeixisError(
            "SVG pictures are drawn with the package resvg-py, which is not installed.",
            "Run: pip install 'deixis[data]'",
        ) from error


def render_svg(svg: str, *, width: int | None = None) -> Image.Image:
    """An SVG document as an RGBA image.

    Text is not drawn, as fonts differ from machine to machine; nor are pictures that lie outside of the document.

    Args:
        svg: the document.
        width: in pixels, the height follows; without it, the document's own size holds.

    Raises:
        DeixisError: resvg-py is not installed.
        ValueError: it cannot be drawn.
    """
    require_renderer()
    import resvg_py

    closed = _OUTSIDE.sub(r"\1\2\2", svg)
    png = resvg_py.svg_to_bytes(svg_string=closed, width=width, skip_system_fonts=True, dpi=_DPI)
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGBA")


def crop_svg(svg: str, side: int) -> Image.Image:
    """An SVG drawing without the empty page around it, as an RGBA image.

    Args:
        svg: the document.
        side: of the longer side, in pixels; it may have a few fewer, and what is tiny on its page has many fewer.

    Raises:
        DeixisError: resvg-py is not installed.
        ValueError: it cannot be drawn, or its page is empty.
    """
    content = render_svg(svg, width=_LOOK).getchannel("A").getbbox()
    if content is None:
        raise ValueError("its page is empty")
    left, top, right, bottom = content
    zoom = min(_MOST_ZOOM, side / max(right - left, bottom - top))
    page = render_svg(svg, width=max(1, round(_LOOK * zoom)))
    drawing = page.crop(page.getchannel("A").getbbox())
    drawing.thumbnail((side, side))
    return drawing


def is_blank(image: Image.Image) -> bool:
    """Whether an image shows nothing on white paper: each pixel is transparent, or white."""
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    darkest = min(low for low, _ in paper.convert("RGB").getextrema())  # type: ignore[misc]
    return bool(darkest > _WHITE)
