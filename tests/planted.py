"""A world in which it is known what there is to learn: tables of features with a planted structure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from deixis import zoo
from deixis.data.splits import Split, split
from deixis.engine.adaptation.evaluate import measure_retrieval
from deixis.engine.adaptation.fitting import Experiment, fit
from deixis.engine.adaptation.recipes import AdaptationRecipe
from deixis.engine.features.store import FeatureTable
from deixis.nn.dual import DualEncoder

__all__ = ["World", "planted", "tiny"]


@functools.cache
def tiny() -> DualEncoder:
    return zoo.load("tiny")


@dataclasses.dataclass(frozen=True)
class World:
    """A table whose samples are of `groups`, two images each."""

    table: FeatureTable
    groups: tuple[int, ...]

    def experiment(self, splits: Sequence[Split] | None = None, seed: int = 0) -> Experiment:
        made = [split(self.groups, seed)] if splits is None else splits
        return Experiment(tiny(), self.table, self.groups, made, measure_retrieval, "mean_mrr", seed)

    def held_out(self, method: str, overrides: Mapping[str, Any], steps: int = 1) -> tuple[float, float]:
        """The mean MRR on unseen concepts, before and after fitting on the others."""
        halves = split(self.groups, 0)
        train, test = self.table.take(halves.train), self.table.take(halves.test)
        adapters = fit(AdaptationRecipe(method, overrides), tiny(), train, (steps,), 0)[steps]
        before, after = measure_retrieval(test, (None, None)), measure_retrieval(test, adapters)
        return float(before["mean_mrr"].mean()), float(after["mean_mrr"].mean())


def planted(*, concepts: int = 80, gain: float = 0.0, known: float = 0.25, noise: float = 0.3, seed: int = 0) -> World:
    """Images of `concepts` things, two of each, plain and mirrored; what they show is in their features throughout.

    The image embedding knows a part of it: `known` of the caption's vector, in noise. The captions are a hidden linear
    function of the features where `gain` is 1; where it is 0 the features tell nothing of them.

    Args:
        concepts: how many.
        gain: share of the caption that is a linear function of the features.
        known: how much of the caption the image embedding has.
        noise: of features and embeddings.
        seed: of everything.
    """
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    encoder = tiny()
    wide, narrow = encoder.feature_width, encoder.width
    hidden = draw(wide, narrow)
    meaning = draw(concepts, wide)
    text = F.normalize(
        gain * F.normalize(meaning @ hidden, dim=1) + (1 - gain) * F.normalize(draw(concepts, narrow), dim=1), dim=1
    )
    groups = torch.arange(concepts).repeat_interleave(2)
    features = torch.stack([meaning[groups] + noise * draw(len(groups), wide) for _ in range(2)])
    embedding = torch.stack([known * text[groups] + noise * draw(len(groups), narrow) for _ in range(2)])
    ids = tuple(f"thing {i // 2}, {i % 2}" for i in range(len(groups)))
    doubt = torch.ones(2, len(groups))
    return World(
        FeatureTable(ids, F.normalize(embedding, dim=-1), features, doubt, text[groups], groups), tuple(groups.tolist())
    )
