"""A graph beside the index of a run, for a million pictures and more: quicker searches that may miss a little."""

from __future__ import annotations

from pathlib import Path

from deixis.apps.common.console import Reporter
from deixis.apps.common.runs import opened_index
from deixis.files import explained
from deixis.indexing.approximate import Approximate, GraphSettings, build

__all__ = ["approximate"]


def approximate(run: str | Path, settings: GraphSettings | None = None, *, quiet: bool = False) -> Approximate:
    """Builds the graph, and prints which share of the true answers it finds in this very collection.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        settings: how it is made, see there.
        quiet: print nothing.

    Raises:
        DeixisError: there is no such index, it is being changed, usearch is not installed, or the disk is full.
    """
    index, talk = opened_index(Path(run)), Reporter(quiet)
    with explained(Path(run)), talk.bar("graph") as bar:
        made = build(index, settings, progress=bar)
    talk.result(made.sentence)
    return made
