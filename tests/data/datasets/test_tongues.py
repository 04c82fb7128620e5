"""Dictionaries in dictd's format: what is an entry, what is a sense, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from deixis.data import catalogue
from deixis.data.datasets import tongues
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json

ABOUT = "00-database-short\nGerman - English\n"
HUND = (
    "Hund /hˈʊnt/ <masc, n, sg>\n [zool.] dog <n>, dawg <n> [Am.]\n         Note: used for speech\n"
    '      "einen Hund abrichten"  - train a dog\n   Synonym: {Köter}\n see: {Hunde}\n\n   going on <n>\n'
)
ROT = "rot /rɔt/\n1. rotten, ugly\n2. addled (of eggs); bad\n"
AVIAN = "Vogel… /fˈoːɡəl/ <adj>\n [ornith.] avian <adj>\n"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def number(value: int) -> str:
    first, last = divmod(value, 64)
    return number(first) + LETTERS[last] if first else LETTERS[last]


def written(folder: Path, *texts: str) -> Path:
    rows, whole = [], b""
    for text in texts:
        raw = text.encode()
        rows += [f"{text.split()[0].lower()}\t{number(len(whole))}\t{number(len(raw))}"] * 2  # some stand twice
        whole += raw
    stem = folder / "freedict-deu-eng"
    Path(f"{stem}.index").write_text("\n".join(rows) + "\n", encoding="utf-8")
    Path(f"{stem}.dict.dz").write_bytes(gzip.compress(whole))
    return stem


def test_entries_are_headwords_and_senses_without_sounds_classes_notes_and_examples(tmp_path: Path) -> None:
    found = list(tongues.entries(written(tmp_path, ABOUT, HUND, ROT, AVIAN)))
    assert found == [
        ("Hund", ("dog", "dawg")),
        ("rot", ("rotten", "ugly", "addled", "bad")),
        ("Vogel", ("avian",)),
    ]


def test_dictionaries_that_are_missing_cut_or_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="can't be read"):
        list(tongues.entries(tmp_path / "none"))
    stem = written(tmp_path, HUND, ROT)
    texts = Path(f"{stem}.dict.dz")
    texts.write_bytes(gzip.compress(HUND.encode()))
    with pytest.raises(DeixisError, match="cut short"):
        list(tongues.entries(stem))
    for broken in (b"plain text", gzip.compress(HUND.encode())[:-20]):
        texts.write_bytes(broken)
        with pytest.raises(DeixisError, match="can't be read"):
            list(tongues.entries(stem))
    Path(f"{stem}.index").write_text("a headword alone\n", encoding="utf-8")
    texts.write_bytes(gzip.compress(b""))
    with pytest.raises(DeixisError, match="can't be read"):
        list(tongues.entries(stem))


def test_a_fetched_dictionary_is_a_set_of_words_and_one_that_was_not_says_how() -> None:
    with pytest.raises(DeixisError, match="not in the cache") as error:
        tongues.translations("nl")
    assert "deixis data get language-nl" in error.value.cure
    with pytest.raises(DeixisError, match="no dictionary for 'xx'"):
        tongues.translations("xx")
    folder = cache_dir("sets", "tongues-de")
    folder.mkdir(parents=True)
    with gzip.open(folder / "entries.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("Hund\tdog\tdawg\nleer\n")
    write_json(folder / "set.json", {"name": "tongues-de"})
    source = catalogue.read("tongues/de")
    assert [(each.captions, each.extra["english"]) for each in source.samples] == [(("Hund",), ("dog", "dawg"))]
    assert source.kind == "text"
    (folder / "entries.tsv.gz").write_bytes(b"broken")
    with pytest.raises(DeixisError, match="damaged"):
        tongues.translations("de")
