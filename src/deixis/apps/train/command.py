"""`deixis train` on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.train.settings import TrainSettings
from deixis.methods import list_methods, read

__all__ = ["VERB", "rewrite", "run"]

VERB = Verb(
    "train a method; an interrupted run resumes",
    example="deixis train clip --data my-photos --out my-run",
    arguments="NAME --data DATA",
    see=("deixis list", "deixis show", "docs/training.md"),
    group="methods",
    order=3,
    what=("data", "sentences", "texts", "ask", "source", "config", "set", "model"),
    rare=("chunk", "clip", "max_skipped", "workers", "tensorboard", "timeout", "shard", "log_every"),
)

READING = Reading()
SETTINGS = TrainSettings()


def run(
    name: str,
    /,
    data: str,
    out: str = "deixis-run",
    settings: TrainSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Trains a method of any kind on image-text data.

    An interrupted run resumes when the same command is run again. Works under torchrun.

    Each part of the method is a flag, too, such as `--encoder my-run` or `--image-tower timm:resnet18`: `deixis show
    NAME` lists the parts, docs/parts.md what can be loaded for each.

    Args:
        name: name of the method, see `deixis list`.
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: run folder; an unfinished run with the same settings in it is resumed.
        settings: preset and overrides, steps, batches and precision.
        reading: names of columns.
        overwrite: replace an existing run in that folder, finished or not.
        quiet: print nothing.
    """
    from deixis.apps.train import train as app

    app.train(name, data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0


def rewrite(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags of the method's parts, `--PART VALUE`, as the settings that they are."""
    name = next((each.replace("-", "_") for each in arguments if each.replace("-", "_") in list_methods()), "")
    parts = {f"--{part.name.replace('_', '-')}": part.name for part in read(name).card.parts} if name else {}
    given, found = iter(arguments), list[str]()
    for word in given:
        flag, equals, value = word.partition("=")
        part = parts.get(flag.replace("_", "-"))
        if part is None:
            found.append(word)
            continue
        value = value if equals else next(given, "")
        found += ["--set", f"{part}={value}"]
    return found
