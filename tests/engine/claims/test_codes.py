"""The task of cMIM's claims: kinds told from codes, and from a random map of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deixis.data import catalogue
from deixis.engine.claims.tasks import codes
from deixis.engine.claims.trials import _build
from deixis.types import Sample, Source


@dataclasses.dataclass(frozen=True)
class Grey:
    """A square of one grey."""

    name: str
    shade: int

    def draw(self) -> np.ndarray:
        return np.full((28, 28, 3), self.shade, np.uint8)


def test_a_new_model_is_measured_at_every_place_on_pictures_that_no_arm_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str) -> Source:
        samples = tuple(Sample(f"{name}/{i}", Grey(f"{name}/{i}", 20 * (i % 10)), label=str(i % 10)) for i in range(90))
        return Source(name, Path(), "labels", "toys", samples)

    monkeypatch.setattr(catalogue, "read", read)
    task = codes.make(codes.Options(count=20, probe=30, held=20, batch_size=4), 0)
    assert not {each.id for each in task.train.samples} & {each.id for each in task.validation.samples}
    assert all(each.id.startswith("fashion/test") for each in task.test.samples)
    method = _build("cmim", {"latent": 6, "channels": (6, 5, 4)}, task, 0)
    assert {len(task.measures[name](method, task.test)) for name in codes.TASK.metrics} == {20}
