"""The task of Selfie's claims: a copy of the tower is fine-tuned on a few labels, whatever it learned from before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import few_labels
from deixis.engine.claims.trials import _build
from deixis.errors import DeixisError
from deixis.methods import selfie
from deixis.types import Sample, Source

SMALL = {"labels": 3, "held": 12, "steps": 12, "channels": 2, "batch_size": 40, "rate": 3e-3}


@dataclasses.dataclass(frozen=True)
class Stripes:
    """A square of stripes, lying or standing."""

    name: str
    lying: bool

    def draw(self) -> np.ndarray:
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[::4] = pixels[1::4] = 255
        return pixels if self.lying else pixels.transpose(1, 0, 2).copy()


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> TrainingTask:
    def read(name: str) -> Source:
        samples = tuple(
            Sample(f"{name}/{i}", Stripes(f"{name}/{i}", i % 2 == 0), label=("standing", "lying")[i % 2 == 0])
            for i in range(90)
        )
        return Source(name, Path(), "labels", "toys", samples)

    monkeypatch.setattr(catalogue, "read", read)
    return few_labels.make(few_labels.Options(**SMALL), 0)


def test_no_label_is_seen_before_but_those_of_the_few_and_no_picture_is_on_two_sides(task: TrainingTask) -> None:
    assert all(sample.label is None for sample in task.train.samples)
    assert not {each.id for each in task.train.samples} & {each.id for each in task.validation.samples}
    assert all(each.id.startswith("fashion/test") for each in task.test.samples)
    few = few_labels.make(few_labels.Options(**SMALL, pictures="labelled"), 0).train.samples
    assert len({each.id for each in few}) == len(few) >= SMALL["batch_size"], "as many as a batch needs"
    pictures = {each.id.split(" ")[0] for each in few}
    assert len(pictures) == 2 * SMALL["labels"]
    assert not pictures & {each.id for each in task.train.samples}
    wrong = few_labels.Options(**SMALL)
    object.__setattr__(wrong, "pictures", "all")  # as a claim might, whose options are not checked by their types
    with pytest.raises(DeixisError, match="unlabelled or labelled"):
        few_labels.make(wrong, 0)


@pytest.mark.slow
def test_fine_tuning_learns_the_labels_and_leaves_the_method_as_it_is(task: TrainingTask) -> None:
    settings = {"view": selfie.ViewSpec(size=32), "patch": 8, "depth": 1, "hidden": 8}
    method = _build("selfie", settings, task, 0)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    measure = task.measures["fine_tuned"]
    values = measure(method, task.test)
    assert values.shape == (12,)
    assert values.mean() > 0.9
    assert torch.equal(measure(method, task.test), values)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
