"""Small methods for tests of the engine, each with a card of its own, as the file of a method has."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from deixis.ops.contrastive import info_nce
from deixis.types import Batch, Card, Features, FieldSpec, Losses, Progress

__all__ = ["SPECS", "TwoTowers", "carded", "pairs"]

SPECS = {name: FieldSpec(name, "B D") for name in ("left", "right")}


def carded(cls: type, **card: Any) -> type:
    """Gives the class a module that holds its card, below its own: classes of several tests may have one name."""
    file: Any = types.ModuleType(f"{cls.__module__}.toys_{cls.__qualname__}")
    file.CARD = Card("Toy", 2026, **{"kind": "trained", "needs": tuple(SPECS.values()), **card})
    sys.modules[file.__name__] = file
    cls.__module__ = file.__name__
    return cls


def pairs(size: int, seed: int = 0) -> Batch:
    """Two views of each sample, 6 numbers each."""
    rng = torch.Generator().manual_seed(seed)
    extra = {name: torch.randn(size, 6, generator=rng) for name in SPECS}
    return Batch(tuple(f"sample {i}" for i in range(size)), extra=extra, specs=SPECS)


class TwoTowers(nn.Module):
    """A contrast of two towers and of both with class vectors that do not depend on the batch.

    Args:
        dropout: in both towers, from the global generator.
        own: share of entries masked by the method's own draws.
        norm: a layer after the left tower.
    """

    def __init__(self, *, dropout: float = 0.0, own: float = 0.0, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 4), nn.Linear(6, 4)
        self.context, self.words = nn.Linear(3, 4), nn.Parameter(torch.randn(5, 3))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout, self.own, self.norm = dropout, own, norm or nn.Identity()

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        left = self._drop(self.norm(self.left(batch.extra["left"])))
        right = self._drop(self.right(batch.extra["right"]))
        if self.own:
            left = left * (progress.uniform("mask", batch.ids, 4) > self.own)
        shared = {"classes": F.normalize(self.context(self.words), dim=-1)}
        places = torch.tensor([int(name.split()[-1]) for name in batch.ids])
        return Features({"left": left, "right": right, "place": places}, shared)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        left, right = features.rows["left"], features.rows["right"]
        to_classes = F.cross_entropy(left @ features.shared["classes"].T, features.rows["place"] % 5)
        parts = {"pairs": info_nce(left, right, scale=self.scale), "classes": to_classes}
        return Losses(parts, {"scale": self.scale.detach()}, {"left": left.detach()})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.loss(self.encode(batch, progress), batch, progress)


carded(TwoTowers)
