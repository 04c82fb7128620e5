"""Settings of `deixis search`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from deixis.apps.common.options import ComputeSettings

__all__ = ["SearchSettings"]


@dataclasses.dataclass(frozen=True)
class SearchSettings(ComputeSettings):
    """The parts of a query beside its text, and how they are combined.

    Attributes:
        k: number of results.
        image: paths of pictures to combine with the text.
        about: respect in which pictures are compared, such as colour: a column of the index whose values are words, or
            any name where --values are given.
        values: that this respect may have, in words, instead of those of the column; with spaces or commas between.
        language: of the query's words, where it is not the model's; its dictionary comes by `deixis data get
            language-de` (or es, fr, it, nl), which also trains a text tower on it.
        language_by: who reads such words: the dictionary, the trained tower, or both; `auto`: who did best on held-out
            names when the tower was trained.
        minus: texts or paths of pictures to subtract from the query.
        mix: weight of pictures against text, from 0 (text only) to 1 (pictures only).
        how: how embeddings are combined: `sphere` interpolates directions (slerp), `sum` adds them.
        minus_weight: weight of --minus, relative to 1 for the rest of the query.
        weights: a weight for each text, then for each picture; by default equal.
        where: conditions on columns, such as label=bird or year>=2020; all must hold.
        min_relevance: leave out results whose probability of being relevant is lower than this, from 0 to 1.
        all: also list results that hardly match: those with a probability below 1 in 20.
        near: instead of searching, list pairs of pictures with at least this cosine similarity; `auto`: the one from
            which on at most 1 in 100 reported pairs is no copy, as measured on altered copies of the pictures.
        says: instead of searching by meaning, list pictures in which these words were read (`deixis index --read`);
            case and one wrong letter are forgiven.
        rerank: run whose model reads picture and words together (`match`): the first 50 results are scored again by it.
        boxes: folder to write the results to, with boxes around what the text names; needs the detector.
        json: print the results as one JSON object.
    """

    k: int = 10
    image: tuple[str, ...] = ()
    about: str | None = None
    values: tuple[str, ...] = ()
    language: str = ""
    language_by: Literal["auto", "dictionary", "tower", "both"] = "auto"
    minus: tuple[str, ...] = ()
    mix: float = 0.5
    how: Literal["sphere", "sum"] = "sphere"
    minus_weight: float = 0.5
    weights: tuple[float, ...] = ()
    where: tuple[str, ...] = ()
    min_relevance: float = 0.0
    all: bool = False
    near: float | Literal["auto"] | None = None
    says: str = ""
    rerank: str = ""
    boxes: str = ""
    json: bool = False
