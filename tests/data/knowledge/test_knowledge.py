"""What classes are in words: senses chosen by the other names, kinds, key words, and tables that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deixis.data.datasets import emoji_styles
from deixis.data.knowledge import Knowledge, key_phrases, load_knowledge
from deixis.data.knowledge import wordnet as nouns
from deixis.data.knowledge.senses import choose_senses
from deixis.data.knowledge.sources import find_beside
from deixis.data.knowledge.texts import exchanged, read_texts, remarks, write_texts
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from tests.support import Peer

theirs = Peer("sklearn.feature_extraction.text")

SENSES = {
    "crane": [("1", "writer of novels"), ("2", "wading bird of marshes"), ("3", "machine that lifts weights")],
    "duck": [("4", "flesh as food"), ("5", "swimming bird with a bill")],
    "truck": [("6", "vehicle, a machine on wheels")],
    "digger": [("7", "machine on wheels that lifts earth")],
}


def embed(texts: Sequence[str]) -> np.ndarray:
    """Words counted: texts are near that share some."""
    words = sorted({word for text in ALL for word in text.replace(",", "").split()})
    rows = np.array([[text.replace(",", "").split().count(word) for word in words] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)


ALL = [*SENSES, "heron", "wading bird", "builder", *(gloss for own in SENSES.values() for _, gloss in own)]


def test_a_crane_among_ducks_is_a_bird_and_among_trucks_a_machine() -> None:
    among = {other: choose_senses(SENSES, ["crane", other], embed)["crane"] for other in ("duck", "truck", "digger")}
    assert [sense.key for sense in among.values()] == ["2", "3", "3"]
    assert among["duck"].others == 2
    assert "heron" not in choose_senses(SENSES, ["crane", "heron"], embed), "what has no sense is left out"


def test_tags_say_what_is_meant_where_no_other_name_does() -> None:
    found = choose_senses(SENSES, ["crane", "heron"], embed, {"crane": ["wading bird"]})
    assert found["crane"].gloss == "wading bird of marshes"


def wordnet(folder: Path) -> nouns.WordNet:
    """Birds: a cock and a hen, whose kind a bantam is; written as WordNet writes."""
    data = [
        '01 05 n 02 bird 0 fowl 0 002 ~ 02 n 0000 ~ 03 n 0000 | animal with feathers; "a bird sang"',
        "02 05 n 01 cock 0 001 @ 01 n 0000 | adult male bird",
        "03 05 n 01 hen 0 002 @ 01 n 0000 ~ 04 n 0000 | adult female bird",
        "04 05 n 01 sea_bantam 0 001 @ 03 n 0000 | small hen",
    ]
    index = ["bird n 1 1 ~ 1 1 01", "fowl n 1 1 ~ 1 0 01", "cock n 1 1 @ 1 1 02", "hen n 1 1 @ 1 1 03"]
    index += ["sea_bantam n 1 1 @ 1 0 04"]
    counts = ["hen%1:05:00:: 1 9", "cock%1:05:00:: 1 2"]
    for name, lines in (("data.noun", data), ("index.noun", index), ("cntlist.rev", counts)):
        (folder / name).write_text("  1 the licence\n" + "\n".join(lines) + "\n")
    return nouns.read_wordnet(folder)


def test_kinds_come_by_how_often_texts_had_them_then_by_depth(tmp_path: Path) -> None:
    net = wordnet(tmp_path)
    assert net.definition("01") == "animal with feathers"
    assert nouns.kinds(net, "01") == ["hen", "cock", "sea bantam"]
    assert nouns.kinds(net, "01", most=1) == ["hen"]
    assert nouns.lookup(net, "Birds") == ["01"]
    assert nouns.lookup(net, "sea-bantams") == ["04"]
    assert nouns.lookup(net, "okapi") == []


TEXTS = {
    "heron": ("A tall wading bird.", "bird of marshes"),
    "robin": ("A small bird with a red breast",),
    "tram": ("A red vehicle on rails",),
}


def test_the_weights_of_key_words_order_them_as_those_of_scikit_learn_do() -> None:
    vectoriser = theirs.TfidfVectorizer(norm=None, token_pattern=r"[a-z]{2,}", stop_words=["with", "on", "of"])
    weights = vectoriser.fit_transform([" ".join(own) for own in TEXTS.values()]).toarray()
    words = vectoriser.get_feature_names_out()
    for row, (name, own) in zip(weights, key_phrases(TEXTS, 9, longest=1).items(), strict=True):
        found = [row[list(words).index(word)] for word in own]
        assert found == sorted(found, reverse=True)
        assert set(own) == {word for word, weight in zip(words, row, strict=True) if weight} - {name}


def test_what_all_classes_say_is_no_key_word_and_a_word_is_in_one_phrase() -> None:
    found = key_phrases(TEXTS, count=2)
    assert "bird" in found["heron"], "said twice of it"
    assert found["robin"][0] in ("red breast", "small bird")
    assert all(
        len({word for each in own for word in each.split()}) == len(" ".join(own).split()) for own in found.values()
    )


def test_a_table_comes_back_as_it_was_written_and_dictionaries_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    write_texts(path, [("heron", "a tall bird"), ("heron", "it wades, slowly"), ("tram", 'a "red" one')])
    assert read_texts(path) == {"heron": ("a tall bird", "it wades, slowly"), "tram": ('a "red" one',)}
    names = ["heron", "tram", "ice_cream"]
    from_table = load_knowledge(path, names, embed)
    given = {"heron": ["a tall bird", "it wades, slowly"], "Tram": 'a "red" one', "ice cream": ()}
    assert load_knowledge(given, names, embed).texts == from_table.texts
    assert from_table.pairs(["tram"]) == (("tram", 'a "red" one'),)


def test_names_that_are_no_class_are_left_out_and_said_and_near_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    write_texts(path, [("heron", "a tall bird"), ("okapy", "striped legs"), ("gnu", "horns")])
    (note,) = load_knowledge(path, ["heron", "okapi"], embed).notes
    assert note.endswith("texts.csv has 2 names that are no class here, and left out: 'okapy' (did you mean 'okapi'?).")
    (note,) = load_knowledge({"heron": "a bird", "gnu": "horns"}, ["heron", "okapi"], embed).notes
    assert note == "What was given has 1 name that is no class here, and left out: 'gnu'."
    assert note in remarks(load_knowledge({"heron": "a bird", "gnu": "horns"}, ["heron", "okapi"], embed), ["heron"])
    assert not load_knowledge({"heron": "a bird"}, ["heron", "okapi"], embed).notes


def test_data_bring_texts_in_their_folder_or_beside_it_of_their_classes_or_codes(tmp_path: Path) -> None:
    data = tmp_path / "birds"
    (data / "heron").mkdir(parents=True)
    source = Source("birds", data, "labels", "by hand", (Sample("a", None, label="SKU 1"),))
    (tmp_path / "a.csv").write_text("path,class\nx.png,heron\n")
    write_texts(tmp_path / "b.csv", [("okapi", "striped"), ("gnu", "horns")])
    codes = {"SKU 1": "heron", "SKU 2": "tram"}
    assert find_beside(source, ["heron", "tram"], codes) == ""
    write_texts(tmp_path / "c.csv", [("sku 1", "a tall bird"), ("SKU 2", "on rails")])
    assert find_beside(source, ["heron", "tram"], codes) == str(tmp_path / "c.csv")
    write_texts(data / "d.csv", [("heron", "a tall bird"), ("tram", "on rails")])
    assert find_beside(source, ["heron", "tram"], codes) == str(data / "d.csv")
    (data / "heron" / "about.txt").write_text("a tall bird")
    assert find_beside(source, ["heron", "tram"], codes) == "about"


def test_classes_without_text_with_the_text_of_another_or_its_name_are_remarked_on() -> None:
    texts = {"heron": ("a bird",), "robin": ("A bird",), "tram": ("a bus on rails",)}
    notes = remarks(Knowledge(texts, "texts.csv"), ["heron", "robin", "tram", "bus"])
    assert any("1 of 4 classes have no text from texts.csv" in note and "'bus'" in note for note in notes)
    assert any("'heron', 'robin' have one text" in note for note in notes)
    assert any("that of 'tram', which names 'bus'" in note for note in notes)


def test_exchanged_texts_are_the_same_texts_each_of_another_class() -> None:
    knowledge = Knowledge(TEXTS, "by hand")
    names = (*TEXTS, "bus")
    turned = exchanged(knowledge, names, 3)
    assert sorted(turned.texts.values()) == sorted(TEXTS.values())
    assert not any(turned.texts[name] == TEXTS[name] for name in TEXTS)
    assert turned.texts == exchanged(knowledge, names, 3).texts


def test_captions_are_those_whose_head_noun_is_the_name(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    words = ["a red fire engine", "the engine of a car", "two tall herons", "a heron's nest on a pole"]
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"")
    table.write_text("path,caption\n" + "".join(f"{n}.png,{text}\n" for n, text in enumerate(words)))
    found = load_knowledge(f"captions:{table}", ["fire engine", "heron", "bus"], embed)
    assert found.texts == {"fire engine": ("a red fire engine",), "heron": ("two tall herons",)}


def test_folders_say_what_their_class_is(tmp_path: Path) -> None:
    (tmp_path / "heron").mkdir()
    (tmp_path / "heron" / "about.txt").write_text("a tall bird\n\nit wades\n")
    source = Source("birds", tmp_path, "labels", "by hand", (Sample("a", None, label="heron"),))
    assert load_knowledge("about", ["heron", "tram"], embed, source).texts == {"heron": ("a tall bird", "it wades")}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("wikipedia", "no texts of classes called 'wikipedia'"),
        ("missing.csv", "can't be read"),
        ("lm", r"Write them: deixis caption DATA --classes --by lm --out texts\.csv"),
        ({"hern": "a bird"}, "did you mean 'heron'"),
        ("about", "no folder to read about.txt from"),
    ],
)
def test_texts_that_can_not_be_had_are_refused(what: object, message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        load_knowledge(what, ["heron", "tram"], embed)  # type: ignore[arg-type]


def test_a_table_without_the_columns_names_those_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("name,words\nheron,a bird\n")
    with pytest.raises(DeixisError, match="has name, words"):
        read_texts(path)


def test_the_concepts_that_desk_clip_never_saw_are_those_that_its_build_left_out() -> None:
    package, repository = Path(emoji_styles.__file__).parent, Path(__file__).parents[3]
    listed = (repository / "results" / "desk_clip_concepts.txt").read_text(encoding="utf-8").splitlines()
    unseen = [code for part, code in map(str.split, listed) if part == "unseen"]
    assert (package / "emoji_unseen.txt").read_text(encoding="utf-8").split() == unseen
