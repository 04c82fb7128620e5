"""`deixis search` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.search.settings import SearchSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "search a run or index by text, by image or both",
    example='deixis search my-run "a red bird" --image photo.jpg --minus "a cage"',
    arguments="RUN QUERY",
    see=("deixis index", "deixis serve", "docs/searching.md"),
    group="your pictures",
    order=3,
    python="deixis.apps.search.search",
    what=("image", "about", "values", "language", "minus", "where", "says"),
    output=("k", "all", "rerank", "boxes", "json"),
    rare=("how", "minus_weight", "weights", "language_by"),
)

SETTINGS = SearchSettings()


def run(
    run: str,
    query: tuple[str, ...] = (),
    /,
    settings: SearchSettings = SETTINGS,
) -> int:
    """Searches the images of a run or an index by text, by image, or by both.

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        query: text, or the path of a picture; several are combined into one query.
        settings: images, negative terms, conditions.
    """
    from deixis.apps.search import search as app

    app.search_folder(run, query, settings)
    return 0
