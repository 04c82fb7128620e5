"""Queries in another language, over the server's routes and on the page: read in English, told, and searched for."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import pytest

from deixis import zoo
from deixis.apps.index.index import index
from deixis.apps.languages import trained
from deixis.apps.languages.trained import LanguageTower
from deixis.engine.language_tower import save_tower
from deixis.files import cache_dir, write_json
from deixis.nn.language.ngrams import NgramText
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, problem, running
from tests.commands import own_cache
from tests.dictionaries import write_german
from tests.pictures import picture

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serves pictures, beside a German dictionary of three entries."""
    folder = tmp_path_factory.mktemp("german")
    (folder / "photos").mkdir()
    for name, colour in COLOURS.items():
        picture(folder / "photos" / f"{name}.png", colour, random.Random(1))
    with own_cache(folder / "cache"):
        write_german(["rot\tred\tscarlet", "Vogel\tbird", "Käfig\tcage"])
        index(str(folder / "photos"), folder / "run", "tiny", quiet=True)
        with running(folder / "run") as started:
            started.found(texts=["Vogel"], language="de")  # the dictionary is read while this is the cache
            yield started


def scores(found: list[dict[str, Any]]) -> dict[str, float]:
    return {each["name"]: round(each["score"], 5) for each in found}


def test_a_text_is_searched_for_by_its_english_and_says_so(german: Running) -> None:
    assert german.get("/run").json()["dictionaries"] == {"de": "German"}
    answer = german.post("/search", {"texts": ["der Vogel"], "minus_texts": ["Käfig"], "language": "de"}).json()
    assert scores(answer["found"]) == scores(german.found(texts=["bird"], minus_texts=["cage"]))
    assert (answer["notes"], answer["english"]) == (["read as: bird", "read as: cage"], ["bird"])
    several = german.post("/search", {"texts": ["roter Vogel"], "language": "de"}).json()
    assert scores(several["found"]) == scores(german.found(texts=["red bird", "scarlet bird"]))
    plain = german.post("/search", {"texts": ["bird"]}).json()
    assert (plain["notes"], plain["english"]) == ([], [])


def test_what_can_not_be_read_is_refused_with_the_cure(german: Running) -> None:
    fetch = problem(german.post("/search", {"texts": ["oiseau"], "language": "fr"}), 422)
    assert "there are: de" in fetch
    assert "deixis data get language-fr" in fetch
    unknown = problem(german.post("/search", {"texts": ["xyzzy"], "language": "de"}), 422)
    assert "None of the words of 'xyzzy' is in the dictionary of 'de'" in unknown


def test_a_tower_that_was_trained_reads_texts_as_they_are(german: Running) -> None:
    """No chance was measured for what it reads, so that none can be required."""
    encoder, run = zoo.load("tiny"), german.desk.searcher.run
    facts = LanguageTower("de", trained.teacher_digest(encoder), "tower", {"tower": 0.5}, 6, 14, 14, 1.0)
    with own_cache(run.parent / "cache"):
        folder = cache_dir("languages", "de")
        folder.mkdir(parents=True)
        save_tower(NgramText(encoder.width, 4, 64), folder / "tower.safetensors")
        write_json(folder / "tower.json", {"format": 1, **dataclasses.asdict(facts)})
        with running(run) as beside:
            answer = beside.post("/search", {"texts": ["ein Vogel"], "language": "de"}).json()
            assert (answer["notes"], answer["english"]) == (["German is read by a text tower."], [])
            assert scores(answer["found"]) == scores(beside.found(texts=["der Vogel"], language="de")), "no articles"
            assert scores(answer["found"]) != scores(beside.found(texts=["ein Vogel"]))
            body = {"texts": ["Vogel"], "language": "de", "min_relevance": 0.5}
            assert "Leave out the least relevance" in problem(beside.post("/search", body), 422)


@pytest.mark.slow
def test_the_page_asks_for_the_language_keeps_it_in_the_address_and_tells_what_was_read(
    browser: Any, german: Running
) -> None:
    screen = Screen(browser, german.address).open("#q=roter+Vogel")
    page = screen.page
    choice = page.get_by_label("Language of the words")
    assert [each.inner_text() for each in choice.locator("option").all()] == ["as it is", "German"]
    choice.select_option("de")
    screen.until(lambda: page.locator("#about").inner_text(), "Read as: red bird (or: scarlet bird).")
    assert screen.searches()[-1]["language"] == "de"
    assert "in=de" in page.url
    assert page.locator("#words").get_attribute("lang") == "de"
    assert page.locator("#words").get_attribute("placeholder") == "Describe a picture in German"
    page.reload()
    screen.until(lambda: page.locator("#about").inner_text(), "Read as: red bird (or: scarlet bird).")
    assert choice.input_value() == "de"
    assert screen.nameless() == []
    assert screen.faint() == []
    assert screen.wider() == []
    screen.open("#q=roter+Vogel&in=de", width=380)
    assert screen.wider() == []
    screen.close()


@pytest.mark.slow
def test_without_a_dictionary_there_is_no_choice_and_a_link_in_a_language_says_how_to_get_it(
    browser: Any, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.desk.languages, "names", {})
    screen = Screen(browser, server.address).open("#q=red&in=de")
    assert not screen.page.locator("#language").is_visible()
    assert "deixis data get language-de" in screen.page.locator("#trouble").inner_text()
    screen.close(allowed="422")
