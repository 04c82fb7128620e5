"""Clutter: one of three or four things in a scene is of the classes, and splits share no cut-out."""

from __future__ import annotations

from collections import Counter

import pytest

from deixis.data.synthetic.clutter import class_sets, clutter, shared_nouns
from deixis.errors import DeixisError


def test_one_thing_of_each_scene_is_of_the_classes_and_is_its_label() -> None:
    nouns = shared_nouns("shapes")
    classes, others = nouns[:2], nouns[2:6]
    source = clutter(classes, others, {"train": 3, "test": 2}, 5, cast="shapes", side=48)
    assert Counter((sample.split, sample.label) for sample in source.samples) == {
        **{("train", noun): 3 for noun in classes},
        **{("test", noun): 2 for noun in classes},
    }
    cutouts: dict[str, set[str]] = {"train": set(), "test": set()}
    for sample in source.samples:
        things = [region.category for region in sample.regions]
        assert 2 < len(things) < 5
        assert [noun for noun in things if noun in classes] == [sample.label]
        cutouts[sample.split] |= {region.attributes["cutout"] for region in sample.regions}
    assert not cutouts["train"] & cutouts["test"]
    again = clutter(classes, others, {"train": 3, "test": 2}, 5, cast="shapes", side=48)
    assert [sample.id for sample in again.samples] == [sample.id for sample in source.samples]


def test_sets_of_classes_share_no_noun_with_one_another_nor_with_what_stands_beside() -> None:
    count = len(shared_nouns("shapes"))
    first, second = class_sets("shapes", 2, count // 4, 1)
    assert not {*first[0]} & {*second[0]}
    assert not {*first[0], *second[0]} & {*first[1], *second[1]}
    assert class_sets("shapes", 2, count // 4, 1) == (first, second)
    with pytest.raises(DeixisError, match="with cut-outs in every split"):
        class_sets("shapes", 2, count, 1)


def test_classes_may_be_limited_to_some_nouns_and_what_stands_beside_is_any() -> None:
    nouns = shared_nouns("shapes")
    ((classes, others),) = class_sets("shapes", 1, 2, 1, nouns[:3])
    assert {*classes} < {*nouns[:3]}
    assert not {*classes} & {*others}
    assert len(others) == 4
    with pytest.raises(DeixisError, match="3 nouns may be classes"):
        class_sets("shapes", 2, 2, 1, nouns[:3])


def test_a_noun_can_not_be_a_class_and_none() -> None:
    with pytest.raises(DeixisError, match="must be of other nouns"):
        clutter(("star",), ("star", "circle"), {"train": 1}, 0, cast="shapes")
