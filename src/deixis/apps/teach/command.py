"""`deixis teach` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.teach.settings import TeachSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "teach a run a word for something that you have pictures of",
    example='deixis teach my-run "my mug" mug/1.jpg mug/2.jpg mug/3.jpg --boxes boxes.csv',
    arguments="RUN NAME PICTURE...",
    see=("deixis search", "docs/searching.md"),
    group="your pictures",
    order=4,
    python="deixis.apps.teach.teach",
    what=("boxes", "forget"),
    rare=("method", "negatives", "folds", "epochs"),
)

SETTINGS = TeachSettings()


def run(
    run: str,
    name: str,
    pictures: tuple[str, ...] = (),
    /,
    settings: TeachSettings = SETTINGS,
    boxes: str = "",
    forget: bool = False,
    quiet: bool = False,
) -> int:
    """Teaches a run a concept, by which it can then be searched: deixis search RUN "<my mug> in the snow".

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        name: of the concept; it stands in angle brackets in queries.
        pictures: two or more that show it, or folders of such.
        settings: method, negatives and folds.
        boxes: csv file with columns path, x0, y0, x1, y1 in pixels: where in the pictures it is.
        forget: remove the concept from the run.
        quiet: print nothing.
    """
    from deixis.apps.teach import teach as app

    app.teach_pictures(run, name, pictures, settings, boxes=boxes, forget=forget, quiet=quiet)
    return 0
