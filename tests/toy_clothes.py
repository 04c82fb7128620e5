"""Light squares on black in place of the set of clothes, which must be fetched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deixis.data import catalogue
from deixis.data.synthetic import coloured_clothes
from deixis.types import Sample, Source

LABELS = ("ankle boot", "bag", "coat", "trousers")


@dataclasses.dataclass(frozen=True)
class LightSquare:
    """A light square on black."""

    name: str

    def draw(self) -> np.ndarray:
        pixels = np.zeros((28, 28, 3), np.uint8)
        pixels[7:21, 7:21] = 255
        return pixels


def toy_clothes(monkeypatch: pytest.MonkeyPatch, labels: int = 2) -> None:
    """Forty to train on, in two parts, and twenty to test on; of the first `labels` kinds."""
    parts = {"train": ("fashion/train", 0, 30), "val": ("fashion/train", 30, 40)}
    monkeypatch.setattr(coloured_clothes, "PARTS", {**coloured_clothes.PARTS, **parts})

    def read(name: str) -> Source:
        count = {"fashion/train": 40, "fashion/test": 20}[name]
        rows = (
            Sample(f"{name}/{i}", LightSquare(f"{name}/{i}"), label=LABELS[:labels][i % labels]) for i in range(count)
        )
        return Source(name, Path(), "labels", "toys", tuple(rows))

    monkeypatch.setattr(catalogue, "read", read)
