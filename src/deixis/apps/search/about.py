"""Pictures that are alike in one respect: as a run has learned it, or in the span of the texts of its values.

For the latter nothing is trained, and neither model nor index is touched. Where the index says which value each picture
has, it is measured how many of the first ten share it, before and after.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch.nn import functional as F

from deixis.apps.common.formatting import counted
from deixis.apps.respects.stored import Respect, nearest_respect, read_respects
from deixis.apps.search.query import Query, SearchHit, SearchResults, require_answers
from deixis.data.aspects import holds_measurements
from deixis.errors import DeixisError
from deixis.ops.similarity.subspaces import span_of
from deixis.ops.stats import t_interval
from deixis.types import ImageStates

if TYPE_CHECKING:
    from deixis.apps.search.searcher import Searcher

__all__ = ["Likeness", "likeness", "search_about"]

_MOST = 200
"""Values of a column; one with more is no respect but a name of each picture."""

_FIRST, _ASKED, _FEW = 10, 500, 20
_LETTERS = 200
"""What is longer names no respect."""


class Likeness(NamedTuple):
    """How many of the first pictures share a value with the one that was asked with.

    Attributes:
        before: by whole vectors.
        after: in the respect.
        low: of the difference, 95 % over pictures.
        high: likewise.
    """

    before: float
    after: float
    low: float
    high: float

    def sentence(self, about: str) -> str:
        """For a person."""
        told = f"Alike in {about}: of the first {_FIRST} pictures {self.after:.1f} share it, before {self.before:.1f}"
        ends = f"[difference {self.low:+.1f} to {self.high:+.1f}]"
        return f"{told} {ends}." if self.low > 0 else f"{told} {ends}: no better than a search without --about."


def search_about(
    searcher: Searcher,
    query: Query,
    vector: Float32[np.ndarray, " D"],
    about: str,
    values: Sequence[str],
    options: tuple[int, Sequence[str]],
    say: Callable[[str], None],
) -> SearchResults:
    """The best answers in one respect; a picture of the query is not among them.

    Args:
        searcher: of an index.
        query: pictures or words.
        vector: what it means.
        about: the respect, such as `colour`: one that the run has learned, or a column of the index, unless values are
            given. Other words mean the nearest that was learned.
        values: that it may have, in words; by default those of the column.
        options: how many answers, and conditions on columns.
        say: receives how much more alike the answers are, where the index says which value pictures have.

    Raises:
        DeixisError: the respect is empty or a page long; there is no such respect or column, or too few or too many
            values.
    """
    k, where = options
    require_answers(k)
    if not about.strip():
        raise DeixisError("The respect is empty.", "Name one: --about colour. Or leave it out to compare in all.")
    index = searcher.index
    rows = index.row_numbers
    direction = torch.from_numpy(np.array(vector, np.float32))
    known = {} if values else read_respects(searcher.run, str(index.manifest["fingerprint"]))
    columns = [str(item.get(about, "") or "").strip() for _, item in index.items()]
    if len(about) > _LETTERS and not any(columns):
        raise DeixisError(
            f"The respect {about[:40]!r}... has {len(about)} letters, and models read the first words of a page.",
            "Name it in a few words: --about colour",
        )
    if known and (about in known or not any(columns)):
        respect = nearest_respect(about, known, searcher.text_encoder.encode_text)
        compared = _learned(searcher, query, respect, direction, say)
        sentence = f"Compared in {respect.name} alone."
        if respect.name.casefold() != about.casefold():
            sentence = f"{about!r} is read as {respect.name}. {sentence}"
    else:
        compared, sentence = _spanned(searcher, about, (values, columns), direction, say)
    near, towards = compared
    scores = (near @ towards).numpy()
    own = {row for each in query.images for row in searcher.own_row(each)}
    mask = index.where(where) if where else None
    order = [place for place in np.argsort(-scores, kind="stable").tolist() if _wanted(int(rows[place]), own, mask)]
    hits = [SearchHit(float(scores[place]), index.item(int(rows[place])), int(rows[place])) for place in order[:k]]
    return SearchResults(hits, not hits, sentence if hits else "Nothing fits the conditions.", len(order))


def _spanned(
    searcher: Searcher,
    about: str,
    given: tuple[Sequence[str], Sequence[str]],
    direction: torch.Tensor,
    say: Callable[[str], None],
) -> tuple[tuple[torch.Tensor, torch.Tensor], str]:
    """Pictures and query in the span of the texts of values, those given or those of the column."""
    values, columns = given
    names = list(dict.fromkeys(values)) or _values(searcher, about, columns)
    if len(names) < 2:
        raise DeixisError(f"{len(names)} value was given for {about!r}.", "Give two or more: --values red,green,blue")
    vectors = torch.from_numpy(np.array(searcher.index.vectors[searcher.index.row_numbers], np.float32))
    projection = span_of(searcher.text_encoder.encode_text(names).float().cpu())
    near = F.normalize(vectors @ projection, dim=1)
    found = likeness(vectors, near, columns)
    if found is not None:
        say(found.sentence(about))
    sentence = f"Compared in {about} alone, among: {', '.join(names[:_FIRST])}{'...' if len(names) > _FIRST else ''}."
    return (near, F.normalize(direction @ projection, dim=0)), sentence


def _learned(
    searcher: Searcher,
    query: Query,
    respect: Respect,
    direction: torch.Tensor,
    say: Callable[[str], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and query in a respect of the run; pictures of a query are read as those of the index were."""
    near = respect.of_index(searcher.index)
    say(respect.sentence)
    unread = int((near.norm(dim=1) == 0).sum())
    if unread:
        were, come = ("was", "comes") if unread == 1 else ("were", "come")
        added = f"{counted(unread, 'picture')} {were} added since it was learned, and {come} last"
        say(f"{added}: learn again with deixis adapt --about.")
    if query.images and not (query.texts or query.minus_texts or query.minus_images):
        encoder = searcher.encoder
        with torch.no_grad():
            states = encoder.image_states(encoder.read_images(list(query.images)))
            states = dataclasses.replace(states, embedding=encoder.adapted(states))
        fields = (getattr(states, field.name).float().cpu() for field in dataclasses.fields(states))
        return near, F.normalize(respect.map(ImageStates(*fields)).mean(0), dim=0)
    towards, value = respect.of_words(direction)
    if value:
        say(f"The query is taken for {value!r}.")
    return near, towards


def _wanted(row: int, own: set[int], mask: Bool[np.ndarray, " N"] | None) -> bool:
    return row not in own and (mask is None or bool(mask[row]))


def _values(searcher: Searcher, about: str, columns: Sequence[str]) -> list[str]:
    """The values of a column."""
    found = sorted(set(columns) - {""})
    if not found:
        there = sorted({name for _, item in searcher.index.items() for name in item})
        close = difflib.get_close_matches(about, there, n=1)
        raise DeixisError(
            f"The index has no column {about!r}" + (f"; did you mean {close[0]!r}?" if close else "."),
            f"Its columns are: {', '.join(there)}. Or give the values: --values red,green,blue",
        )
    if len(found) > _MOST:
        raise DeixisError(
            f"The column {about!r} has {len(found)} different values, and {_MOST} at most tell pictures apart.",
            "Name another, or give the values: --values red,green,blue",
        )
    if holds_measurements(found):
        raise DeixisError(
            f"The column {about!r} holds measured numbers, and what is alike among them has no limit.",
            "Name another, or give words for ranges of them: --values small,medium,large",
        )
    return found


def likeness(
    whole: Float32[torch.Tensor, "N D"], near: Float32[torch.Tensor, "N D"], values: Sequence[str]
) -> Likeness | None:
    """How many of the first ten pictures share a value, by whole vectors and in a respect; None where too few pictures
    have one that they share.

    Args:
        whole: of all pictures.
        near: of the same, in the respect.
        values: that each has; empty where it is not known.
    """
    known = [place for place, value in enumerate(values) if value]
    names = sorted({values[place] for place in known})
    ids = torch.tensor([names.index(values[place]) for place in known], dtype=torch.long)
    shared = ids.bincount(minlength=max(1, len(names)))[ids] > 1 if len(ids) else ids.bool()
    asked = shared.nonzero()[:, 0]
    if len(asked) < _FEW or len(names) < 2:
        return None
    asked = asked[torch.linspace(0, len(asked) - 1, min(_ASKED, len(asked))).round().long()]
    before, after = (_share(F.normalize(each[known], dim=1), ids, asked) for each in (whole, near))
    interval = t_interval((after - before).numpy())
    return Likeness(float(before.mean()), float(after.mean()), interval.low, interval.high)


def _share(
    vectors: Float32[torch.Tensor, "N D"], ids: Int64[torch.Tensor, " N"], asked: Int64[torch.Tensor, " Q"]
) -> Float32[torch.Tensor, " Q"]:
    """Of the first pictures, the asked one left out, how many have its value."""
    scores = vectors[asked] @ vectors.T
    scores[torch.arange(len(asked)), asked] = -torch.inf
    first = scores.topk(min(_FIRST, len(ids) - 1), dim=1).indices
    return (ids[first] == ids[asked][:, None]).float().sum(1)
