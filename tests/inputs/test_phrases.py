"""Which noun a caption is about, and what a phrase says of the things that it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deixis.errors import DeixisError
from deixis.inputs.phrases import NounPhrase, head_noun, noun_phrases, parse_phrase, singular


@pytest.mark.parametrize(
    ("caption", "noun"),
    [
        ("A great blue heron.", "heron"),
        ("An astronaut making a spacewalk!", "astronaut"),
        ("A girl in a wheelchair.", "girl"),
        ("A head of red lettuce.", "lettuce"),
        ("A pair of blue jeans with patches.", "jeans"),
        ("A cup of espresso coffee.", "cup"),
        ("Some cherries.", "cherry"),
        ("Two wild boars.", "boar"),
        ("A ripe, red tomato!", "tomato"),
        ("Bread, sliced, and shared by everyone.", "bread"),
        ("A spiny lobster, from the Hawaiian islands.", "lobster"),
        ("A blue and yellow flag.", "flag"),
        ("A top and skirt.", "top"),
        ("A silver garbage can.", "can"),
        ("A four leaf clover is said to bring good luck!", "clover"),
        ("A christmas pudding is eaten on Christmas Day in England.", "pudding"),
        ("Holly leaves are shiny and have prickles!", "leaf"),
        ("A hoverfly resembles a honeybee drone.", "hoverfly"),
        ("A stethoscope lets your doctor listen to your heart and lungs.", "stethoscope"),
        ("A chick hatched from an egg.", "chick"),
        ("A hat worn by a university student.", "hat"),
        ("A sitting gnu.", "gnu"),
        ("An old Chinese sailing ship.", "ship"),
        ("A washing machine.", "machine"),
        ("A wizard's hat.", "hat"),
        ("A “Granny Smith” apple.", "apple"),
        ("Venus—the second planet in the solar system!", "venus"),
        ("Tux and spider - two friends.", "tux"),
        ("George the blue groper.", "groper"),
        ("Remember to flush the toilet and wash your hands with soap!", "toilet"),
        ("Eat your bread!", "bread"),
        ("With a fast APC like this Stryker, you can surprise the enemy.", "apc"),
        ("A Jack-o’-lantern.", "jack-o’-lantern"),
        ("Red shoes on a table", "shoe"),
        ("A photo of a dog in the snow", "dog"),
        ("  three   small\tbirds ", "bird"),
        ("the", "the"),
        ("…", ""),
        ("", ""),
    ],
)
def test_the_head_noun_is_the_last_word_of_the_first_noun_phrase(caption: str, noun: str) -> None:
    assert head_noun(caption) == noun


@pytest.mark.parametrize(
    ("plural", "single"),
    [
        ("cherries", "cherry"),
        ("peaches", "peach"),
        ("boxes", "box"),
        ("tomatoes", "tomato"),
        ("shoes", "shoe"),
        ("leaves", "leaf"),
        ("mice", "mouse"),
        ("houses", "house"),
        ("dogs", "dog"),
        ("glass", "glass"),
        ("glasses", "glasses"),
        ("octopus", "octopus"),
        ("iris", "iris"),
        ("bus", "bus"),
        ("Dog's", "dog"),
    ],
)
def test_singular_knows_the_usual_endings(plural: str, single: str) -> None:
    assert singular(plural) == single


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_text_has_a_head_noun_that_is_one_word_or_none(caption: str) -> None:
    noun = head_noun(caption)
    assert len(noun.split()) <= 1
    assert head_noun(caption) == noun


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("a dog", {"noun": "dog", "count": 1}),
        ("dogs", {"noun": "dog", "count": 0}),
        ("all dogs", {"noun": "dog", "count": 0}),
        ("two dogs", {"noun": "dog", "count": 2}),
        ("the 3 dogs", {"noun": "dog", "count": 3}),
        ("a pair of red shoes", {"noun": "shoe", "count": 2, "colours": ("red",)}),
        ("the red car on the left", {"noun": "car", "colours": ("red",), "sides": ("left",)}),
        ("a black and white cat", {"noun": "cat", "words": "cat", "colours": ("black", "white")}),
        ("the large gray elephant", {"noun": "elephant", "size": "large", "colours": ("grey",)}),
        ("an orange", {"noun": "orange", "colours": ()}),
        ("the orange orange", {"noun": "orange", "colours": ("orange",)}),
        ("the biggest police car in the top right corner", {"words": "police car", "extreme": "largest"}),
        ("the man on the far left of the image", {"noun": "man", "sides": ("left",)}),
        ("the woman in red", {"noun": "woman", "colours": ("red",), "relation": ""}),
        ("a ball of yarn", {"noun": "ball", "words": "ball of yarn"}),
        ("the dog to the left of the chair", {"noun": "dog", "sides": (), "relation": "left"}),
        ("the dog in front of the bicycle", {"relation": "front"}),
        ("the cup on the table", {"relation": "on"}),
        ("the apple higher up than the car", {"relation": "above"}),
        ("a man riding a horse", {"noun": "man", "relation": "on"}),
        ("people with hats", {"noun": "person", "count": 0, "relation": "with"}),
    ],
)
def test_a_phrase_is_taken_apart(phrase: str, said: dict[str, object]) -> None:
    found = parse_phrase(phrase)
    assert {name: getattr(found, name) for name in said} == said
    assert found.is_plain == (
        not found.colours and not found.size and not found.sides and not found.extreme and not found.relation
    )


def test_an_anchor_is_a_phrase_of_its_own() -> None:
    anchor = parse_phrase("the cup left of the large blue bowl next to a spoon").anchor
    assert isinstance(anchor, NounPhrase)
    assert (anchor.noun, anchor.size, anchor.colours, anchor.relation) == ("bowl", "large", ("blue",), "near")
    assert anchor.anchor is not None
    assert anchor.anchor.noun == "spoon"


def test_phrases_are_cut_out_of_a_text_with_their_characters() -> None:
    text = "Where are a cat, the black and white dogs on the left & 2 birds?"
    found = noun_phrases(text)
    assert [each.text for each in found] == ["a cat", "the black and white dogs on the left", "2 birds"]
    assert [text[each.start : each.stop] for each in found] == [each.text for each in found]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no words"),
        ("\N{DOG FACE}\N{CAT FACE}!", "has no words"),
        ("the left one", "names no thing.*such as"),
        ("on the right", "names no thing"),
        ("a dog and the red one", "'the red one' names no thing"),
        ("x" * 1_000_000, "has 1000000 characters"),
        ("a dog, " * 100, "names 100 things"),
    ],
)
def test_a_text_that_names_nothing_or_too_much_is_refused(text: str, why: str) -> None:
    with pytest.raises(DeixisError, match=why):
        noun_phrases(text)


def test_words_of_other_scripts_are_names_as_they_are() -> None:
    assert parse_phrase("كلب").noun == "كلب"
    assert parse_phrase("\N{DOG FACE} dog").noun == "dog"


@given(st.text(max_size=60))
def test_any_text_gives_phrases_that_stand_in_it_or_one_error(text: str) -> None:
    try:
        found = noun_phrases(text)
    except DeixisError:
        return
    for each in found:
        assert text[each.start : each.stop] == each.text
        assert each.noun
