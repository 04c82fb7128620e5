"""A held-back tag is looked for among all others; rivals answer the same queries, and the mean is over tags."""

from __future__ import annotations

import pytest
import torch

from deixis import zoo
from deixis.engine.claims.tasks.tags import TASK, TagsTask, _by_tag, _Queries
from deixis.engine.tag_suggestions import TaggedPictures
from deixis.errors import DeixisError

QUICK = {"steps": 20, "hidden": 8, "dropout": 0.0, "rate": 1e-2}


@pytest.fixture(scope="module")
def task() -> TagsTask:
    """Three themes of four tags, each beside its neighbours alone; pictures of a theme look alike."""
    encoder = zoo.load("tiny")
    rng = torch.Generator().manual_seed(0)
    looks = torch.randn(3, encoder.feature_width, generator=rng)
    rows = [[4 * theme + (start + step) % 4 for step in range(2)] for theme in range(3) for start in range(4)] * 2
    tags = torch.tensor(rows)
    features = looks[tags[:, 0] // 4] + 0.1 * torch.randn(len(tags), looks.shape[1], generator=rng)
    asked = _Queries(
        tags[:, :1].clone(), features, torch.tensor([4 * (row[0] // 4) + (row[0] + 2) % 4 for row in rows])
    )
    return TagsTask(encoder, 12, TaggedPictures(tags, features), {"validation": asked, "test": asked}, 0)


@pytest.mark.parametrize("metric", TASK.metrics)
def test_every_arm_finds_more_than_chance_where_themes_can_be_seen(task: TagsTask, metric: str) -> None:
    found = task.curve("imaginator", QUICK, metric, "test", 24)
    assert found.chance == 5 / 12
    assert len(found.values) == 12
    assert found.points[-1] == (24.0, pytest.approx(sum(found.values) / 12))
    if metric in ("nearest", "image_ridge"):
        assert found.points[-1][1] == 1


def test_a_tag_counts_once_however_many_pictures_have_it() -> None:
    found = _by_tag(torch.tensor([True, True, True, False]), torch.tensor([2, 2, 2, 7]))
    assert found.tolist() == [1.0, 0.0]


def test_only_tags_are_asked_that_never_stood_beside_the_others(task: TagsTask) -> None:
    beside = _Queries(task.learned.tags[:, :1], task.learned.features, task.learned.tags[:, 1])
    again = TagsTask(task.encoder, 12, task.learned, {"test": beside}, 0)
    with pytest.raises(DeixisError, match="Every tag was seen beside the others"):
        again.curve("imaginator", QUICK, "unseen_joint", "test", 24)
    with pytest.raises(DeixisError, match="There is no metric 'odd'"):
        again.curve("imaginator", QUICK, "odd", "test", 24)
