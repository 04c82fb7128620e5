"""`deixis explain` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.explain.settings import ExplainSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "where in a picture, and in which words, they fit",
    example='deixis explain photo.jpg "a red bird" "a boat" --model my-run',
    arguments="PHOTO TEXT...",
    see=("deixis eval", "docs/explaining.md"),
    group="a single picture",
    order=1,
    python="deixis.apps.explain.explain",
    what=("model", "method", "others"),
    rare=("combine", "rules", "rate"),
)

SETTINGS = ExplainSettings()


def run(
    photo: str,
    texts: tuple[str, ...],
    /,
    model: str = "starter",
    settings: ExplainSettings = SETTINGS,
    out: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Shows where in a picture, and in which words, a model sees that they fit.

    Args:
        photo: the picture.
        texts: one or several, each in quotation marks.
        model: a name, or the folder of a model or run.
        settings: method, layers and the like.
        out: the PNG to write, the maps as .npy beside; NAME-explained.png in the working folder by default.
        overwrite: replace what is there.
        quiet: print nothing.
    """
    from deixis.apps.explain import explain as app

    app.explain_file(photo, texts, model, settings, out=out, overwrite=overwrite, quiet=quiet)
    return 0
