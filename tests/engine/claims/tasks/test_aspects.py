"""The task of claims about conditional similarity: what is asked for, of which pictures, and what counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from deixis import zoo
from deixis.data.aspects import SCENE_WORDINGS, scene_value
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import aspects
from deixis.errors import DeixisError
from deixis.methods import focallens
from deixis.methods.baselines import same_triplets
from deixis.types import Source

CARD = same_triplets.CARD
"""Of `Knows`."""


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return aspects.make(aspects.Options(count=20, held=20, untrained="ground"), 0)


class Knows(same_triplets.Method):
    """Says what pictures show in the respect that some wordings name, and nothing in others."""

    def __init__(self, source: Source, name: str, wordings: tuple[str, ...]) -> None:
        super().__init__(focallens.Config.tiny(), encoder=zoo.load("tiny"))
        values = [scene_value(sample, name) for sample in source.samples]
        self.rows = nn.functional.one_hot(torch.tensor([sorted(set(values)).index(each) for each in values])).float()
        self.wordings = wordings

    def encode_about(self, images: Any, instructions: Any) -> Any:
        return self.rows if instructions[0] in self.wordings else torch.ones_like(self.rows)


def test_each_picture_is_asked_for_in_all_respects_but_the_one_that_is_held_out(task: TrainingTask) -> None:
    asked = [(each.extra["aspect"], each.extra["respect"]) for each in task.train.samples]
    assert sorted(set(asked)) == [("colour", 1), ("kind", 0), ("place", 3), ("size", 2)]
    assert len(asked) == 80
    for sample in task.train.samples:
        assert set(sample.extra["instruction"]) == set(SCENE_WORDINGS[sample.extra["aspect"]][:-1])


def test_a_method_that_knows_the_colour_alone_ranks_by_it_perfectly_and_by_others_by_chance(task: TrainingTask) -> None:
    trained, held = SCENE_WORDINGS["colour"][0], SCENE_WORDINGS["colour"][-1]
    method = Knows(task.test, "colour", (trained,))
    values = task.measures["aspect_map"](method, task.test)
    assert float(values.mean()) < 1
    assert float((values > 0.999).float().mean()) >= 0.2, "one respect of four"
    assert float(task.measures["held_wording"](method, task.test).mean()) < float(values.mean())
    told = Knows(task.test, "colour", (trained, held))
    assert float(task.measures["held_wording"](told, task.test).mean()) == pytest.approx(float(values.mean()))
    ground = Knows(task.test, "ground", (SCENE_WORDINGS["ground"][0],))
    assert float(task.measures["untrained_map"](ground, task.test).mean()) == pytest.approx(1.0)


def test_options_that_mean_nothing_are_refused_and_trained_respects_not_measured_as_untrained() -> None:
    for options, message in (({"untrained": "weight"}, "untrained is 'weight'"), ({"held": 1}, "held is 1")):
        with pytest.raises(DeixisError, match=message):
            aspects.make(aspects.Options(**{"count": 20, "held": 20, **options}), 0)  # type: ignore[arg-type]
    whole = aspects.make(aspects.Options(count=20, held=20), 0)
    with pytest.raises(DeixisError, match="All respects are trained"):
        whole.measures["untrained_map"](Knows(whole.test, "size", ()), whole.test)


@pytest.mark.slow
def test_the_encoder_learns_what_pictures_show_and_is_read_from_the_cache_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(aspects.starter, "load_minilm", lambda: zoo.load("tiny").text_side())
    monkeypatch.setattr(aspects, "cache_dir", lambda *parts: tmp_path.joinpath(*parts))
    made = aspects.make(aspects.Options(count=40, held=20, size="tiny", base=30), 0)
    first = made.encoder(0)
    monkeypatch.setattr(aspects, "_train", lambda *arguments: pytest.fail("it is in the cache"))
    again = made.encoder(0)
    torch.testing.assert_close(first.image_tower.state_dict(), again.image_tower.state_dict(), rtol=0, atol=0)
    assert again.width == 16
