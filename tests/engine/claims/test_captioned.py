"""The task of GPT4Image's claims: emoji by group, whose captions are taken away in steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import captioned
from deixis.engine.claims.trials import _build
from deixis.errors import DeixisError
from deixis.types import Sample, Source


@dataclasses.dataclass(frozen=True)
class Blot:
    """A grey square of the shade that its number says."""

    name: str
    shade: int

    def draw(self) -> np.ndarray:
        return np.full((16, 16, 3), self.shade % 256, np.uint8)


@pytest.fixture
def emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty things of two groups, in two styles each."""

    def read(name: str) -> Source:
        samples = []
        for thing in range(30):
            facts = {
                "group": ("animals-nature", "flags")[thing % 2],
                "subgroup": f"s{thing % 4}",
                "tags": (f"t{thing}",),
            }
            for style in "ab":
                picture = Blot(f"{style}/{thing}", 8 * thing)
                groups = (f"concept:{thing}",)
                samples.append(Sample(picture.name, picture, (f"thing {thing}",), groups=groups, extra=facts))
        return Source(name, Path(), "captions", "toys", tuple(samples))

    monkeypatch.setattr(catalogue, "read", read)


def made(**options: object) -> TrainingTask:
    return captioned.make(captioned.Options(**{"side": 16, "channels": 4, "batch_size": 8, **options}), 0)  # type: ignore[arg-type]


def things(source: Source) -> set[str]:
    return {group for sample in source.samples for group in sample.groups}


def test_things_are_divided_and_not_pictures_and_a_share_is_a_part_of_the_things(emoji: None) -> None:
    task, less = made(), made(share=0.5)
    assert not things(task.train) & things(task.test)
    assert not things(task.train) & things(task.validation)
    assert len(task.train.samples) == 2 * len(things(task.train))
    assert things(less.train) < things(task.train)
    assert things(less.test) == things(task.test)


def test_texts_say_less_from_step_to_step_and_labels_stay(emoji: None) -> None:
    texts = {text: [each.captions[0] for each in made(text=text).train.samples] for text in captioned.TEXTS}
    assert texts["captions"][0].startswith("thing ")
    assert sorted(texts["exchanged"]) == sorted(texts["captions"])
    assert texts["exchanged"] != texts["captions"]
    assert set(texts["class name"]) == {"animals-nature", "flags"}
    assert len(set(texts["random"])) == 2
    labels = [[each.label for each in made(text=text).train.samples] for text in captioned.TEXTS]
    assert labels.count(labels[0]) == len(labels)


def test_a_new_tower_is_measured_by_group_and_by_subgroup(emoji: None) -> None:
    task = made()
    settings = {"names": ("animals-nature", "flags"), "text": "tiny", "layers": "all", "statistics": True}
    method = _build("gpt4image", settings, task, 0)
    for name in captioned.TASK.metrics:
        assert len(task.measures[name](method, task.test)) == len(task.test.samples)


@pytest.mark.parametrize("options", [{"share": 0.0}, {"held": 0.5}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(DeixisError, match="text is one of captions, class name, exchanged, random"):
        made(**options)
