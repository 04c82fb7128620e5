"""A tower for a language is trained on a dictionary, measured beside it on names that it did not learn, and kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.languages import trained
from deixis.apps.languages.trained import LanguageTower, read_tower, train_language
from deixis.apps.search.language import LanguageReader
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
from deixis.engine.language_tower import TowerRecipe, save_tower
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json
from deixis.nn.language.ngrams import NgramText
from deixis.types import Sample, Source
from tests.dictionaries import write_german

WORDS = {"rot": "red", "blau": "blue", "Vogel": "bird", "Hund": "dog", "Haus": "house", "Baum": "tree"}
RECIPE = TowerRecipe("kalm", pairs=12, steps=8, batch_size=6, buckets=128, inner=8)


@pytest.fixture(scope="module")
def names() -> Source:
    pairs = [(f"ein {a} {b}", f"{WORDS[a]} {WORDS[b]}") for a in ("rot", "blau") for b in [*WORDS][2:]]
    pairs += [(word, english) for word, english in WORDS.items()]
    samples = [
        Sample(f"de/{n}", None, (a,), groups=(f"n{n}",), extra={"english": (b,)}) for n, (a, b) in enumerate(pairs)
    ]
    return Source("names", Path(), "text", "names", tuple(samples))


def test_the_way_that_reads_held_out_names_best_is_taken_and_each_is_told(names: Source) -> None:
    write_german([f"{word}\t{english}" for word, english in WORDS.items()])
    tower, facts = train_language("de", zoo.load("tiny"), names, RECIPE)
    assert facts.way == "dictionary", "whose words all names consist of, against eight steps of training"
    assert facts.recall["dictionary"] == 1 > facts.recall["tower"]
    assert facts.names == 5
    assert facts.pairs == 6 + 9, "twelve are asked of a dictionary of six; the other names are learned from"
    assert "German: of 100 held-out names of emoji so many find their English first among 14: " in facts.sentence
    assert "100 by the dictionary" in facts.sentence
    assert facts.sentence.endswith("Taken: dictionary.")
    assert tower.width == zoo.load("tiny").width


def test_a_tower_is_trained_once_and_where_no_names_can_be_had_the_dictionary_stays_alone(
    names: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_german([f"{word}\t{english}" for word, english in WORDS.items()])
    tiny, asked = zoo.load("tiny"), list[str]()
    there = {"starter"}

    def get(name: str, say: object) -> None:
        asked.append(name)
        if name not in there:
            raise DeixisError("npm could not reach its registry.", "Check the network.")

    monkeypatch.setattr(trained.fetch, "get", get)
    monkeypatch.setattr(trained.zoo, "load", lambda name: tiny)
    monkeypatch.setattr(trained.catalogue, "read", lambda name: names)
    monkeypatch.setattr(trained, "RECIPE", RECIPE)
    trained.learn_language("de", Reporter())
    assert "The dictionary alone reads German" in capsys.readouterr().out
    assert read_tower("de", tiny) is None
    there.add("emoji-names")
    trained.learn_language("de", Reporter())
    first = capsys.readouterr().out.splitlines()[-1]
    found = read_tower("de", tiny)
    assert found is not None
    monkeypatch.setattr(trained, "train_language", None)
    trained.learn_language("de", Reporter())
    assert capsys.readouterr().out.splitlines()[-1] == first
    assert asked == ["starter", "emoji-names", "starter", "emoji-names", "starter"]


def kept(way: str) -> LanguageTower:
    """A tower in the cache that was best in a way."""
    encoder = zoo.load("tiny")
    facts = LanguageTower("de", trained.teacher_digest(encoder), way, {"before": 0.1, way: 0.5}, 6, 14, 14, 1.0)
    folder = cache_dir("languages", "de")
    folder.mkdir(parents=True)
    save_tower(NgramText(encoder.width, 4, 64), folder / "tower.safetensors")
    write_json(folder / "tower.json", {"format": 1, **dataclasses.asdict(facts)})
    return facts


@pytest.mark.parametrize("way", ["dictionary", "tower", "both"])
def test_a_query_is_read_in_the_way_that_was_best(way: str) -> None:
    write_german(["rot\tred", "Vogel\tbird"])
    kept(way)
    said, encoder = list[str](), zoo.load("tiny")
    query, reader = LanguageReader("de", "auto", encoder)(Query(texts=("ein roter Vogel",)), said.append)
    assert (reader is None) == (way == "dictionary")
    assert query.texts == (("red bird",) if way == "dictionary" else ("ein roter Vogel",))
    if reader is not None:
        rows = reader(["ein roter Vogel", "Vogel"])
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(reader(["der rote Vogel"]), reader(["rote Vogel"]), atol=1e-6)
    assert ("read as: red bird" in said) == (way != "tower")


def test_both_is_the_tower_alone_where_the_dictionary_knows_no_word() -> None:
    write_german(["rot\tred"])
    kept("both")
    encoder = zoo.load("tiny")
    both, alone = (LanguageReader("de", by, encoder)(Query(texts=("Haus",)), print)[1] for by in ("both", "tower"))
    assert both is not None
    assert alone is not None
    np.testing.assert_allclose(both(["Haus"]), alone(["Haus"]), atol=1e-6)


def test_a_model_with_other_texts_has_the_dictionary_alone_and_a_tower_is_refused_by_name() -> None:
    write_german(["rot\tred"])
    kept("tower")
    other = zoo.load("tiny", seed=1)
    query, reader = LanguageReader("de", "auto", other)(Query(texts=("rot",)), print)
    assert reader is None
    assert query.texts == ("red",)
    with pytest.raises(DeixisError, match="No text tower was trained that reads German"):
        LanguageReader("de", "tower", other)(Query(texts=("rot",)), print)


def test_words_in_letters_that_the_language_has_not_are_refused_and_so_is_a_damaged_tower() -> None:
    kept("tower")
    encoder = zoo.load("tiny")
    with pytest.raises(DeixisError, match="in the letters of German"):
        LanguageReader("de", "auto", encoder)(Query(texts=("красная птица",)), print)
    with pytest.raises(DeixisError, match="no dictionary for 'tlh'"):
        LanguageReader("tlh", "auto", encoder)(Query(texts=("nuqneH",)), print)
    (cache_dir("languages", "de") / "tower.json").write_text(json.dumps({"format": 2, "way": "tower"}))
    with pytest.raises(DeixisError, match="another version") as error:
        read_tower("de", encoder)
    assert "deixis data get language-de" in error.value.cure


def test_a_search_in_german_ranks_by_what_the_tower_says_and_knows_no_relevance(place: Path) -> None:
    kept("tower")
    searcher = Searcher(place / "plain")
    query, reader = LanguageReader("de", "auto", searcher.text_encoder)(Query(texts=("ein Vogel",)), print)
    assert reader is not None
    found = searcher.search(query, 3, reader=reader)
    scores = np.asarray(searcher.index.vectors) @ reader(["ein Vogel"])[0]
    assert [hit.row for hit in found] == np.argsort(-scores, kind="stable")[:3].tolist()
    assert all(hit.relevance is None for hit in found)
    with pytest.raises(DeixisError, match="minimum relevance"):
        searcher.search(query, 3, min_relevance=0.5, reader=reader)
