"""The task of SEER's claim: what is curated, what is not, and styles that no arm has seen."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from deixis.data import catalogue
from deixis.data.synthetic.picture_styles import SEEN, UNSEEN, StyledPicture
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import styles
from deixis.engine.claims.trials import _build
from deixis.errors import DeixisError
from deixis.methods import seer
from deixis.types import Sample, Source


@dataclasses.dataclass(frozen=True)
class Thing:
    """A light square whose place is its class."""

    name: str
    place: int

    def draw(self) -> np.ndarray:
        pixels = np.zeros((28, 28, 3), np.uint8)
        pixels[4 + 8 * (self.place // 2) :][:10, 4 + 10 * (self.place % 2) :][:, :10] = 220
        return pixels


def things(kind: str, count: int) -> tuple[Sample, ...]:
    """Of four classes."""
    return tuple(
        Sample(f"{kind}/{i}", Thing(f"{kind}/{i}", i % 4), label="abcd"[i % 4], extra={"what": "photographs"})
        for i in range(count)
    )


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toys in place of the sets that the task reads."""
    counts = {"fashion/train": 200, "fashion/test": 60, "photos": 3, "stamps": 8, "emoji": 8}

    def read(name: str) -> Source:
        samples = things(name, counts[name])
        if name == "photos":
            samples = tuple(dataclasses.replace(each, image=Path(each.id)) for each in samples)
        return Source(name, Path(), "labels", "toys", samples)

    monkeypatch.setattr(catalogue, "read", read)
    behind = "deixis.data.synthetic.picture_styles.Ground.draw"
    monkeypatch.setattr(behind, lambda self, side: np.full((side, side, 3), 60))


SMALL = {"count": 400, "curated": 40, "held": 20, "batch_size": 8, "channels": 4}


def made(seed: int = 0, **options: object) -> TrainingTask:
    return styles.make(styles.Options(**{**SMALL, **options}), seed)  # type: ignore[arg-type]


def drawn(samples: Sequence[Sample]) -> list[str]:
    return [sample.extra["style"] for sample in samples]


def test_curated_pictures_are_plain_and_balanced_and_uncurated_ones_have_no_labels_and_a_tail(sets: None) -> None:
    curated, uncurated = made(pictures="curated").train, made(tail=2.0).train
    assert collections.Counter(each.label for each in curated.samples) == dict.fromkeys("abcd", 10)
    assert set(drawn(curated.samples)) == {"plain"}
    assert {each.label for each in uncurated.samples} == {None}
    assert set(drawn(uncurated.samples)) == set(SEEN)
    others = [each for each in uncurated.samples if "stamps/" in each.id or "emoji/" in each.id]
    assert len(others) / 400 == pytest.approx(0.125, abs=0.05)
    assert len({each.id for each in uncurated.samples}) == 400


def test_what_is_held_out_is_trained_on_by_no_arm_and_comes_in_unseen_styles(sets: None) -> None:
    task, curated = made(), made(pictures="curated")
    validation = {each.id.split()[0] for each in task.validation.samples}
    assert validation == {each.id.split()[0] for each in curated.validation.samples}
    for train in (task.train, curated.train):
        assert not validation & {each.id.split()[0 if each.label else 1] for each in train.samples}
    assert all(each.id.startswith("fashion/test") for each in task.test.samples)
    assert set(drawn(task.test.samples)) == {*SEEN, *UNSEEN}
    assert set(drawn(made(exposed=True).train.samples)) == {*SEEN, *UNSEEN}


@pytest.mark.parametrize("style", [*SEEN, *UNSEEN])
def test_a_style_is_the_same_each_time_and_changes_the_picture_unless_it_is_plain(style: str, sets: None) -> None:
    thing = Thing("x", 1)
    picture = StyledPicture(thing, style, 0, 28, Path("photo"))
    assert picture.draw().shape == (28, 28, 3)
    assert np.array_equal(picture.draw(), picture.draw())
    assert np.array_equal(picture.draw(), thing.draw()) == (style == "plain")


def test_a_new_tower_is_measured_in_all_styles(sets: None) -> None:
    task = made()
    method = _build("seer", seer.CLAIMS[0].arms["uncurated"].overrides, task, 0)
    values = {name: task.measures[name](method, task.test) for name in styles.TASK.metrics}
    counts = {name: len(each) for name, each in values.items()}
    assert counts == {"unseen_styles": 20, "worst_style": 5, "seen_styles": 20, "plain": 20}
    assert float(values["worst_style"].mean()) <= float(values["unseen_styles"].mean())


def test_features_that_are_the_pixels_know_plain_things_and_fewer_in_other_styles(
    sets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pixels(method: object, samples: Sequence[Sample]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(each.picture.draw()).double().flatten() for each in samples])

    task = made()
    monkeypatch.setattr(styles, "_features", pixels)
    values = {name: float(task.measures[name](torch.nn.Identity(), task.test).mean()) for name in styles.TASK.metrics}
    assert values["plain"] == 1.0
    assert values["worst_style"] <= values["unseen_styles"] < 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [({"count": 1}, "count is 1"), ({"others": 1.0}, "others is 1.0"), ({"held": 2}, "held is 2")],
)
def test_options_that_make_no_task_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        made(**options)
