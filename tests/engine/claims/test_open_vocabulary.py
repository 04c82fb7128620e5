"""The task of OVDiff's claims: nothing is trained, and support pictures have the backgrounds of the scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.data.samplers.scene_sampler import SceneSampler
from deixis.engine.claims.tasks import masks, open_vocabulary
from deixis.types import Drawing

NOUNS = ("bar", "ring")
SMALL: dict[str, Any] = {"nouns": NOUNS, "captions": 8, "steps": 1, "side": 48, "channels": 4}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> open_vocabulary.OpenVocabularyTask:
    patch = pytest.MonkeyPatch()
    patch.setattr(masks, "cache_dir", lambda *parts: Path(tmp_path_factory.getbasetemp(), *parts))
    made = open_vocabulary.make(open_vocabulary.Options(**SMALL), 0)
    patch.undo()
    return made


def test_a_curve_is_miou_over_the_first_scenes_with_a_value_a_class(task: open_vocabulary.OpenVocabularyTask) -> None:
    settings = {"support": 3, "centroids": 2, "crops": (), "levels": (1,), "view": {"size": 48}}
    for method, own in (("ovdiff", settings), ("score_map", {"crops": (), "view": {"size": 48}})):
        found = task.curve(method, own, "miou", "validation", 8)
        assert [count for count, _ in found.points] == [2, 4, 6, 8]
        assert len(found.values) == 3
        assert found.points[-1][1] == pytest.approx(sum(found.values) / 3)
        again = task.curve(method, own, "miou", "validation", 8)
        assert again.values == found.values
        assert again.part == found.part
    assert task.curve("ovdiff", settings, "miou", "test", 8).part != found.part


def test_support_pictures_show_the_thing_on_its_own_background_as_often_as_rho_says() -> None:
    config = masks.scene_config(masks.Options(nouns=NOUNS, side=48), rho=1.0)
    sampler = SceneSampler(config, 48)
    drawn = sampler("a ring", 4, torch.Generator().manual_seed(0))
    again = sampler("ring", 4, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.images, again.images)
    assert drawn.attribution.flatten(1).sum(1).min() > 20
    source = masks.scene_source(masks.Options(nouns=("ring",), side=48), "val", 4, 1, rho=1.0)
    assert len({sample.extra["background"] for sample in source.samples}) == 1
    assert all(isinstance(sample.image, Drawing) for sample in source.samples)
    assert len(sampler("a zebra", 4, torch.Generator()).images) == 0
