"""`deixis claim` on the command line."""

from __future__ import annotations

from deixis.apps.claim.settings import ClaimSettings
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "test the claims of a paper against baselines",
    example="deixis claim clip",
    arguments="NAME",
    see=("deixis show", "docs/papers.md"),
    group="methods",
    order=5,
    what=("all", "missing", "arm"),
    output=("folder", "record"),
    rare=("jobs",),
)

SETTINGS = ClaimSettings()


def run(
    name: str = "",
    /,
    all: bool = False,
    settings: ClaimSettings = SETTINGS,
    quiet: bool = False,
) -> int:
    """Tests the claims of a paper against baselines; reports a verdict with a confidence interval.

    All methods get the same budget, and their settings are chosen on validation data. The runs that are missing are
    listed with the minutes that they take. An interrupted run resumes when the same command is run again.

    Args:
        name: name of the method, see `deixis list`.
        all: test the claims of all papers whose code or data changed since their last result.
        settings: seeds, arms and where results are stored.
        quiet: print only the results.
    """
    from deixis.apps.claim import claim as app

    app.claim(name, settings, everything=all, quiet=quiet)
    return 0
