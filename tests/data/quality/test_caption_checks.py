"""Captions that are missing, repeated, too long, no text or not English are counted, and named by their samples."""

from __future__ import annotations

import dataclasses

import pytest

from deixis.data.quality.caption_checks import LONG, Reader, check_captions
from deixis.data.quality.report import Finding
from deixis.types.samples import Sample

PLAIN = tuple(f"a thing called {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300))


def collection(*captions: str) -> list[Sample]:
    return [Sample(f"{i}.png", None, (caption,) if caption else ()) for i, caption in enumerate(captions)]


def told(*captions: str, reader: Reader | None = None, expected: bool = True) -> dict[str, Finding]:
    return {each.name: each for each in check_captions(collection(*captions), reader, expected=expected).findings}


def test_nothing_is_said_of_good_captions() -> None:
    assert told(*PLAIN) == {}


def test_a_few_captions_of_another_language_are_told_without_a_warning() -> None:
    found = told(*PLAIN, "Ein Hund und eine Katze")["caption_foreign"]
    assert found.examples == ("German: 300.png: Ein Hund und eine Katze",)
    assert not found.reason


def test_many_captions_of_another_language_are_a_warning_with_the_languages() -> None:
    found = told(*PLAIN[:50], "Ein Hund und eine Katze", "Красный автомобиль")["caption_foreign"]
    assert found.reason == "2 of 52 captions are not in English (1 German, 1 Cyrillic)"
    assert "deixis data get language-de, then --language de" in found.cure
    assert "--language" not in told(*PLAIN[:50], "Красный автомобиль")["caption_foreign"].cure, "no dictionary"
    assert check_captions(collection("Eine Kuh mit Hut"), None, expected=True).languages == {"German": 1}


def test_a_model_of_many_languages_is_no_reason_to_warn() -> None:
    reader = Reader("64 tokens of XLM-R", lambda texts: [False] * len(texts), english=False)
    assert not told("Ein Hund und eine Katze", reader=reader)["caption_foreign"].reason


def test_repeats_are_a_fault_only_where_they_are_the_rule() -> None:
    assert not told("one", "one", "two")["caption_repeated"].reason
    assert "occur more than once" in told("one", "one", "one", "two", "two")["caption_repeated"].reason
    assert told("one", "one", "one", "two", "two")["caption_repeated"].count == 3


def test_a_caption_is_no_must_where_there_are_labels() -> None:
    assert told("one", "", expected=True)["caption_missing"].examples == ("1.png",)
    assert told("one", "", expected=False) == {}


@pytest.mark.parametrize("letter", ["\0", "\x1b", "\x7f", "\ufffd"])
def test_characters_that_are_no_text_are_found(letter: str) -> None:
    assert told(f"a re{letter}d bird")["caption_control"].count == 1


def test_line_breaks_and_tabs_are_text() -> None:
    assert told("a\tred\nbird\r\n") == {}


def test_a_document_is_no_caption_and_is_shown_cut() -> None:
    found = told("word " * 200_000)["caption_long"]
    assert found.count == 1
    assert len(found.examples[0]) < 200
    assert "caption_long" not in told("a" * LONG)


def test_figures_say_what_was_not_measured() -> None:
    figures = check_captions(collection("one", "one", "12", ""), None, expected=True).figures
    assert figures == {"total": 3, "distinct": 2, "missing": 1, "repeated": 1, "wordless": 1, "cut": None}


def test_a_finding_is_plain_data() -> None:
    assert dataclasses.asdict(told("12")["caption_wordless"])["examples"] == ("0.png: 12",)
