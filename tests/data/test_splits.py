"""Splits keep what belongs together on one side, whatever the order, the sizes and the seed."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deixis.data.splits import MIN_GROUPS, Split, concept_groups, folds, normalise, split
from deixis.errors import DeixisError
from deixis.types.samples import Sample
from tests.support import examples

WORDS = st.sampled_from(["a red mug", "The red mug!", "red mug 2", "a bird", "birds", "a cat, asleep", "a dog"])
KEYS = st.sampled_from(["x", "y", "z"])


# Captions and groups of each sample
DRAWN = st.lists(st.tuples(st.lists(WORDS, max_size=2), st.lists(KEYS, max_size=1)), min_size=1, max_size=25)


def samples_of(drawn: list[tuple[list[str], list[str]]]) -> list[Sample]:
    return [
        Sample(f"{index}.jpg", Path(f"{index}.jpg"), tuple(captions), groups=tuple(keys))
        for index, (captions, keys) in enumerate(drawn)
    ]


# At least MIN_GROUPS groups, none of them above three quarters of all.
GROUPS = st.lists(st.integers(1, 9), min_size=MIN_GROUPS, max_size=40).map(
    lambda sizes: [group for group, size in enumerate(sizes) for _ in range(size)]
)
SEEDS = st.integers(0, 2**32)


def images(*captions: str) -> list[Sample]:
    return [Sample(f"{index:03d}", Path(f"{index}.jpg"), (text,)) for index, text in enumerate(captions)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A red mug.", "the RED mug"),
        ("a red mug 1", "a red mug 27"),
        ("caf\u00e9", "cafe\u0301"),
        ("a bird's nest", "a bird\u2019s nest"),
        ("red-mug", "red, mug"),
    ],
)
def test_captions_that_differ_in_case_punctuation_articles_or_numbers_are_one(one: str, other: str) -> None:
    assert concept_groups(images(one, other)) == [0, 0]


@pytest.mark.parametrize(
    ("one", "other"), [("a red mug", "a blue mug"), ("7", "8"), ("A", "The"), ("?", "!"), ("", "")]
)
def test_captions_that_differ_otherwise_are_two(one: str, other: str) -> None:
    assert concept_groups(images(one, other)) == [0, 1]


def test_nothing_is_left_of_no_caption() -> None:
    assert normalise("  The A 12 ") == "the a 12"


def test_links_are_transitive() -> None:
    samples = [
        Sample("a", Path("a"), ("one",), groups=("g",)),
        Sample("b", Path("b"), ("two",), groups=("g",)),
        Sample("c", Path("c"), ("Two!",)),
        Sample("d", Path("d"), ("three",)),
        Sample("e", Path("e"), ("four",)),
    ]
    assert concept_groups(samples, [(2, 3)]) == [0, 0, 0, 0, 1]


def test_labels_merge_nothing() -> None:
    samples = [Sample(str(index), Path(str(index)), label="cat") for index in range(3)]
    assert concept_groups(samples) == [0, 1, 2]


@pytest.mark.slow
@given(DRAWN, st.randoms())
def test_the_order_of_samples_changes_neither_groups_nor_splits(
    drawn: list[tuple[list[str], list[str]]], random: Random
) -> None:
    samples = samples_of(drawn)
    shuffled = list(samples)
    random.shuffle(shuffled)
    before, after = concept_groups(samples), concept_groups(shuffled)
    by_id = {sample.id: group for sample, group in zip(samples, before, strict=True)}
    assert {sample.id: group for sample, group in zip(shuffled, after, strict=True)} == by_id


@given(DRAWN)
def test_samples_that_share_a_caption_or_key_share_a_group(drawn: list[tuple[list[str], list[str]]]) -> None:
    samples = samples_of(drawn)
    groups = concept_groups(samples)
    for one, its in zip(samples, groups, strict=True):
        for other, other_its in zip(samples, groups, strict=True):
            said = {normalise(text) for text in one.captions} & {normalise(text) for text in other.captions}
            if said or set(one.groups) & set(other.groups):
                assert its == other_its


@given(GROUPS, SEEDS, st.floats(0.05, 0.95))
def test_a_split_parts_the_samples_by_whole_groups_near_the_wished_share(
    groups: list[int], seed: int, train: float
) -> None:
    made = split(groups, seed, train)
    assert sorted(made.train + made.test) == list(range(len(groups)))
    assert made.train
    assert made.test
    assert not {groups[index] for index in made.train} & {groups[index] for index in made.test}
    assert abs(len(made.train) - train * len(groups)) <= max(map(groups.count, groups))
    assert split(groups, seed, train) == made


@given(GROUPS, SEEDS, st.integers(2, MIN_GROUPS), st.booleans())
def test_folds_test_each_sample_once_and_part_no_group(groups: list[int], seed: int, k: int, labelled: bool) -> None:
    labels = ["ab"[group % 2] for group in groups] if labelled else None
    made = folds(groups, k, seed, labels=labels)
    assert sorted(index for fold in made for index in fold.test) == list(range(len(groups)))
    for fold in made:
        assert fold.test
        assert sorted(fold.train + fold.test) == list(range(len(groups)))
        assert not {groups[index] for index in fold.train} & {groups[index] for index in fold.test}
    if not labelled:
        sizes = [len(fold.test) for fold in made]
        assert max(sizes) - min(sizes) <= max(map(groups.count, groups))
    assert folds(groups, k, seed, labels=labels) == made


@examples(50)
@given(GROUPS, st.lists(st.sampled_from("abcd"), min_size=40, max_size=40), SEEDS)
def test_a_class_with_two_groups_is_on_both_sides(groups: list[int], names: list[str], seed: int) -> None:
    labels = [names[group] for group in groups]
    made = split(groups, seed, labels=labels)
    assert sorted(made.train + made.test) == list(range(len(groups)))
    assert not {groups[index] for index in made.train} & {groups[index] for index in made.test}
    for name in set(labels):
        if len({group for group, label in zip(groups, labels, strict=True) if label == name}) >= 2:
            assert name in {labels[index] for index in made.train}
            assert name in {labels[index] for index in made.test}


def test_labels_split_like_the_whole() -> None:
    groups = list(range(400))
    labels = ["often" if index % 10 else "seldom" for index in groups]
    made = split(groups, 3, labels=labels)
    assert len(made.train) == 240
    assert sum(labels[index] == "seldom" for index in made.train) == 24


def test_different_seeds_split_differently_and_large_groups_take_both_sides() -> None:
    groups = [group for group in range(40) for _ in range(1 + 4 * (group % 2))]
    splits = [split(groups, seed) for seed in range(20)]
    assert len({made.train for made in splits}) == 20
    large = [sum(groups[index] % 2 for index in made.train) / len(made.train) for made in splits]
    assert abs(sum(large) / len(large) - 5 / 6) < 0.03


def test_a_split_survives_json() -> None:
    made = split(list(range(10)), 0)
    assert Split.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_too_few_groups_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(DeixisError, match=r"30 samples form 4 groups .* at least 10.*Add images of at least 6 other"):
        split([index % 4 for index in range(30)], 0)
    with pytest.raises(DeixisError, match=r"3 groups .* 5 folds needs at least 5"):
        folds([0, 1, 2], 5, 0)
    assert len(split([0, 1, 2], 0, minimum=2).train) == 2


def test_one_group_that_holds_nearly_all_is_refused() -> None:
    with pytest.raises(DeixisError, match=r"holds 90 of 101 samples \(89%; at most 75%"):
        split([0] * 90 + list(range(1, 12)), 0)


def test_no_share_and_no_fold_but_a_proper_one() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(list(range(20)), 0, 1.0)
    with pytest.raises(ValueError, match="at least 2"):
        folds(list(range(20)), 1, 0)


def test_both_sides_get_a_group_however_small_the_share() -> None:
    labels = [f"class {index}" for index in range(10)]
    assert len(split(list(range(10)), 0, 0.01, labels=labels).train) == 1
    assert len(split(list(range(10)), 0, 0.99, labels=labels).test) == 1
