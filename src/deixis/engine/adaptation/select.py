"""Chooses how long an adapter trains and how strongly it is applied, on concepts it was not trained on.

What is chosen from is measured once, in many divisions (`deixis.engine.adaptation.divisions`). The setting of one
division is chosen from what the others measured on samples that are not in its held-out part, so that the values
reported there come from concepts that neither trained the adapter nor chose its setting. The setting of the final model
is chosen from all divisions.

The rule is that of one standard error (Breiman et al., 1984): of settings that are equally good as far as can be seen,
the one nearest to the original is taken. Whether the original is left at all is judged afterwards, by the values that
were not chosen by (`deixis.engine.adaptation.verdict`): a choice that may also fall on the original would make the
reported gain jump between 0 and a gain from division to division, and the verdict with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from deixis.engine.adaptation.divisions import HeldOut
from deixis.engine.adaptation.recipes import Grid
from deixis.errors import DeixisError
from deixis.ops.stats import cluster_error

__all__ = ["Choice", "Pool", "choose"]

_FEWEST = 2


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and what it rests on.

    Attributes:
        steps: optimiser steps.
        strength: factor on the correction; 0 keeps the original.
        before: the metric of the original on the held-out concepts.
        after: of the best setting, whether or not it was taken.
        curve: [steps, strengths], the metric of every setting.
        grid: the settings.
    """

    steps: int
    strength: float
    before: float
    after: float
    curve: tuple[tuple[float, ...], ...]
    grid: Grid


@dataclasses.dataclass(frozen=True)
class Pool:
    """The metric that decides, in all divisions; NaN where a sample was not held out.

    Attributes:
        before: [divisions, samples] of the original.
        after: [divisions, steps, strengths, samples].
        groups: [samples], the concept of each.
    """

    before: Float[np.ndarray, "D N"]
    after: Float[np.ndarray, "D S T N"]
    groups: Int[np.ndarray, " N"]

    @classmethod
    def of(cls, divisions: Sequence[HeldOut], metric: str, groups: Sequence[int]) -> Pool:
        """From the tables of all divisions."""
        first = divisions[0].after[metric]
        before = np.full((len(divisions), len(groups)), np.nan)
        after = np.full((len(divisions), *first.shape[:2], len(groups)), np.nan)
        for row, each in enumerate(divisions):
            before[row, list(each.queries)] = each.before[metric]
            after[row][..., list(each.queries)] = each.after[metric]
        return cls(before, after, np.asarray(groups))

    def without(self, division: int) -> Pool:
        """What the other divisions measured on samples that this one does not hold out."""
        rows = np.arange(len(self.before)) != division
        free = np.isnan(self.before[division])
        return Pool(self.before[rows][:, free], self.after[rows][..., free], self.groups[free])


def choose(pool: Pool, grid: Grid) -> Choice:
    """Chooses steps and strength by the mean over samples, each sample averaged over the divisions that held it out.

    Args:
        pool: the values to choose from.
        grid: the settings.

    Raises:
        DeixisError: the divisions hold out too few samples that this one does not.
    """
    held = ~np.isnan(pool.before).all(axis=0)
    if len(set(pool.groups[held])) < _FEWEST:
        raise DeixisError(
            f"{len(pool.before) + 1} divisions leave {len(set(pool.groups[held]))} groups to choose the settings from.",
            "Give more --splits (20 is the default), or more images.",
        )
    before = np.nanmean(pool.before[:, held], axis=0)
    after = np.nanmean(pool.after[..., held], axis=0)
    gains, curve = after - before, after.mean(axis=-1)
    step, strength = _cautious(gains, pool.groups[held])
    return Choice(
        steps=grid.steps[step],
        strength=grid.strengths[strength],
        before=float(before.mean()),
        after=float(curve[step, strength]),
        curve=tuple(tuple(float(value) for value in row) for row in curve),
        grid=grid,
    )


def _cautious(gains: Float[np.ndarray, "S T N"], clusters: Int[np.ndarray, " N"]) -> tuple[int, int]:
    """The weakest strength within one standard error of the best setting, at its own best number of steps.

    Args:
        gains: of each sample over the original.
        clusters: the concept of each sample.
    """
    curve = gains.mean(axis=-1)
    best = np.unravel_index(int(curve.argmax()), curve.shape)
    enough = curve[best] - cluster_error(gains[best], clusters)
    strength = int(np.argmax(curve.max(axis=0) >= enough))
    return int(curve[:, strength].argmax()), strength
