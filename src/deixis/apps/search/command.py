"""`deixis search` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.search.settings import SearchSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "find pictures of a run by words or by a picture",
    example='deixis search my-run "a red bird" --image photo.jpg --minus "a cage"',
    arguments="RUN QUERY",
    see=("deixis index", "deixis serve", "docs/searching.md"),
    group="your pictures",
    order=3,
    python="deixis.apps.search.search",
    what=("image", "minus", "where"),
    output=("k", "json"),
    rare=("how", "minus_weight", "weights"),
)

SETTINGS = SearchSettings()


def run(
    run: str,
    query: tuple[str, ...] = (),
    /,
    settings: SearchSettings = SETTINGS,
) -> int:
    """Finds the pictures of a run or an index that fit words, a picture, or both best.

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        query: words, or the path of a picture; several are asked for together.
        settings: pictures, what is left out, conditions.
    """
    from deixis.apps.search import search as app

    app.search_folder(run, query, settings)
    return 0
