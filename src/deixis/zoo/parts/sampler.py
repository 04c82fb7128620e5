"""Images made from text, or found for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.nn.vision.disc_sampler import DiscSampler
from deixis.types import PartKind, PartSource, Source
from deixis.types import protocols as contracts
from deixis.zoo.parts import no_such_part

__all__ = ["PART", "load"]

PART = PartKind(
    gives="images of what a text says, and where in them it is depicted",
    protocol="Sampler",
    sources=(
        PartSource(
            "set:NAME",
            "set:stamps",
            "pictures of a set whose words name the text, such as stamps, art4apps, gcompris or clipart; cut-outs are "
            "pasted on backgrounds",
            "the set, by `deixis data get NAME`",
        ),
        PartSource("FOLDER", "my-pictures", "the same of pictures of your own, with captions or labels"),
        PartSource(
            "scenes[:CAST]",
            "scenes:shapes",
            "generated scenes of a single thing, on backgrounds that hang on it; of stamps, emoji/STYLE or shapes",
            "the set that the cast is from",
        ),
        PartSource("tiny", "tiny", "discs in a colour of the text's own before noise, for tests"),
    ),
    later="Stable Diffusion is not loaded here (no name diffusers:...): give a folder of pictures in its place, or, in "
    "Python, a sampler of your own.",
)

_FROM_DATA = {"set": ("cutout_sampler", "CutoutSampler"), "scenes": ("scene_sampler", "SceneSampler")}
"""What stands among the data, which the zoo does not import: looked up by name."""


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> contracts.Sampler:
    """The sampler called `name`, in eval mode; one that exists already is given back.

    Args:
        name: see `PART`.
        source: not asked.
        seed: not asked; random numbers are given with each text.

    Raises:
        DeixisError: no such name, it is of a diffusion model, or the set is not in the cache.
    """
    if not isinstance(name, str):
        sampler: contracts.Sampler = name
        return sampler
    if name == "tiny":
        return DiscSampler(32).eval()
    kind = name.partition(":")[0]
    if kind == "diffusers":
        raise DeixisError(
            f"The sampler {name!r} draws by diffusion, and none that does can be built here.",
            "Give a folder of pictures with captions or labels, such as my-pictures; or set:stamps, or scenes.",
        )
    if kind not in _FROM_DATA and ("/" in name or "." in name or Path(name).is_dir()):
        kind = "set"
    if kind not in _FROM_DATA:
        raise no_such_part("sampler", name)
    module, cls = _FROM_DATA[kind]
    made: contracts.Sampler = getattr(importlib.import_module(f"deixis.data.samplers.{module}"), cls).of(name)
    return made
