"""A run or index folder that is open for searching: by words, by pictures, by both, less what is to be left out.

searcher = Searcher("my-run")
answer = searcher.search(Query(texts=("a red bird",), minus_texts=("a cage",)))
answer.nothing, [(found.relevance, found.item["path"]) for found in answer]
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from deixis.apps.common.concepts import TextReader, encode_texts, reader_of
from deixis.apps.common.loading import load_encoder, reads_text
from deixis.apps.common.runs import opened_index
from deixis.apps.search import calibration as relevance
from deixis.apps.search.query import Query, SearchHit, SearchResults, require_answers
from deixis.engine.evaluation.calibration import Calibration, QueryStats
from deixis.engine.export.text_graph import TextGraph, read_text_graph
from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.indexing.approximate import Approximate
from deixis.indexing.compose import compose, mean
from deixis.indexing.index import Index

if TYPE_CHECKING:
    from deixis.apps.search.token_search import TokenSearch
    from deixis.inputs.images import ImageSource
    from deixis.nn.dual import DualEncoder

__all__ = ["Searcher"]

_SAMPLE = 10_000
CANDIDATES = 100
"""Pictures that embeddings propose where a model compares token by token."""


class Searcher:
    """An open run or index folder. Opening reads no model; that is loaded for the first query that needs it, and only
    its text side for one that holds words alone.

    Threads may share it. The search is exact, but where `deixis index --approximate` has built a graph.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        verify: whether the index is read whole and compared with its checksums.

    Raises:
        DeixisError: no such folder, no index or model in it, or a damaged one.
    """

    def __init__(self, run: str | Path, *, verify: bool = False) -> None:
        self.run = Path(run)
        self.index = opened_index(self.run, verify=verify)
        if not (self.run / "model" / "config.json").is_file():
            raise DeixisError(
                f"{self.run} holds no model that could read the query: no model/config.json.",
                "Give the folder that `deixis adapt` or `deixis index` wrote.",
            )
        self.approximate = Approximate.open(self.index)
        self._lock = threading.Lock()

    @property
    def reads_text(self) -> bool:
        """Whether it can be searched by words; no model is loaded to tell."""
        return reads_text(self.run / "model")

    def require_text(self, texts: Sequence[str]) -> None:
        """Refuses words where the model was trained on images alone.

        Raises:
            DeixisError: there are some, and the model reads none.
        """
        if texts and not self.reads_text:
            from deixis.nn.image_only import words_error  # imports torch

            raise words_error(str(self.run))

    @functools.cached_property
    def encoder(self) -> DualEncoder:
        """The model that made the index, in eval mode."""
        with self._lock:
            if "encoder" in self.__dict__:
                return self.__dict__["encoder"]
            from deixis.nn.compute import current  # imports torch, as all that loads a model does

            encoder = load_encoder(self.run / "model").to(current().device)
            self.index.expect(encoder.fingerprint())
            return encoder

    @functools.cached_property
    def text_encoder(self) -> DualEncoder:
        """What reads words alone: the model, if it is loaded already, else its text side."""
        if "encoder" in self.__dict__ or not self.reads_text:
            return self.encoder
        from deixis.nn.compute import current
        from deixis.zoo import folder

        with self._lock:
            self.index.expect(folder.recorded(self.run / "model"))
            return folder.load_text(self.run / "model").to(current().device)

    @functools.cached_property
    def text_graph(self) -> TextGraph | None:
        """What reads words without torch; None where that was imported already, or the model has no such graph."""
        if "torch" in sys.modules or not self.reads_text:
            return None
        return read_text_graph(self.index.folder, str(self.index.manifest["fingerprint"]))

    @functools.cached_property
    def token_search(self) -> TokenSearch | None:
        """What compares all tokens, where the model was trained so; None where it compares embeddings."""
        if self.text_graph is not None:
            return None
        if self.text_encoder.traits.similarity != "tokens":
            return None
        from deixis.apps.search.token_search import TokenSearch

        return TokenSearch(self.encoder)

    def vector(self, query: Query, reader: TextReader | None = None) -> Float32[np.ndarray, " D"]:
        """The query as one direction.

        Args:
            query: words and pictures.
            reader: what reads the words; by default the model.

        Raises:
            ImageError: a picture can't be read.
            DeixisError: the parts cancel out, the model reads no words, or it was not taught a concept.
        """
        self.require_text((*query.texts, *query.minus_texts))
        none = np.empty((0, self.index.width), np.float32)

        def texts(of: Sequence[str]) -> Float32[np.ndarray, "N D"]:
            return encode_texts(reader or self._reads(query), of, self.run) if of else none

        def images(of: Sequence[ImageSource]) -> Float32[np.ndarray, "N D"]:
            return np.asarray(self.encoder.encode_image(list(of)).detach().cpu()) if of else none

        return self.composed(
            query, texts(query.texts), images(query.images), texts(query.minus_texts), images(query.minus_images)
        )

    def _reads(self, query: Query) -> TextReader:
        """What reads the words of a query."""
        if query.words_only and self.text_graph is not None:
            return self.text_graph.encode_text
        return reader_of(self.text_encoder if query.words_only else self.encoder)

    @staticmethod
    def composed(
        query: Query,
        texts: Float[np.ndarray, "N D"],
        images: Float[np.ndarray, "M D"],
        minus_texts: Float[np.ndarray, "O D"],
        minus_images: Float[np.ndarray, "P D"],
    ) -> Float32[np.ndarray, " D"]:
        """A query whose parts were encoded already, in the order in which it names them."""
        minus = np.concatenate([minus_texts, minus_images])
        of_texts, of_images = query.weights[: len(texts)], query.weights[len(texts) :]
        return compose(
            mean(texts, of_texts) if len(texts) else None,
            mean(images, of_images) if len(images) else None,
            mean(minus) if len(minus) else None,
            mix=query.mix,
            how=query.how,
            minus_weight=query.minus_weight,
        )

    def search(
        self,
        query: Query | str,
        k: int = 10,
        *,
        where: Sequence[str] = (),
        min_relevance: float = 0.0,
        reader: TextReader | None = None,
    ) -> SearchResults:
        """The k best answers. A picture of the query is not among them, should it be in the index.

        Args:
            query: words, if it is a string.
            k: how many, at least 1.
            where: conditions that all hold for each answer, see `indexing.filters`.
            min_relevance: answers less likely to be right than this are left out.
            reader: as in `vector`; no relevance was measured for what it reads.

        Raises:
            DeixisError: as `vector`; or a condition can't be read, or chances are requested and were never measured.
        """
        parsed = Query(texts=(query,)) if isinstance(query, str) else query
        require_answers(k, min_relevance)
        if reader and min_relevance:
            raise DeixisError(
                "A minimum relevance was requested, but probabilities are measured for texts that the model reads.",
                "Leave --min-relevance out, or read the words by the dictionary: --language-by dictionary",
            )
        vector = self.vector(parsed, reader)
        own = frozenset(row for each in parsed.images for row in self.own_row(each))
        found = self.search_vector(
            vector, k + len(own), where=where, min_relevance=min_relevance, query=None if reader else parsed
        )
        return found.without(own, k)

    def own_row(self, picture: ImageSource) -> list[int]:
        """The row of the index that holds a picture itself, byte for byte; nothing where none does. Of copies, that of
        the same path, else the first."""
        if isinstance(picture, bytes):
            return self.index.rows_of(hashlib.sha256(picture).hexdigest())[:1]
        if not isinstance(picture, str | os.PathLike):
            return []
        rows, path = self.index.rows_of(content_hash(picture)), os.path.abspath(picture)
        return sorted(rows, key=lambda row: self.index.item(row)["path"] != path)[:1]

    def search_vector(
        self,
        vector: Float[np.ndarray, " D"],
        k: int = 10,
        *,
        where: Sequence[str] = (),
        min_relevance: float = 0.0,
        query: Query | None = None,
    ) -> SearchResults:
        """The k best answers to a query that was encoded already.

        Args:
            vector: of any length but zero [D].
            k: as in `search`.
            where: as in `search`.
            min_relevance: as in `search`.
            query: what the vector stands for: chances are reported where they were measured for such.
        """
        rows = np.asarray(vector)[None]
        return self.search_vectors(rows, (query,), k, where=where, min_relevance=min_relevance)[0]

    def search_vectors(
        self,
        vectors: Float[np.ndarray, "Q D"],
        queries: Sequence[Query | None],
        k: int = 10,
        *,
        where: Sequence[str] = (),
        min_relevance: float = 0.0,
        among: Bool[np.ndarray, " N"] | None = None,
    ) -> list[SearchResults]:
        """The k best answers to each of several queries, in one pass over the index.

        Args:
            vectors: of the queries, encoded [Q D].
            queries: what each stands for, as in `search_vector`.
            k: as in `search`.
            where: as in `search`.
            min_relevance: as in `search`.
            among: the only rows that may be found.
        """
        require_answers(k, min_relevance)
        index = self.index  # one and the same, should another thread open it again
        mask = index.where(where) if where else None
        if among is not None:
            mask = among if mask is None else mask & among
        total = len(index) if mask is None else int(mask.sum())
        if total == 0:
            empty = "Nothing fits the conditions." if mask is not None else "The index is empty."
            return [SearchResults([], True, empty, 0) for _ in queries]
        plain = [query is not None and query.plain for query in queries]
        tokens = None if all(query is None for query in queries) else self.token_search
        measured = [self.calibration if tokens is None and each else None for each in plain]
        for query, calibration in zip(queries, measured, strict=True):
            if min_relevance and calibration is None:
                raise DeixisError(*self._unmeasured(query))
        quick = self.approximate if self.approximate is not None and self.approximate.index is index else index
        if tokens is not None:
            return [
                self._by_tokens(tokens, quick, vector, query, k, mask)
                for vector, query in zip(np.asarray(vectors), queries, strict=True)
            ]
        hits = quick.search(vectors, min(k, total), where=mask)
        # Of the whole collection: conditions take rivals away, but say nothing about what is left.
        others = np.asarray(vectors, np.float32) @ self._sample.T if any(measured) else [None] * len(queries)
        rests = [None if each is None else QueryStats.of(each, len(index)) for each in others]
        return [
            self._answer(index, (scores, rows), (calibration, rest), min_relevance, total)
            for scores, rows, calibration, rest in zip(*hits, measured, rests, strict=True)
        ]

    def _by_tokens(
        self,
        tokens: TokenSearch,
        quick: Index | Approximate,
        vector: Float[np.ndarray, " D"],
        query: Query | None,
        k: int,
        mask: Bool[np.ndarray, " N"] | None,
    ) -> SearchResults:
        """The answer by all tokens, of the pictures that embeddings propose; to what is more than a text, by embeddings
        alone."""
        index = self.index
        total = len(index) if mask is None else int(mask.sum())
        scores, rows = (each[0] for each in quick.search(vector[None], min(max(k, CANDIDATES), total), where=mask))
        scores, rows = scores[rows >= 0], rows[rows >= 0]
        sentence = "Ranked by the mean of the tokens: only a single text is compared token by token."
        if query is not None and query.plain:
            sentence = f"Compared token by token: {len(rows)} of {total} pictures, those whose mean token is nearest."
            scores, rows = tokens.rank(query.texts[0], rows, [index.item(int(row)) for row in rows])
        best = zip(scores[:k].tolist(), rows[:k].tolist(), strict=True)
        found = [SearchHit(score, index.item(row), row) for score, row in best]
        return SearchResults(found, not found, sentence, total)

    def _answer(
        self,
        index: Index,
        hits: tuple[Float32[np.ndarray, " k"], Int64[np.ndarray, " k"]],
        measure: tuple[Calibration | None, QueryStats | None],
        min_relevance: float,
        total: int,
    ) -> SearchResults:
        """One query's results, of its scores and rows; `measure` adds chances, where they were measured."""
        rows = [int(row) for row in hits[1] if row >= 0]
        scores, (calibration, rest) = hits[0][: len(rows)], measure
        chances: Sequence[float | None] = [None] * len(rows)
        nothing = False
        if calibration is not None and rest is not None:
            chances = likely = [float(each) for each in calibration.chance(scores, rest)]
            detects = calibration.threshold > 0
            nothing = bool(calibration.nothing(scores[0], rest)) or (detects and likely[0] < relevance.HARDLY)
        found = [
            SearchHit(float(score), index.item(row), row, chance)
            for score, row, chance in zip(scores, rows, chances, strict=True)
            if chance is None or chance >= min_relevance
        ]
        nothing = nothing or not found
        sentence = relevance.nothing_matches(total) if nothing else _sure(found[0])
        return SearchResults(found, nothing, sentence, total)

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What was measured on held-out searches; None where nothing was."""
        return relevance.read_calibration(self.run, str(self.index.manifest["fingerprint"]))

    @functools.cached_property
    def _sample(self) -> Float32[np.ndarray, "N D"]:
        """Vectors that stand for the collection when a score is compared with a query's other scores."""
        return self.index.sample(_SAMPLE)

    def _unmeasured(self, query: Query | None) -> tuple[str, str]:
        if query is not None and not query.plain:
            return (
                "A minimum relevance was requested, but probabilities are measured for a single text only.",
                "Ask with one text, or leave --min-relevance out.",
            )
        return (
            f"A minimum relevance was requested, but {self.run} was made without measuring any.",
            "Make it from pictures with captions or labels, or leave --min-relevance out.",
        )

    def like(self, row: int, k: int = 10, *, where: Sequence[str] = ()) -> SearchResults:
        """What is most like something in the index, itself left out.

        Args:
            row: of the index.
            k: as in `search`.
            where: as in `search`.
        """
        answer = self.search_vector(self.index.vector(row), k + 1, where=where)
        return answer.without(frozenset([row]), k)

    def refresh(self) -> bool:
        """Opens the index again where another process has changed it; whether it had.

        Raises:
            DeixisError: it was made again by another model.
        """
        if not self.index.changed():
            return False
        with self._lock:
            opened = Index.open(self.index.folder, verify=False)
            if "encoder" in self.__dict__:
                opened.expect(self.__dict__["encoder"].fingerprint())
            self.index, self.approximate = opened, Approximate.open(opened)
            for made in ("_sample", "calibration"):
                self.__dict__.pop(made, None)
        return True


def _sure(best: SearchHit) -> str:
    if best.relevance is None:
        return ""
    return f"In searches with such scores, the first result is relevant in {relevance.in_words(best.relevance)}."
