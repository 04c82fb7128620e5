"""Which of its jobs `deixis adapt` does with some data: as the settings ask, or as the data is."""

from __future__ import annotations

from deixis.apps.adapt.adapt import adapt
from deixis.apps.adapt.boxes import adapt_to_boxes, ranks_boxes
from deixis.apps.adapt.drafts import read_accepted
from deixis.apps.adapt.pixels import adapt_to_pixels
from deixis.apps.adapt.respects import adapt_to_respects
from deixis.apps.adapt.settings import TASKS, AdaptSettings, check_splits
from deixis.apps.adapt.votes import adapt_to_votes
from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.few_shot.learn_classes import learn_classes, learns_classes
from deixis.apps.index.index import index
from deixis.errors import DeixisError
from deixis.methods import read as read_method

__all__ = ["adapt_or_index"]


@takes_settings(settings=AdaptSettings, reading=Reading)
def adapt_or_index(
    data: str, out: str, settings: AdaptSettings, reading: Reading, *, overwrite: bool, quiet: bool
) -> None:
    """What `deixis adapt` does: adapts, to captions, to votes or to boxes with phrases; or learns classes of pixels, or
    respects of columns, or classes, where the method does; or, with neither captions nor labels, indexes, and says how
    to begin labelling.

    Args:
        data: as in `adapt`.
        out: the folder to write.
        settings: of the run; of an index, only the model counts.
        reading: columns and the like.
        overwrite: replace what a run or index left at `out`.
        quiet: print nothing.
    """
    if settings.task not in TASKS:
        raise DeixisError(
            f"There is no task {settings.task!r}.", f"Give --task {TASKS[1]} for pixels, or leave it out."
        )
    talk = Reporter(quiet)
    source = read_accepted(data, reading, settings.accept, talk)
    if settings.task:
        check_splits(settings)
        adapt_to_pixels(source, out, settings, overwrite=overwrite, quiet=quiet)
        return
    if settings.votes or settings.about:
        learn = adapt_to_votes if settings.votes else adapt_to_respects
        learn(source, out, settings, overwrite=overwrite, quiet=quiet)
        return
    if ranks_boxes(source, settings.method):
        adapt_to_boxes(source, out, settings, overwrite=overwrite, quiet=quiet)
        return
    if learns_classes(settings.method):
        learn_classes(source, out, settings, overwrite=overwrite, quiet=quiet)
        return
    if source.kind != "images":
        adapt(source, out, settings, reading, overwrite=overwrite, quiet=quiet)
        return
    read_method(settings.method)  # a name mistyped is refused where none is trained, too
    talk.result(
        f"{data} holds {counted(len(source.samples), 'image')} and neither captions nor labels: nothing can be trained "
        "on it, but it can be searched."
    )
    index(source, out, settings.model, overwrite=overwrite, quiet=quiet)
    talk.result(f"To start labelling, most informative images first: deixis label {data}")
