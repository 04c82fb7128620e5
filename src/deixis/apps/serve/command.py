"""`deixis serve` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.serve.settings import ServeSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "serve a web page and an API to search a run",
    example="deixis serve my-run",
    arguments="RUN",
    see=("deixis search", "docs/searching.md"),
    group="your pictures",
    order=4,
    rare=("body_mb", "megapixels", "letters", "queue", "seconds"),
)

SETTINGS = ServeSettings()


def run(run: str, /, settings: ServeSettings = SETTINGS) -> int:
    """Serves a web page and an HTTP API (/openapi.json) to search a run or an index.

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        settings: address, token and limits.
    """
    from deixis.apps import serve as app

    return app.serve(run, settings)
