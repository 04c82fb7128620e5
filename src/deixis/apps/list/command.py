"""`deixis list` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "list the methods",
    example="deixis list",
    see=("deixis show", "docs/papers.md"),
    group="methods",
    order=1,
)


def run() -> None:
    """Lists the methods: papers, what they build on, and baselines."""
    from deixis.apps.list.catalogue import listing

    print(listing())
