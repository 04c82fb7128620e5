"""A query in another language is read in English, told, and searched for; the index is not touched."""

from __future__ import annotations

import pytest

from deixis import zoo
from deixis.apps.languages import look_up
from deixis.apps.search.language import LanguageReader
from deixis.apps.search.query import Query
from deixis.errors import DeixisError
from tests.dictionaries import write_german


@pytest.fixture
def german() -> None:
    write_german(["rot\tred\tscarlet", "Vogel\tbird", "Käfig\tcage"])


@pytest.mark.usefixtures("german")
def test_texts_are_read_with_all_senses_and_minus_texts_too_and_pictures_stay() -> None:
    said: list[str] = []
    texts, weights = ("ein roter Vogel", "Vogel"), (2.0, 1.0, 5.0)
    query = Query(texts=texts, minus_texts=("der Käfig",), images=("a.jpg",), weights=weights)
    english = LanguageReader("de", "dictionary", zoo.load("tiny"))(query, said.append)[0]
    assert english.texts == ("red bird", "scarlet bird", "bird"), "the byte reader knows the shorter one better"
    assert english.minus_texts == ("cage",)
    assert english.images == ("a.jpg",)
    assert english.weights == (1, 1, 1, 5), "what a text weighs is shared by its readings"
    assert said == ["read as: red bird (or: scarlet bird)", "read as: bird", "read as: cage"]


@pytest.mark.usefixtures("german")
def test_one_text_with_one_reading_stays_one_whose_relevance_was_measured() -> None:
    said: list[str] = []
    english = LanguageReader("de", "dictionary", zoo.load("tiny"))(Query(texts=("Vogel xyzzy",)), said.append)[0]
    assert english.plain
    assert said[1] == "not in the dictionary, left as they are: xyzzy"


def test_a_language_without_a_dictionary_says_how_to_get_it() -> None:
    look_up._entries.cache_clear()
    with pytest.raises(DeixisError, match="not in the cache") as error:
        LanguageReader("fr", "dictionary", zoo.load("tiny"))(Query(texts=("oiseau",)), print)
    assert "deixis data get language-fr" in error.value.cure
