"""What one server works with: the open index and its model, the threads, and what was made so far."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from PIL import Image

from deixis.apps.explain.explain import Explainer
from deixis.apps.ground.ground import ground
from deixis.apps.label.label_table import LabelTable
from deixis.apps.predict.capable import open_method, open_or_default
from deixis.apps.search.searcher import Searcher
from deixis.apps.segment.segment import default_segmenter
from deixis.apps.serve.batched_search import LARGEST, BatchedSearch, Encoding, item_of
from deixis.apps.serve.batching import Batcher, ConcurrencyLimit, Worker
from deixis.apps.serve.columns import ColumnSummary, summary
from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.jobs import Jobs, Update
from deixis.apps.serve.labelling.draft_queue import DraftQueue
from deixis.apps.serve.labelling.label_queue import LabelQueue
from deixis.apps.serve.labelling.tag_queue import TagQueue
from deixis.apps.serve.metrics import Metrics
from deixis.apps.serve.models.pair_scoring import PairScorer
from deixis.apps.serve.models.query_languages import QueryLanguages
from deixis.apps.serve.models.respect_search import RespectSearch
from deixis.apps.serve.pictures import Pictures
from deixis.apps.serve.settings import ServeSettings
from deixis.apps.words.written import WrittenWords
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.types import Detections

__all__ = ["CurrentState", "ServerState"]

_THREADS = 2
_TOGETHER = 8  # texts that share the passes of a picture, between two looks at the clock
_THUMBNAILS = 2000  # that may wait: a page asks for many at once


class ServerState:
    """One server's state. Routes find it by `CurrentState`.

    Args:
        searcher: what is served.
        settings: the flags.
        update: brings the index up to date with a folder.
    """

    def __init__(self, searcher: Searcher, settings: ServeSettings, update: Update) -> None:
        self.searcher, self.settings = searcher, settings
        self.model, self.readers, self.painters = (
            Worker("model"),
            Worker("reader", _THREADS),
            Worker("painter", _THREADS),
        )
        self.gate = ConcurrencyLimit(settings.queue, "the model")
        self.picture_gate = ConcurrencyLimit(_THUMBNAILS, "pictures")
        self.metrics = Metrics(lambda: self.gate.inside, lambda: len(self.searcher.index))
        self.batcher: Batcher[Encoding, Any] = Batcher(
            BatchedSearch(searcher, self.index), self.model, self.gate, largest=LARGEST, seen=self.metrics.batch
        )
        self.pictures = Pictures()
        self.jobs = Jobs(settings.folder, update)
        self.labels = LabelQueue(LabelTable(settings.labels)) if settings.labels else None
        self.drafts = DraftQueue(LabelTable(settings.captions), searcher.index) if settings.captions else None
        self.tags = TagQueue(WrittenWords(settings.words), searcher.index) if settings.words else None
        self.pairs = PairScorer(settings.rerank, searcher.index) if settings.rerank else None
        self.respects = RespectSearch(searcher)
        self.languages = QueryLanguages(searcher)
        self.trouble = ""
        self._opening = threading.Lock()
        self._columns: tuple[Index, ColumnSummary] | None = None

    @property
    def pixels(self) -> int:
        """The most width x height of a picture that a client sends."""
        return int(self.settings.megapixels * 1e6)

    def close(self) -> None:
        """Ends the threads."""
        self.jobs.stop()
        self.model.stop()
        self.readers.stop()
        self.painters.stop()

    # The index

    def index(self) -> Index:
        """The index as it lies on disk now. Where it can't be opened any more, the one that was open goes on."""
        with self._opening:
            try:
                self.searcher.refresh()
                self.trouble = ""
            except (DeixisError, OSError) as error:
                self.trouble = str(error)
            return self.searcher.index

    def item(self, row: int) -> dict[str, Any]:
        """What a row stands for.

        Raises:
            Refused: there is no such row, or not any more.
        """
        return item_of(self.index(), row)

    def row(self, reference: int | str) -> int:
        """The row that a client means by a row or an id.

        Raises:
            RequestError: there is no such item.
        """
        if isinstance(reference, int):
            return reference
        try:
            return self.index().row_of(reference)
        except DeixisError as error:
            raise RequestError(404, f"There is no picture {reference!r} in the index.", "Search again.") from error

    def columns(self) -> ColumnSummary:
        """What is known of the columns of the index."""
        index = self.index()
        if self._columns is None or self._columns[0] is not index:
            self._columns = (index, summary(index))
        return self._columns[1]

    # Explaining, in the model's thread

    @functools.cached_property
    def explainer(self) -> Explainer | None:
        """What explains this model's scores; None where they can't be."""
        if not self.searcher.reads_text:
            return None
        try:
            return Explainer(self.searcher.encoder)
        except DeixisError:
            return None

    def explained(self, picture: Image.Image, texts: Sequence[str], deadline: float) -> list[Any]:
        """Explanations of a picture, one a text, as long as there is time.

        Args:
            picture: decoded.
            texts: what it is held against.
            deadline: by `time.monotonic`.

        Raises:
            Refused: this model can't be explained, or it takes too long.
            DeixisError: a text has no words.
        """
        if self.explainer is None:
            raise RequestError(422, "This model's scores can't be explained.", "Serve a model of another architecture.")
        parts = []
        for start in range(0, len(texts), _TOGETHER):
            if time.monotonic() > deadline:
                raise RequestError(503, "It takes too long to explain so much.", "Ask for fewer texts or words.")
            several = texts[start : start + _TOGETHER]
            found = self.explainer(picture, several)
            parts += [found.of_text(number) for number in range(len(several))]
        return parts

    # Grounding, in the model's thread

    @functools.cached_property
    def grounder(self) -> Any:
        """A method that locates what phrases mean: that of `--ground`, that of the run itself, or one that needs no
        training; None where there is none.

        Raises:
            DeixisError: a run was named with `--ground`, and its method can't.
        """
        if self.settings.ground:
            return open_method(self.settings.ground, "ground")
        for model in (self.searcher.run, ""):
            try:
                return open_or_default(model, "ground")
            except DeixisError:
                continue
        return None

    def require_grounder(self) -> None:
        """Refuses where no model here can point at things.

        Raises:
            RequestError: so it is.
        """
        if self.grounder is None:
            raise RequestError(
                501, "This model can't locate objects.", "Get the detector, `deixis data get detector`, and start anew."
            )

    def grounded(self, picture: Image.Image, text: str, count: int) -> Detections:
        """Where in a picture a text is meant.

        Args:
            picture: decoded.
            text: a phrase.
            count: boxes a phrase at the most; 0: as many as it says.

        Raises:
            DeixisError: the text is empty, or names nothing.
        """
        found = ground(picture, text, model=self.grounder, count=count)
        assert isinstance(found, Detections)
        return found

    # Segmenting, in the model's thread

    @functools.cached_property
    def segmenter(self) -> Any:
        """A method that segments classes of any name; None where its models were not fetched. It shares those of the
        method that locates phrases without training."""
        free = self.grounder is not None and card_of(self.grounder).kind == "training-free"
        try:
            return default_segmenter(["thing"], self.grounder if free else None)
        except DeixisError:
            return None


async def _desk(request: Request) -> ServerState:
    return request.app.state.desk


CurrentState = Annotated[ServerState, Depends(_desk)]
"""The state, as an argument of a route."""
