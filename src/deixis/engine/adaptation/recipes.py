"""What is fitted, and what is chosen from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from deixis.methods import read

__all__ = ["AdaptationRecipe", "Grid", "adapts", "recipe_for", "trains_towers"]


@dataclasses.dataclass(frozen=True)
class AdaptationRecipe:
    """What is fitted.

    Attributes:
        method: name of a method that offers adapters.
        overrides: settings that differ from its `desk` preset.
        batch_size: samples per step, views counted.
    """

    method: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch_size: int = 256


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is chosen from.

    Attributes:
        steps: numbers of optimiser steps; fitted methods have none and ignore them.
        strengths: factors on the correction.
    """

    steps: tuple[int, ...] = (20, 40, 60)
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)


def trains_towers(method: str) -> bool:
    """Whether a method trains on pictures and tokens, and not on the features of frozen towers."""
    return "images" in {need.name for need in read(method).card.needs}


def adapts(method: str) -> bool:
    """Whether a method gives a model whose embeddings its loss has trained: by adapters, or in the towers."""
    offered = read(method).card.capabilities
    return "adapters" in offered or (trains_towers(method) and "encode_image" in offered)


def recipe_for(method: str, overrides: Mapping[str, Any] | None = None) -> tuple[AdaptationRecipe, Grid]:
    """How the main job runs a method: towers in smaller batches, and with the full strength among the choices; what is
    fitted in closed form has no steps to choose.

    Args:
        method: by name.
        overrides: settings that differ from its `desk` preset.
    """
    if trains_towers(method):
        grid = Grid(steps=(10, 20, 40), strengths=(0.25, 0.5, 0.75, 1.0))
        return AdaptationRecipe(method, overrides or {}, batch_size=64), grid
    grid = Grid(steps=(1,)) if read(method).card.kind == "fitted" else Grid()
    return AdaptationRecipe(method, overrides or {}), grid
