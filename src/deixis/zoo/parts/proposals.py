"""Regions of an image that may be things."""

from __future__ import annotations

from typing import Any

import torch

from deixis.inputs.preprocess import Preprocess
from deixis.nn.vision.grid_proposals import GridProposals
from deixis.types import PartKind, PartSource, Source
from deixis.types import protocols as contracts
from deixis.zoo.parts import no_such_part

__all__ = ["PART", "load"]

PART = PartKind(
    gives="boxes, features, classes and perhaps masks of regions that may be objects",
    protocol="Proposals",
    sources=(PartSource("tiny", "tiny", "the cells of a grid of 3 x 3, separated by colour, for tests"),),
    later="Detectors come with UNITER, mask proposals with OVDiff.",
)


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> contracts.Proposals:
    """The proposals called `name`, in eval mode; what exists already is given back.

    Args:
        name: see `PART`.
        source: not asked.
        seed: of random weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: no such name.
    """
    if not isinstance(name, str):
        part: contracts.Proposals = name
        return part
    if name != "tiny":
        raise no_such_part("proposals", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GridProposals(3, ("sky", "ground", "thing", "nothing"), Preprocess(32, mode="squash")).eval()
