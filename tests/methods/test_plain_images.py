"""Images of one colour, and batches of one: methods that learn from images alone stay finite, their gradients too."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.methods import read
from deixis.types import Batch, Progress
from tests.contract import Subject

METHODS = ("dino", "selfpatch", "selfie", "projection_head", "mim", "cmim", "gpt4image")


def plain(value: Any) -> Any:
    """Images of one grey in place of noise."""
    return torch.full_like(value, 0.5) if isinstance(value, Tensor) and value.dim() >= 4 else value


def grey(batch: Batch) -> Batch:
    extra = {name: plain(value) for name, value in batch.extra.items()}
    return dataclasses.replace(batch, images=plain(batch.images), views=tuple(map(plain, batch.views)), extra=extra)


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in METHODS for size in (1, 4) if size >= read(name).card.min_batch]
)
def test_images_of_one_colour_give_a_finite_loss_and_finite_gradients(name: str, size: int) -> None:
    method: Any = engine.build(name, "tiny").train()
    batch = grey(Subject(lambda: method, read(name).card).batch(size))
    losses = method(batch, Progress(0, 10))
    assert bool(losses.total.isfinite())
    losses.total.backward()
    assert all(bool(each.grad.isfinite().all()) for each in method.parameters() if each.grad is not None)
    assert all(float(value) == float(value) for value in losses.metrics.values()), "no gauge is NaN"
