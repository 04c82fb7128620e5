"""Files that a run on images alone writes of its images: groups to begin labels with, the unusual ones,
and patches that match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deixis.apps.train.image_files import groups, patches, unusual
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.training.stages import offers
from deixis.types.protocols import HasPrototypeScores, HasReconstruct, OffersImageTokens

__all__ = ["write_image_files"]


def write_image_files(method: Any, data: EvalSet, out: Path) -> dict[str, int]:
    """Writes what the method can tell of the images.

    Args:
        method: at the end of the run.
        data: the images.
        out: the run folder.

    Returns:
        For `result.json`: how many groups have an image, of how many images it is known how unusual they are, and how
        many pairs of photos show which of their patches match.
    """
    found = {}
    if isinstance(method, HasPrototypeScores):
        found["groups"] = groups.write_groups(method, data, out)
    if isinstance(method, HasReconstruct):
        found["unusual"] = unusual.write_unusual(method, data, out)
    if offers(method, OffersImageTokens) and (pairs := patches.write_patches(method, data, out)):
        found["patches"] = pairs
    return found
