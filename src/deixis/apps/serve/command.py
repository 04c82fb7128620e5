"""`deixis serve` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.serve.settings import ServeSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "a page and an API to search a run in your browser",
    example="deixis serve my-run",
    arguments="RUN",
    see=("deixis search", "docs/searching.md"),
    group="your pictures",
    order=4,
    rare=("body_mb", "megapixels", "letters", "queue", "seconds"),
)

SETTINGS = ServeSettings()


def run(run: str, /, settings: ServeSettings = SETTINGS) -> int:
    """Serves a page to search a run or an index in a browser, and the same as an API (/openapi.json).

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        settings: address, token, limits.
    """
    from deixis.apps import serve as app

    return app.serve(run, settings)
