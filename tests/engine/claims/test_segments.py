"""The task of PixPro's claim: cells that know the class of their pixels are right, and colours alone are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import segments
from deixis.engine.claims.trials import _build
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.methods import pixpro
from deixis.types import Sample

SMALL = {"count": 16, "probe": 24, "held": 8, "batch_size": 4, "channels": 4, "side": 48}


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return segments.make(segments.Options(**SMALL), 0)  # type: ignore[arg-type]


def test_things_twice_as_large_cover_four_times_as_much() -> None:
    shares = []
    for scale in (1.0, 2.0):
        config = SceneConfig(cast="shapes", objects=(1, 1), repeats=1, scale=scale)
        found = scenes(0, 15, side=48, config=config).samples
        shares.append(sum(float(decode_mask(each.regions[0].mask).float().mean()) for each in found))
    assert shares[1] / shares[0] == pytest.approx(4, rel=0.15)
    with pytest.raises(DeixisError, match="scale is 3"):
        SceneConfig(scale=3.0)


@pytest.mark.slow
def test_cells_that_know_their_classes_are_nearly_right_and_equal_ones_know_nothing(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What interpolation loses at the edges of things is all that is wrong."""
    preprocess = Preprocess(48, mode="squash")
    learned = scenes(5, 40, side=48, config=SceneConfig(cast="shapes", scale=2.0)).samples
    probe = segments._nouns([*learned, *task.test.samples])
    monkeypatch.setattr(segments, "preprocess_of", lambda method: preprocess)

    def knowing(method: Any, samples: Sequence[Sample]) -> segments._Maps:
        shown = segments._shown(samples, probe, preprocess)
        classes = F.one_hot(shown, len(probe) + 1).permute(0, 3, 1, 2).double()
        return segments._Maps(F.adaptive_avg_pool2d(classes, (12, 12)).flatten(2).transpose(1, 2), (12, 12))

    def blind(method: Any, samples: Sequence[Sample]) -> segments._Maps:
        return segments._Maps(torch.ones(len(samples), 144, 2).double(), (12, 12))

    method = torch.nn.Identity()
    knows, sees = (segments._dense(learned, each)(method, task.test) for each in (knowing, blind))
    assert float(knows.mean()) > 0.5
    assert float(sees.mean()) < 0.05


@pytest.mark.slow
def test_each_metric_of_the_task_is_one_value_a_scene(task: TrainingTask) -> None:
    method = _build("pixpro", pixpro.CLAIMS[0].arms["instance"].overrides | {"hidden": 8}, task, 0)
    for name in segments.TASK.metrics:
        values = task.measures[name](method, task.validation)
        assert 1 <= len(values) <= 8
        assert ((values >= 0) & (values <= 1)).all()


def test_scenes_of_the_classifier_are_not_trained_on(task: TrainingTask) -> None:
    assert len(task.train.samples) == 16
    more = segments.make(segments.Options(**{**SMALL, "count": 17}), 0)  # type: ignore[arg-type]
    assert [each.id for each in more.train.samples[:16]] == [each.id for each in task.train.samples]


def test_a_task_without_scenes_is_refused() -> None:
    with pytest.raises(DeixisError, match=r"probe is 1\. It must be 2 or more"):
        segments.make(segments.Options(probe=1), 0)
