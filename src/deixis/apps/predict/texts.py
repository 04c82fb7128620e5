"""What a method says of a picture in words: a caption, an answer, what is written in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from PIL import Image

from deixis.apps.explain.overlays import Panel, sheet
from deixis.apps.predict.pictures import PictureView
from deixis.errors import DeixisError

__all__ = ["PictureText", "picture_texts"]


@dataclasses.dataclass(frozen=True)
class PictureText:
    """Words about one picture.

    Attributes:
        path: of the picture, or what it is called.
        picture: small enough to be shown.
        column: what the words are: `caption`, `answer` or `text`.
        texts: the words; one, or one a question.
        questions: of each picture; empty where there were none.
    """

    path: str
    picture: Image.Image
    column: str
    texts: tuple[str, ...]
    questions: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row a text."""
        if not self.questions:
            return [{self.column: text} for text in self.texts]
        return [{"question": q, self.column: text} for q, text in zip(self.questions, self.texts, strict=True)]

    def lines(self) -> list[str]:
        """One line a text."""
        return [" ".join(row.values()) for row in self.rows()]

    def overlay(self) -> Image.Image:
        """The picture with the words below."""
        return sheet([[Panel(self.picture, line) for line in self.lines()]])

    def label_map(self) -> None:
        """Words have none."""


def picture_texts(column: str, texts: Any, shown: Sequence[PictureView]) -> list[PictureText]:
    """A text of each picture, as a capability gives them.

    Args:
        column: what they are.
        texts: what the method gave.
        shown: the pictures.

    Raises:
        DeixisError: they are not one a picture.
    """
    if len(texts) != len(shown):
        raise DeixisError(f"The method gave {len(texts)} texts for {len(shown)} pictures.", "Fix the method.")
    return [PictureText(each.path, each.picture, column, (text,)) for each, text in zip(shown, texts, strict=True)]
