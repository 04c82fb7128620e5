"""`deixis demo` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "the main job on real images, with all controls",
    example="deixis demo --small",
    arguments="[DATA]",
    see=("deixis adapt", "README.md"),
    group="your pictures",
    order=6,
)


def run(data: str = "", /, out: str = "runs/demo", small: bool = False, overwrite: bool = False) -> int:
    """The main job on real images with all controls: the Tux Paint stamps, or DATA.

    Args:
        data: your own images in place of the stamps.
        out: the run folder to write.
        small: fewer images and splits, for a first look.
        overwrite: replace the run that is there.
    """
    from deixis.apps.demo import demo as app

    return app.demo(data, out, small=small, overwrite=overwrite)
