"""Drawn people differ from one another, a third of them in one thing alone; captions are true and know their places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deixis import engine
from deixis.apps.train.same_thing import several_of_each
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import prepare
from deixis.apps.train.train import train
from deixis.data.synthetic.people import ATTRIBUTES, PersonLook, identities, people
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.claims.tasks.people import person_from_text, same_person
from deixis.errors import DeixisError
from deixis.types import Source


def differences(one: PersonLook, other: PersonLook) -> int:
    return sum(getattr(one, name) != getattr(other, name) for name in ATTRIBUTES)


def test_no_two_people_look_the_same_and_a_third_have_a_twin() -> None:
    found = identities(0, 400)
    assert len(set(found)) == 400
    twins = [n for n in range(399) if differences(found[n], found[n + 1]) == 1]
    assert 0.25 < 2 * len(twins) / 400 < 0.42
    with pytest.raises(DeixisError, match="people are requested"):
        identities(0, 10**6)


def test_captions_name_what_is_there_leave_something_out_and_spans_are_where_they_say_it() -> None:
    for sample in people(0, 20, "test", pictures=3).samples:
        look, spoken = sample.extra["look"], 0
        for region in sample.regions:
            for start, end in region.spans:
                assert look[region.category] in sample.captions[0][start:end]
                spoken += 1
        assert 1 <= spoken < len(look)
        assert len(sample.captions) == 3
        for words in ATTRIBUTES["shoes"]:
            assert words == look["shoes"] or not any(words in caption for caption in sample.captions)


def test_pictures_of_a_person_differ_show_their_colours_and_parts_lie_in_their_boxes() -> None:
    source = people(0, 40, "train")
    first = [sample for sample in source.samples if sample.groups == source.samples[0].groups]
    assert len(first) == 6
    drawn = [sample.picture.draw() for sample in first]  # type: ignore[union-attr]
    assert all(each.shape == (64, 32, 3) for each in drawn)
    assert (drawn[0] != drawn[1]).any()
    assert np.array_equal(drawn[0], first[0].picture.draw())  # type: ignore[union-attr]
    for sample in source.samples[::6]:
        for region in sample.regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
    groups = {split: {s.groups for s in people(0, 40, split).samples} for split in ("train", "val", "test")}
    assert not groups["train"] & groups["test"]
    assert [len(each) for each in groups.values()] == [28, 6, 6]
    with pytest.raises(DeixisError, match="no split"):
        people(0, 40, "dev")


def test_a_caption_and_a_picture_look_for_the_person() -> None:
    task = make_task("people", {"count": 40, "batch_size": 8, "size": "tiny"}, 0)
    assert isinstance(task, TrainingTask)
    method = engine.build("plip", "tiny", {"colour": 0.0, "attributes": 0.0}, {"encoder": task.encoder(0)})
    for measure in (person_from_text, same_person):
        values = measure(method, task.test)
        assert values.shape == (36,)
        assert ((values >= 0) & (values <= 1)).all()


def small(count: int, pictures: int) -> Source:
    return people(0, count, "train", pictures=pictures)


def test_things_with_one_picture_are_counted_and_left_out_and_too_few_are_refused() -> None:
    source, method = small(20, 2), engine.build("plip", "tiny")
    usable, notes = several_of_each(dataclasses.replace(source, samples=source.samples[1:]), method)
    assert len(usable.samples) == len(source.samples) - 2
    assert notes == [f"1 of {len(source.samples) - 1} pictures are the only one of their thing, and are left out."]
    with pytest.raises(DeixisError, match="--group product_id"):
        several_of_each(small(20, 1), method)
    assert several_of_each(small(20, 1), engine.build("clip", "tiny"))[1] == [], "clip asks for no groups"
    with pytest.raises(DeixisError, match="A batch of 64 holds 32 things with 2 pictures of each, and there are 14"):
        prepare("plip", source, TrainSettings(config="tiny", steps=2, batch_size=64, held_out=0.0))


@pytest.mark.slow
def test_training_on_things_ends_in_how_often_the_same_thing_is_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, settings = small(60, 3), TrainSettings(config="tiny", steps=2, batch_size=8, held_out=0.3, workers=0)
    result = train("plip", source, tmp_path / "run", settings)
    assert 0 <= result["after"]["same_thing"] <= 1
    assert "of 100 pictures another one of the same thing comes first" in capfd.readouterr().out
    unplaced = dataclasses.replace(source, samples=tuple(dataclasses.replace(s, regions=()) for s in source.samples))
    with pytest.raises(DeixisError, match="lack the data for 'spans'"):
        train("plip", unplaced, tmp_path / "other", settings, quiet=True)
