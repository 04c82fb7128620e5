"""Articles, plurals and the order of adjectives."""

from __future__ import annotations

import pytest

from deixis.data.synthetic.scenes.wording import article, describe, plural, spoken_list


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("bird", "a"),
        ("orange bird", "an"),
        ("unicorn", "a"),
        ("university", "a"),
        ("umbrella", "an"),
        ("uniform", "a"),
        ("ewe", "a"),
        ("European house", "a"),
        ("hourglass", "an"),
        ("honeybee", "a"),
        ("onion", "an"),
        ("ukulele", "a"),
        ("unusual bird", "an"),
    ],
)
def test_the_article_goes_by_the_sound(words: str, right: str) -> None:
    assert article(words) == right


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("bird", "birds"),
        ("box", "boxes"),
        ("paintbrush", "paintbrushes"),
        ("peach", "peaches"),
        ("strawberry", "strawberries"),
        ("donkey", "donkeys"),
        ("potato", "potatoes"),
        ("banjo", "banjos"),
        ("fireman", "firemen"),
        ("woodlouse", "woodlice"),
        ("house", "houses"),
        ("mouse", "mice"),
        ("computer mouse", "computer mice"),
        ("tooth", "teeth"),
        ("goose", "geese"),
        ("mongoose", "mongooses"),
        ("scarf", "scarves"),
        ("giraffe", "giraffes"),
        ("sheep", "sheep"),
        ("clownfish", "clownfish"),
        ("guinea fowl", "guinea fowl"),
        ("police officer", "police officers"),
        ("walrus", "walruses"),
        ("ox", "oxen"),
        ("fox", "foxes"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_size_stands_before_colour_before_noun() -> None:
    assert describe("mouse", "red", "medium", 2) == "medium-sized red mice"


def test_a_list_is_joined_by_commas_and_one_and() -> None:
    assert spoken_list(["a"]) == [""]
    assert spoken_list(["a", "b", "c"]) == ["", ", ", " and "]
