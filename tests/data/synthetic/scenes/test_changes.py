"""Changed scenes: one thing is another, the words say which, and all else is as it was."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import pytest

from deixis.data.synthetic.scenes import Change, Scene, SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.types import Sample

SIDE = 48


@functools.cache
def of_shapes(count: int = 12, **changes: object) -> list[Sample]:
    settings = {"cast": "shapes", "tinted": 1.0, "phrases": 0, "questions": 0, "masks": False, "changes": 4, **changes}
    return list(scenes(0, count, side=SIDE, config=SceneConfig(**settings)).samples)  # type: ignore[arg-type]


def pairs(samples: list[Sample]) -> list[tuple[Scene, Change]]:
    return [(s.image, change) for s in samples for change in s.extra["changes"]]  # type: ignore[misc]


def looks(scene: Scene) -> Counter[tuple[str, str]]:
    return Counter((item.picture.noun, item.colour) for item in scene.items)  # type: ignore[union-attr]


def test_the_words_tell_the_one_thing_that_is_another() -> None:
    kinds: Counter[str] = Counter()
    for scene, change in pairs(of_shapes()):
        [(noun, colour)] = looks(change.scene) - looks(scene)
        gone = list(looks(scene) - looks(change.scene))
        if gone:
            [(old, before)] = gone
            assert old == noun
            assert before != colour
            assert change.words in (f"a {colour} {noun}", f"an {colour} {noun}")
        else:
            assert change.words in (f"a {colour} {noun}", f"an {colour} {noun}")
            assert noun not in {each for each, _ in looks(scene)}, "else it might be a thing in another tint"
        kinds["tinted" if gone else "added"] += 1
    assert min(kinds.values()) > 0.25 * kinds.total(), "by turns"


def test_all_else_stands_where_it_stood() -> None:
    for scene, change in pairs(of_shapes()):
        bare = [dataclasses.replace(item, colour="") for item in change.scene.items[: len(scene.items)]]
        assert bare == [dataclasses.replace(item, colour="") for item in scene.items]
        assert (change.scene.ground, change.scene.side) == (scene.ground, scene.side)
        assert (change.scene.draw() != scene.draw()).any()


def test_what_is_added_covers_nothing_more_than_may_be() -> None:
    for scene, change in pairs(of_shapes(objects=(4, 6), overlap=0.25)):
        seen, whole = Counter(change.scene.layers().ravel().tolist()), [int(i.solid().sum()) for i in scene.items]
        for number, area in enumerate(whole):
            assert seen[number] >= 0.75 * area


def test_changes_of_a_scene_are_in_other_words_each_and_leave_the_scene_alone() -> None:
    samples, plain = of_shapes(), of_shapes(changes=0)
    for sample, same in zip(samples, plain, strict=True):
        assert len({change.words for change in sample.extra["changes"]}) == len(sample.extra["changes"]) == 4
        assert "changes" not in same.extra
        assert (sample.image, sample.captions, sample.regions) == (same.image, same.captions, same.regions)
    assert of_shapes(2) == samples[:2]


def test_of_things_in_their_own_colours_none_is_tinted() -> None:
    found = pairs(of_shapes(tinted=0.0))
    assert all(len(change.words.split()) == 2 for _, change in found)
    assert not any(item.colour for _, change in found for item in change.scene.items)


def test_where_nothing_can_change_there_are_no_changes() -> None:
    assert not pairs(of_shapes(nouns=("star", "ring"), objects=(2, 2), repeats=1, tinted=0.0))
    with pytest.raises(DeixisError, match="changes -1"):
        SceneConfig(changes=-1)
