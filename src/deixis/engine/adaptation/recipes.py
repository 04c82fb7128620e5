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
        strengths: factors on the correction; the original (0) is always among the choices.
        folds: parts of the training concepts, each held out once.
        repeats: how often the folds are drawn anew.
        holdout: train on this share of the concepts and hold the others out once, in place of folds: for what takes
            long to train.
        level: of the interval that must exclude 0 for the original to be left. With captions dealt out at random the
            default left it in about 1 % of simulated runs, more than the level says, as the best setting is looked at.
    """

    steps: tuple[int, ...] = (20, 40, 60)
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)
    folds: int = 2
    repeats: int = 2
    holdout: float | None = None
    level: float = 0.997


def trains_towers(method: str) -> bool:
    """Whether a method trains on pictures and tokens, and not on the features of frozen towers."""
    return "images" in {need.name for need in read(method).card.needs}


def adapts(method: str) -> bool:
    """Whether a method gives a model whose embeddings its loss has trained: by adapters, or in the towers."""
    offered = read(method).card.capabilities
    return "adapters" in offered or (trains_towers(method) and "encode_image" in offered)


def recipe_for(method: str, overrides: Mapping[str, Any] | None = None) -> tuple[AdaptationRecipe, Grid]:
    """How the main job runs a method: towers in smaller batches, and with one part held out in place of folds.

    Args:
        method: by name.
        overrides: settings that differ from its `desk` preset.
    """
    if trains_towers(method):
        grid = Grid(steps=(10, 20, 40), strengths=(0.25, 0.5, 0.75, 1.0), holdout=0.75)
        return AdaptationRecipe(method, overrides or {}, batch_size=64), grid
    return AdaptationRecipe(method, overrides or {}), Grid()
