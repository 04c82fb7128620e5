"""`deixis claim` on the command line."""

from __future__ import annotations

from deixis.apps.claim.settings import ClaimSettings
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "try what a paper claims, and give a verdict",
    example="deixis claim clip",
    arguments="NAME",
    see=("deixis show", "docs/papers.md"),
    group="methods",
    order=5,
    what=("all", "arm"),
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
    """Tries what a paper claims, and gives a verdict with its interval.

    All arms are treated alike, and their settings chosen on validation.

    Killed and run again, it goes on.

    Args:
        name: of the method, see `deixis list`.
        all: of all papers, the claims whose inputs changed.
        settings: seeds, arms, where it is kept.
        quiet: print nothing but the results.
    """
    from deixis.apps.claim import claim as app

    app.claim(name, settings, everything=all, quiet=quiet)
    return 0
