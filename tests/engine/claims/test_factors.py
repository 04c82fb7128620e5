"""The task of the projection head's claims: pairs of views on one texture, some of which lack the garment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deixis.data import catalogue
from deixis.data.synthetic.textured_pictures import TexturedPicture
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import factors
from deixis.engine.claims.trials import _build
from deixis.errors import DeixisError
from deixis.methods import projection_head
from deixis.types import Sample, Source

KINDS = [kind for kinds in factors.GROUPS.values() for kind in kinds]


@dataclasses.dataclass(frozen=True)
class Square:
    """White in the middle of black."""

    name: str = "square"

    def draw(self) -> np.ndarray:
        pixels = np.zeros((28, 28, 3), np.uint8)
        pixels[8:20, 8:20] = 255
        return pixels


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy in place of the garments."""

    def read(name: str) -> Source:
        samples = tuple(Sample(f"{name}/{i}", Square(f"{name}/{i}"), label=KINDS[i % 10]) for i in range(160))
        return Source(name, Path(), "labels", "toys", samples)

    monkeypatch.setattr(catalogue, "read", read)


def made(**options: object) -> TrainingTask:
    small = {"count": 100, "probe": 30, "held": 20, "channels": 4, "batch_size": 8}
    return factors.make(factors.Options(**{**small, **options}), 0)  # type: ignore[arg-type]


def test_two_views_share_the_texture_and_one_of_them_may_lack_the_thing() -> None:
    black = dataclasses.replace(TexturedPicture(Square(), 3, 1), shown=False)
    shown = TexturedPicture(Square(), 3, 1)
    assert np.array_equal(shown.draw(), shown.draw())
    different = (shown.draw() != black.draw()).any(axis=2)
    assert 0 < different.mean() < 0.5, "the thing alone"
    assert not np.array_equal(shown.draw(), TexturedPicture(Square(), 4, 1).draw())
    assert not np.array_equal(shown.draw(), TexturedPicture(Square(), 3, 2).draw())


@pytest.mark.parametrize(("dropped", "expected"), [(0.0, 0), (0.3, 30), (1.0, 100)])
def test_as_many_pairs_as_wished_lack_the_garment_in_one_view(sets: None, dropped: float, expected: int) -> None:
    pairs = [sample.extra["pair"] for sample in made(dropped=dropped).train.samples]
    lacking = [sum(not view.shown for view in pair) for pair in pairs]
    assert max(lacking) <= 1
    assert sum(lacking) == pytest.approx(expected, abs=12)
    assert all(pair[0].texture == pair[1].texture for pair in pairs)


def test_what_is_measured_is_trained_on_by_no_arm_and_shows_its_garment(sets: None) -> None:
    task = made()
    trained = {sample.id for sample in task.train.samples}
    assert not trained & {sample.id for sample in task.validation.samples}
    assert all(sample.id.startswith("fashion/test") and sample.picture.shown for sample in task.test.samples)  # type: ignore[union-attr]
    assert {sample.label for sample in made(labels="groups").train.samples} == set(factors.GROUPS)


def test_how_often_the_garment_is_missing_changes_nothing_of_what_is_measured(sets: None) -> None:
    """So that trainings with more and with fewer garments are compared on the same pictures."""
    never, often = made(dropped=0.0), made(dropped=0.6)
    assert [each.id for each in never.test.samples] == [each.id for each in often.test.samples]
    assert [each.id for each in never.validation.samples] == [each.id for each in often.validation.samples]


def test_a_new_tower_is_measured_before_and_behind_the_head(sets: None) -> None:
    task = made()
    method = _build("projection_head", projection_head.CLAIMS[0].arms["before the head"].overrides, task, 0)
    values = {name: task.measures[name](method, task.test) for name in factors.TASK.metrics}
    assert {len(each) for each in values.values()} == {20}
    assert values["gain"].tolist() == (values["before"] - values["behind"]).tolist()


def test_a_share_above_one_is_refused(sets: None) -> None:
    with pytest.raises(DeixisError, match=r"dropped is 1\.5"):
        made(dropped=1.5)
