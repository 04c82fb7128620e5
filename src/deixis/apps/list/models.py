"""The published models in a table, and one for a task and this machine; reads a file, no network and no torch."""

from __future__ import annotations

from deixis.zoo.published import TASKS, PublishedModel, published_models, recommend

__all__ = ["model_table", "recommendation"]

_HEAD = ("name", "MB", "pixels", "languages", "licence", "ImageNet", "s/image")
_NOTE = (
    "MB: of the weights in 32 bits. ImageNet: zero-shot accuracy in per cent as open_clip publishes it "
    "(docs/openclip_results.csv of its repository). s/image: processor seconds on one core, measured for one model of "
    "each kind. Licences are those that timm tells; where there is none, see the model's page on the hub.\n"
    "Besides these: starter and desk-clip (101 MB, no hub: deixis data get starter), folders of open_clip and "
    "transformers, hf-hub:ORGANISATION/NAME."
)


def model_table(part: str = "") -> str:
    """All published models, a line each.

    Args:
        part: of the names to show; empty: all.
    """
    rows = [_HEAD, *(_cells(each) for each in published_models() if part.lower() in each.name.lower())]
    if len(rows) == 1:
        return f"No published model has {part!r} in its name.\n"
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", _NOTE])


def _cells(model: PublishedModel) -> tuple[str, ...]:
    accuracy = "" if model.imagenet is None else f"{100 * model.imagenet:.1f}"
    seconds = "" if model.seconds is None else f"{model.seconds:.2g}"
    return (
        model.name,
        str(model.megabytes),
        str(model.image_size),
        model.languages,
        model.licence,
        accuracy,
        seconds,
    )


def recommendation(task: str, *, memory: float | None, gpu: bool, multilingual: bool) -> str:
    """One sentence: which published model to take for a task; the rest as of `recommend`."""
    found = recommend(task, memory=memory, gpu=gpu, multilingual=multilingual)
    accuracy = "" if found.imagenet is None else f", {100 * found.imagenet:.1f} % zero-shot on ImageNet"
    licence = found.licence or "see its page on the hub"
    return (
        f"For {task} ({TASKS[task]}): {found.name}, {found.megabytes} MB{accuracy}, licence: {licence}. "
        f"Use it: --model {found.name}"
    )
