"""Few of each class: draws that hold one another, parts that share nothing, and averages that say which they are."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deixis.engine.fewshot.draws import Labelled, draw, halves, limited, parts, two_sided
from deixis.engine.fewshot.means import harmonic_means, spread
from deixis.engine.fewshot.plans import plan
from deixis.engine.fewshot.recipe import ShotRecipe, fingerprint
from deixis.errors import DeixisError

CLASSES = ("ant", "bee", "cow", "dog", "elk")
SHOTS = (1, 2, 4, 8)


def labelled(classes: tuple[str, ...] = CLASSES, each: int = 20, views: int = 2, styles: int = 1) -> Labelled:
    """Of each class so many images, by twos of one thing."""
    count = len(classes) * each
    labels = tuple(classes[i // each] for i in range(count))
    groups = tuple(i // views for i in range(count))
    drawn = tuple(f"style {i % styles}" if styles > 1 else "" for i in range(count))
    return Labelled(tuple(f"{i:04}.jpg" for i in range(count)), labels, groups, styles=drawn)


def groups_of(data: Labelled, images: tuple[int, ...]) -> set[int]:
    return {data.groups[i] for i in images}


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_smaller_draw_is_held_by_every_larger_one(seed: int, shots: int) -> None:
    data = labelled()
    found = draw(data, range(100), CLASSES, (shots, shots + 3), seed)
    assert set(found[shots]) < set(found[shots + 3])
    assert [data.labels[i] for i in found[shots]] == [name for name in CLASSES for _ in range(shots)]


def test_a_class_with_fewer_images_gives_all_it_has_and_one_with_none_is_refused() -> None:
    data = labelled(("ant", "bee"), each=3)
    assert len(draw(data, range(6), ("ant", "bee"), (16,), 0)[16]) == 6
    with pytest.raises(DeixisError, match="no image of 'cow'"):
        draw(data, range(6), ("ant", "cow"), (1,), 0)
    with pytest.raises(DeixisError, match="images per class"):
        draw(data, range(6), ("ant", "bee"), (0,), 0)


def test_the_second_view_of_a_thing_is_drawn_when_all_things_were_drawn_once() -> None:
    data = labelled(("ant", "bee"), each=8, views=4)
    for seed in range(5):
        found = draw(data, range(16), ("ant",), (2,), seed)[2]
        assert len(groups_of(data, found)) == 2


def test_what_a_class_draws_depends_neither_on_other_classes_nor_on_the_order_of_files() -> None:
    data = labelled()
    alone, beside = (draw(data, range(100), names, SHOTS, 3)[4] for names in (("cow",), CLASSES))
    assert set(alone) == {i for i in beside if data.labels[i] == "cow"}
    order = random.Random(0).sample(range(100), 100)
    fields = {name: tuple(getattr(data, name)[i] for i in order) for name in ("ids", "labels", "groups", "styles")}
    mixed = Labelled(**fields)  # type: ignore[arg-type]
    again = draw(mixed, range(100), CLASSES, SHOTS, 3)[4]
    assert {mixed.ids[i] for i in again} == {data.ids[i] for i in beside}


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_no_thing_is_in_two_parts_and_every_class_in_all(seed: int) -> None:
    data = labelled()
    made = parts(data, seed, test=0.35, validation=0.15)
    sides = [groups_of(data, side) for side in (made.train, made.validation, made.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert two_sided(data, made) == CLASSES
    assert sorted((*made.train, *made.validation, *made.test)) == list(range(100))


def test_sides_that_the_data_names_are_kept_and_what_is_doubled_across_them_is_not_learned() -> None:
    data = labelled(("ant", "bee"), each=6, views=2)
    sides = tuple("train" if i % 6 < 3 else "test" for i in range(12))  # the second pair of each class lies across
    made = parts(dataclasses.replace(data, sides=sides))
    assert made.test == tuple(i for i in range(12) if sides[i] == "test")
    assert made.train == (0, 1, 6, 7)


def test_a_class_that_can_not_be_on_both_sides_is_left_out_and_one_class_is_refused() -> None:
    data = labelled(("ant", "bee", "cow"), each=4)
    lonely = dataclasses.replace(data, groups=(*data.groups[:8], 99, 99, 99, 99))
    assert two_sided(lonely, parts(lonely)) == ("ant", "bee")
    with pytest.raises(DeixisError, match="images to train on and others to test on"):
        two_sided(lonely, dataclasses.replace(parts(lonely), test=()))


def test_the_first_half_of_the_sorted_classes_is_learned_and_the_larger_one() -> None:
    assert halves(("elk", "dog", "cow", "bee", "ant")) == (("ant", "bee", "cow"), ("dog", "elk"))
    drawn = {halves(CLASSES, seed)[0] for seed in range(20)}
    assert len(drawn) > 1
    with pytest.raises(DeixisError, match="no choice between two"):
        halves(("ant", "bee", "cow"))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_average_of_harmonic_means_is_never_above_that_of_the_averages(runs: list[tuple[float, float]]) -> None:
    found = harmonic_means(*zip(*runs, strict=True))
    assert found.mean_of <= found.of_means + 1e-12


def test_the_published_averages_give_the_published_harmonic_mean() -> None:
    assert round(100 * harmonic_means([0.8047], [0.7169]).of_means, 2) == 75.83  # CoCoOp, 11 sets
    apart = harmonic_means([0.9, 0.5], [0.5, 0.9])
    assert (round(apart.of_means, 3), round(apart.mean_of, 3)) == (0.7, 0.643)


def test_an_interval_is_told_where_draws_differ_and_stays_between_none_and_all() -> None:
    assert spread([0.5]).low is None
    assert spread([0.5, 0.5, 0.5]).low is None
    found = spread([0.9, 1.0, 0.95])
    assert found.low is not None
    assert found.low < 0.95
    assert found.high == 1.0


def test_a_limit_takes_nearly_equally_many_of_each_class_and_the_same_each_time() -> None:
    labels = ["ant"] * 50 + ["bee"] * 5 + ["cow"] * 30
    kept = limited(labels, 24)
    assert [sum(labels[i] == name for i in kept) for name in ("ant", "bee", "cow")] == [10, 5, 9]
    assert kept == limited(labels, 24)
    assert limited(labels, 0) == list(range(85))


def test_new_classes_are_asked_about_and_never_learned() -> None:
    data = labelled()
    made = plan("base-to-new", data, (1, 4), 3)
    assert made.names == ("ant", "bee", "cow")
    learned = {data.labels[i] for each in made.draws.values() for i in each[4]}
    assert learned == set(made.names)
    assert {test.name: test.names for test in made.tests} == {"base": made.names, "new": ("dog", "elk")}
    assert list(made.draws[0]) == [4], "the largest number alone"


def test_across_styles_one_is_learned_and_no_thing_learned_is_asked_about_in_another() -> None:
    data = labelled(each=40, views=4, styles=4)
    made = plan("cross-style", data, (8,), 2, style="style 2")
    drawn = {i for each in made.draws.values() for i in each[8]}
    assert {data.styles[i] for i in drawn} == {"style 2"}
    tested = [i for test in made.tests for i in test.images]
    assert not groups_of(data, tuple(drawn)) & groups_of(data, tuple(tested))
    assert [test.name for test in made.tests] == ["style 2", "style 0", "style 1", "style 3"]
    with pytest.raises(DeixisError, match="no style"):
        plan("cross-style", labelled(), (8,), 2)


def test_classes_that_are_short_of_images_are_told() -> None:
    made = plan("few-shot", labelled(each=6), (1, 16), 1)
    assert "fewer than 16 training images" in made.notes[0]


def test_a_recipe_has_another_hash_when_anything_is_another() -> None:
    told = dict(
        protocol="few-shot",
        data="photos",
        data_fingerprint="ab",
        classes=("ant", "bee"),
        splits={"lists": "cd"},
        shots=(1, 2),
        seeds=(0,),
        model="tiny",
        model_fingerprint="ef",
        transform="plain",
        methods={"coop": {"epochs": 50, "words": ""}},
    )
    recipe = ShotRecipe(**told)  # type: ignore[arg-type]
    changes = {"methods": {"coop": {"epochs": 51, "words": ""}}, "seeds": (0, 1), "splits": {"lists": "ce"}}
    assert len({recipe.hash, *(dataclasses.replace(recipe, **{k: v}).hash for k, v in changes.items())}) == 4
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert recipe.to_dict()["hash"] == recipe.hash
