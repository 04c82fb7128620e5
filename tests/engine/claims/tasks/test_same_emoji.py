"""The task of emoji in six styles: a concept stands on one side, with all its drawings."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.claims.tasks.same_emoji import same_emoji
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from tests.pictures import picture

STYLES, CONCEPTS = ("noto", "twemoji", "openmoji"), 12


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingTask:
    samples, rng = [], random.Random(0)
    for concept in range(CONCEPTS):
        for number, style in enumerate(STYLES):
            path = picture(tmp_path / f"{style}-{concept}.png", (20 * concept, 80 * number, 90), rng)
            groups = (f"concept:thing {concept}", f"code:{concept}")
            samples.append(Sample(path.name, path, (f"thing {concept}",), groups=groups, extra={"style": style}))
    whole = Source("emoji-styles", tmp_path, "captions", "png", tuple(samples))
    monkeypatch.setattr(catalogue, "read", lambda name: whole)
    task = make_task("same_emoji", {"held": 3, "batch_size": 4, "size": "tiny"}, 0)
    assert isinstance(task, TrainingTask)
    return task


def test_a_concept_stands_on_one_side_with_all_its_drawings(made: TrainingTask) -> None:
    sides = [[sample.groups[0] for sample in side.samples] for side in (made.train, made.validation, made.test)]
    assert not set(sides[0]) & set(sides[1]) | set(sides[1]) & set(sides[2]) | set(sides[0]) & set(sides[2])
    assert [len(side) for side in sides] == [18, 9, 9]
    assert all(side.count(name) == len(STYLES) for side in sides for name in side)
    with pytest.raises(DeixisError, match="too many for batches of 40"):
        make_task("same_emoji", {"held": 3, "batch_size": 40}, 0)


def test_a_model_that_sees_the_colour_alone_finds_equal_drawings_at_once(
    made: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build("plip", "tiny", {}, {"encoder": made.encoder(0)})
    values = same_emoji(method, made.test)
    assert values.shape == (9,)
    assert ((values > 0) & (values <= 1)).all()
    monkeypatch.setattr(method, "encode_image", lambda images: F.normalize(images.mean((2, 3)), dim=1))
    paths = [
        picture(tmp_path / f"{name}.png", (60 * name, 255 - 60 * name, 20), random.Random(name)) for name in range(3)
    ]
    same = [dataclasses.replace(each, image=paths[i // 3]) for i, each in enumerate(made.test.samples)]
    alike = same_emoji(method, dataclasses.replace(made.test, samples=tuple(same)))
    torch.testing.assert_close(alike, torch.ones(9, dtype=torch.float64))
