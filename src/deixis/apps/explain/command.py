"""`deixis explain` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.apps.explain.settings import WORDS, ExplainSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "show which regions and words drive a similarity",
    example='deixis explain photo.jpg "a red bird" "a boat" --model my-run',
    arguments="PHOTO TEXT...",
    see=("deixis eval", "docs/explaining.md"),
    group="pictures, one by one",
    order=1,
    python="deixis.apps.explain.explain",
    what=("model", "method", "others"),
    rare=("combine", "rules", "rate", "say", "form", "word_scores"),
)

SETTINGS = ExplainSettings()


def run(
    photo: str,
    texts: tuple[str, ...] = (),
    /,
    model: str = "starter",
    settings: ExplainSettings = SETTINGS,
    out: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Shows which regions of a picture and which words drive their similarity.

    Args:
        photo: path of the picture.
        texts: one or several texts, each in quotation marks; none, where --model is a run whose classes look at
            pictures: then where each of them looked is shown.
        model: name of a model, or a model or run folder.
        settings: method and layers.
        out: PNG file to write, with the maps as .npy beside it; by default NAME-explained.png in the current folder.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    if settings.method == WORDS:
        from deixis.apps.explain.word_regions import align_file

        align_file(photo, texts, model, settings, out=out, overwrite=overwrite, quiet=quiet)
        return 0
    from deixis.apps.explain import explain as app

    app.explain_file(photo, texts, model, settings, out=out, overwrite=overwrite, quiet=quiet)
    return 0
