"""Which noun a caption is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deixis.data.synthetic.nouns import head_noun, singular


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
