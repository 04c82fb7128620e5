"""Words of another language are read one by one: as they stand, without their ending, or in two parts."""

from __future__ import annotations

import pytest

from deixis.data.dictionaries import Dictionary, without_articles
from deixis.data.translation_pairs import translation_pairs
from deixis.errors import DeixisError

GERMAN = [
    ("Hund", ("mine car", "dog")),
    ("Hunde", ("dogs",)),
    ("rot", ("red", "ruddy")),
    ("Rot", ("hearts",)),
    ("roter", ("redder",)),
    ("Lehrer", ("teacher",)),
    ("Vogel", ("bird",)),
    ("Haus", ("house",)),
    ("Tür", ("door",)),
    ("Sonne", ("sun",)),
    ("Blume", ("flower",)),
]


def rank(sense: str) -> tuple[int, int]:
    return len(sense.split()), len(sense)


@pytest.fixture(scope="module")
def german() -> Dictionary:
    return Dictionary("de", GERMAN, rank)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Ein roter Vogel", "red bird"),  # and no redder one
        ("rote Vögel", ""),
        ("die Hunde", "dogs"),
        ("hund", "dog"),  # by rank, not by the order of entries
        ("Rot", "hearts"),  # as it is written
        ("ROT", "red"),
        ("Lehrer", "teacher"),
        ("Haustür", "house door"),
        ("Sonnenblumen", "sun flower"),
        ("Hund und xyzzy", "dog und xyzzy"),
    ],
)
def test_words_are_read_as_they_stand_without_their_ending_or_in_parts(
    german: Dictionary, text: str, first: str
) -> None:
    reading = german.read(text)
    assert reading.texts[0] == (first or "red Vögel")


def test_readings_differ_in_the_senses_of_words_and_say_what_is_unknown(german: Dictionary) -> None:
    reading = german.read("roter Hund")
    assert reading.texts == ("red dog", "ruddy mine car")
    assert reading.unknown == ()
    assert german.read("Vogel xyzzy").unknown == ("xyzzy",)
    assert german.read("Vogel").texts == ("bird",)


def test_other_languages_have_endings_of_their_own() -> None:
    italian = Dictionary("it", [("gatto", ("cat",)), ("rosso", ("red",)), ("casa", ("house",))])
    assert italian.read("i gatti rossi").texts == ("cat red",)
    assert italian.read("le case").texts == ("house",)
    french = Dictionary("fr", [("cheval", ("horse",)), ("vert", ("green",))])
    assert french.read("des chevaux verts").texts == ("horse green",)


@pytest.mark.parametrize("text", ["", "!?", "der die das"])
def test_texts_without_a_word_are_refused(german: Dictionary, text: str) -> None:
    with pytest.raises(DeixisError, match="There is no word in"):
        german.read(text)


def test_texts_of_unknown_words_or_letters_are_refused(german: Dictionary) -> None:
    for text in ("a white boat", "красная птица"):
        with pytest.raises(DeixisError, match="None of the words of"):
            german.read(text)


def test_articles_are_left_out_where_there_are_other_words() -> None:
    assert without_articles("Ein roter Vogel, der singt!", "de") == "roter Vogel singt"
    assert without_articles("der", "de") == "der"
    assert without_articles("Ein Vogel", "fi") == "Ein Vogel"


def test_pairs_begin_with_the_commonest_english_each_of_it_once_and_have_two_senses_of_a_word_at_most() -> None:
    entries = [
        ("das Haus", ("house", "building", "domicile")),
        ("Hundehaus", ("dog house",)),
        ("Elfflächner", ("undecahedra",)),
        ("Bau", ("building",)),
        ("ein Satz von vier Wörtern", ("house",)),
        ("Formel", ("a/b",)),
    ]
    assert translation_pairs(entries, "de", 3) == [
        ("Haus", "house"),
        ("Haus", "building"),
        ("Hundehaus", "dog house"),
    ]
    assert len(translation_pairs(entries, "de", 99)) == 4, "no long phrase, and no formula"
