"""What notebooks show of results: small pieces of HTML, every text in them escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["html_lines", "html_table", "image_address"]


def html_lines(*lines: str) -> str:
    """Lines of text, the first in bold.

    Args:
        *lines: plain text; empty ones are left out.
    """
    first, *rest = (html.escape(line) for line in lines if line)
    return "".join([f"<div><b>{first}</b></div>", *(f"<div>{line}</div>" for line in rest)])


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], pictures: Sequence[str] = ()) -> str:
    """A table.

    Args:
        head: of the columns.
        rows: of plain text.
        pictures: for a first column, one address (`data:` or empty) a row.
    """
    columns = [""] * bool(pictures) + [html.escape(each) for each in head]
    lines = ["<table><thead><tr>" + "".join(f"<th>{each}</th>" for each in columns) + "</tr></thead><tbody>"]
    for number, row in enumerate(rows):
        cells = [html.escape(each) for each in row]
        if pictures:
            address = html.escape(pictures[number])
            cells.insert(0, f'<img src="{address}" alt="">' if address else "")
        lines.append("<tr>" + "".join(f"<td>{each}</td>" for each in cells) + "</tr>")
    return "".join([*lines, "</tbody></table>"])


def image_address(picture: Image.Image) -> str:
    """A picture as an address (`data:`), as `src` takes it."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
