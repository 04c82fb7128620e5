"""`deixis demo` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "run `adapt` on a public data set, with all controls",
    example="deixis demo --small",
    arguments="[DATA]",
    see=("deixis adapt", "README.md"),
    group="your pictures",
    order=6,
)


COMPUTE = ComputeSettings()


def run(
    data: str = "",
    /,
    out: str = "",
    small: bool = False,
    seed: int = 0,
    compute: ComputeSettings = COMPUTE,
    overwrite: bool = False,
) -> int:
    """Runs `deixis adapt` with all controls on a public data set (the Tux Paint stamps) or on DATA.

    Args:
        data: your own images instead of the stamps.
        out: run folder to write; without it a new one in `runs`, such as `runs/demo` or `runs/my-photos-2`.
        small: use fewer images and divisions, for a quick look.
        seed: random seed of divisions and training.
        compute: where the model runs.
        overwrite: replace an existing run in that folder.
    """
    from deixis.apps.demo import demo as app

    return app.demo(data, out, small=small, seed=seed, compute=compute, overwrite=overwrite)
