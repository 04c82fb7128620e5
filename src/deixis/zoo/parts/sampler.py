"""Images made from text."""

from __future__ import annotations

from typing import Any

from deixis.nn.vision.disc_sampler import DiscSampler
from deixis.types import PartKind, PartSource, Source
from deixis.types import protocols as contracts
from deixis.zoo.parts import no_such_part

__all__ = ["PART", "load"]

PART = PartKind(
    gives="images generated from a text, and where in them it is depicted",
    protocol="Sampler",
    sources=(PartSource("tiny", "tiny", "discs in a colour of the text's own before noise, for tests"),),
    later="Stable Diffusion comes with OVDiff.",
)


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> contracts.Sampler:
    """The sampler called `name`, in eval mode; one that exists already is given back.

    Args:
        name: see `PART`.
        source: not asked.
        seed: not asked; random numbers are given with each text.

    Raises:
        DeixisError: no such name.
    """
    if not isinstance(name, str):
        sampler: contracts.Sampler = name
        return sampler
    if name != "tiny":
        raise no_such_part("sampler", name)
    return DiscSampler(32).eval()
