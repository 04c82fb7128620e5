"""A query, and the results of a search."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deixis.apps.common.concepts import concept_names
from deixis.apps.search.calibration import HARDLY
from deixis.errors import DeixisError
from deixis.indexing.compose import MINUS, check_mixing, compose
from deixis.types.html import html_lines, html_table

if TYPE_CHECKING:
    from deixis.inputs.images import ImageSource

__all__ = ["Query", "SearchHit", "SearchResults", "require_answers"]


@dataclasses.dataclass(frozen=True)
class Query:
    """A query.

    Attributes:
        texts: words; several are one query, their mean direction.
        images: pictures, likewise: paths, file contents (bytes) or Pillow images.
        minus_texts: words whose direction is taken away.
        minus_images: pictures likewise.
        mix: where both are given, 0: texts only, 1: pictures only.
        how: of mixing, see `indexing.compose`.
        minus_weight: how much weighs what is taken away.
        weights: of the texts, then of the images; equal where none are given. They say how several words share their
            side, and several pictures theirs; `mix` says how the sides share.
    """

    texts: tuple[str, ...] = ()
    images: tuple[ImageSource, ...] = ()
    minus_texts: tuple[str, ...] = ()
    minus_images: tuple[ImageSource, ...] = ()
    mix: float = 0.5
    how: str = "sphere"
    minus_weight: float = MINUS
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_mixing(self.mix, self.how, self.minus_weight)
        if self.weights and len(self.weights) != len(self.texts) + len(self.images):
            raise DeixisError(
                f"{len(self.weights)} weights were given for {len(self.texts)} texts and {len(self.images)} pictures.",
                "Give one for each, texts first.",
            )
        for text in (*self.texts, *self.minus_texts):
            if not text.strip():
                raise DeixisError("The query is empty.", "Give some words, or a picture.")
        if not self.texts and not self.images:
            compose(None, None, np.ones(1) if self.minus_texts or self.minus_images else None)

    @property
    def plain(self) -> bool:
        """Whether it is one text and nothing else: for such, the relevance of answers is measured. A text with a
        concept is more than words."""
        alone = len(self.texts) == 1 and not (self.images or self.minus_texts or self.minus_images)
        return alone and not concept_names(self.texts[0])

    @property
    def words_only(self) -> bool:
        """Whether the text side of a model is enough to ask."""
        return not self.images and not self.minus_images


class SearchHit(NamedTuple):
    """One answer.

    Attributes:
        score: the cosine similarity with the query.
        item: what was indexed: `id`, `path`, `captions`, `label` and further columns.
        row: its row in the index, as long as that is open.
        relevance: the chance that this matches the query, measured on held-out searches; None where none were.
    """

    score: float
    item: dict[str, Any]
    row: int
    relevance: float | None = None


@dataclasses.dataclass(frozen=True)
class SearchResults:
    """What a search found; a sequence of `found`.

    Attributes:
        found: best first.
        nothing: whether, by what was measured on held-out searches, the collection holds nothing that matches; the
            nearest are in `found` all the same.
        sentence: how sure the first is, or that nothing matches, for a person; empty where nothing was measured.
        total: rows that could have been found, after filters.
    """

    found: list[SearchHit]
    nothing: bool
    sentence: str
    total: int

    @property
    def likely(self) -> int:
        """How many of `found`, from the first, are not folded away: those at least 1 in 20 likely, where that was
        measured; all of them where none is, as they are then the nearest."""
        count = sum(each.relevance is None or each.relevance >= HARDLY for each in self.found)
        return count if count and not self.nothing else len(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def without(self, rows: frozenset[int], k: int) -> SearchResults:
        """The first k that are none of some rows, which count as if they were not there."""
        if not rows:
            return dataclasses.replace(self, found=self.found[:k])
        others = [each for each in self.found if each.row not in rows]
        gone = sum(each.row in rows for each in self.found)
        return dataclasses.replace(self, found=others[:k], total=self.total - gone)

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.found)

    def __getitem__(self, place: int) -> SearchHit:
        return self.found[place]

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            (
                f"{each.score:.3f}" if each.relevance is None else f"{each.score:.3f} ({each.relevance:.0%} relevant)",
                str(each.item.get("path", each.item.get("id", ""))),
                str(each.item.get("label") or " | ".join(each.item.get("captions") or ())),
            )
            for each in self.found
        ]

    def __repr__(self) -> str:
        lines = [f"SearchResults: {len(self.found)} of {self.total}"]
        lines += [self.sentence] * bool(self.sentence)
        lines += ["  ".join(filter(None, (f"{number}.", *row))) for number, row in enumerate(self._rows(), 1)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from deixis.apps.common.find_picture import find_picture
        from deixis.apps.report.thumbnails import Thumbnails

        thumbnails, pictures = Thumbnails(side=96), []
        for each in self.found:
            picture = find_picture(str(each.item.get("path", "")))
            pictures.append("" if picture is None else thumbnails[picture].address)
        head = ("similarity", "picture", "captions or label")
        return html_lines(f"{len(self.found)} of {self.total} results", self.sentence) + html_table(
            head, self._rows(), pictures
        )


def require_answers(k: int, min_relevance: float = 0.0) -> None:
    """Refuses numbers that make no sense.

    Raises:
        DeixisError: k below 1, or a chance that is none.
    """
    if k < 1:
        raise DeixisError(f"{k} results were requested.", "Request at least 1 (--k).")
    if not 0 <= min_relevance <= 1:
        raise DeixisError(f"A relevance of {min_relevance} was requested.", "Give a probability from 0 to 1.")
