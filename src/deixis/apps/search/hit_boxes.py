"""Results of a search as pictures, with boxes around what the query names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from deixis.apps.common.find_picture import find_picture
from deixis.apps.ground.ground import ground_with
from deixis.apps.predict.capable import open_or_default
from deixis.apps.predict.pictures import predict
from deixis.apps.predict.writing import saving
from deixis.apps.search.query import SearchHit
from deixis.errors import DeixisError

__all__ = ["writes_boxes"]


@contextlib.contextmanager
def writes_boxes(out: str, texts: Sequence[str], count: int) -> Iterator[Callable[[Sequence[SearchHit]], int]]:
    """Yields what locates texts in results and writes these; whatever is wrong is said before anything is searched.

    Args:
        out: a new folder, with a table and the pictures; or a file: `.csv`, `.json` in COCO's form.
        texts: of the query.
        count: results at the most.

    Raises:
        DeixisError: the query has no words, or none that name a thing; `out` is taken; there is no detector.
    """
    if not texts:
        raise DeixisError("--boxes draws around what words name, and the query has none.", "Add words to the query.")
    method = open_or_default("", "ground")
    run = ground_with(method, texts)
    with saving(out, count) as save:

        def write(found: Sequence[SearchHit]) -> int:
            places = [str(each.item["path"]) for each in found]
            pictures = [(place, picture) for place in places if (picture := find_picture(place)) is not None]
            written = 0
            for prediction in predict(method, pictures, run, lambda path, error: None):
                save(prediction)
                written += 1
            return written

        yield write
