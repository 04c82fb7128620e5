"""What captions of scenes say, read back: as generated, and as a model that speaks badly puts it."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import numpy as np
import pytest

from deixis.data.synthetic.scenes import captions
from deixis.data.synthetic.scenes.backgrounds import words_for
from deixis.data.synthetic.scenes.config import BACKGROUNDS, COLOURS, SIZES
from deixis.data.synthetic.scenes.cutouts import Cutout
from deixis.data.synthetic.scenes.expressions import RELATIONS, GroundTruth, position
from deixis.data.synthetic.scenes.hearing import CaptionContent, Mention, heard, well_formed
from deixis.data.synthetic.scenes.layout import ThingFacts
from deixis.data.synthetic.scenes.shapes import SHAPES, Shape


def worlds(count: int) -> Iterator[tuple[np.random.Generator, GroundTruth, str]]:
    """Things at random places, without pictures."""
    rng = np.random.Generator(np.random.PCG64(3))
    nouns = list(SHAPES)
    for _ in range(count):
        first, rest = int(rng.integers(1, 4)), int(rng.integers(0, 3))
        drawn = [nouns[i] for i in rng.permutation(len(nouns))[: rest + 1]]
        facts = []
        for layer, noun in enumerate([drawn[0]] * first + drawn[1:]):
            x, y = rng.uniform(0, 0.8, 2)
            box = (float(x), float(y), float(x) + 0.2, float(y) + 0.2)
            size, colour = (list(names)[int(rng.integers(len(names)))] for names in (SIZES, COLOURS))
            cutout = Cutout(noun, noun, Shape(noun, 0))
            facts.append(ThingFacts(cutout, size, colour, False, box, box, 1.0, layer))
        yield rng, GroundTruth(facts), BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_of_short_captions_exactly_what_was_said_is_read(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Mention] = []
    relations: list[tuple[str, int, int]] = []
    grounds: list[str] = []
    counted, related = captions._counted, captions._related

    def spy_counted(noun: str, colour: str, size: str, count: int) -> str:
        said.append(Mention(noun, colour, size, count))
        return counted(noun, colour, size, count)

    def spy_related(*arguments: object) -> list[str]:
        glue = related(*arguments)  # type: ignore[arg-type]
        relations.extend((name, 0, 1) for name, ways in RELATIONS.items() if glue and glue[1].strip() in ways)
        return glue

    def spy_words(background: str) -> tuple[str, ...]:
        grounds.append(background)
        return words_for(background)

    monkeypatch.setattr(captions, "_counted", spy_counted)
    monkeypatch.setattr(captions, "_related", spy_related)
    monkeypatch.setattr(captions, "words_for", spy_words)
    kinds: collections.Counter[str] = collections.Counter()
    for rng, truth, background in worlds(count):
        for each in (said, relations, grounds):
            each.clear()  # type: ignore[attr-defined]
        text = captions.short_caption(rng, truth, background, 4).text
        expected = CaptionContent(tuple(said), tuple(relations), "".join(grounds))
        assert heard(text) == expected, text
        assert well_formed(text), text
        kinds.update(relation=bool(relations), ground=bool(grounds), many=any(each.count > 1 for each in said))
    assert min(kinds.values()) > count / 20


def test_of_long_captions_each_sentence_is_read() -> None:
    for rng, truth, background in worlds(100):
        sentences = captions.long_caption(rng, truth, background, 0.0, ())
        text = " ".join(each["text"] for each in sentences)
        nouns = collections.Counter(fact.noun for fact in truth.facts)
        expected = [Mention(noun, count=count) for noun, count in nouns.items()]
        relations = []
        for sentence in sentences[1:]:
            numbers = sentence["regions"]
            if len(numbers) == 1:
                fact = truth.facts[numbers[0]]
                expected.append(Mention(fact.noun, fact.colour, fact.size, 1, position(fact)))
            elif numbers:
                [name] = [
                    n for n, ways in RELATIONS.items() if any(f"is {way} the" in sentence["text"] for way in ways)
                ]
                relations.append((name, len(expected), len(expected) + 1))
                names = (truth.names[number][0] for number in numbers)
                expected += [Mention(each.noun, each.colour, each.size) for each in names]
        assert heard(text) == CaptionContent(tuple(expected), tuple(relations), background), text
        assert well_formed(text), text


def test_spaces_that_a_tokenizer_leaves_around_signs_change_nothing() -> None:
    spaced = "two medium - sized red stars , a cross and a moon . they are on a dotted blue background ."
    assert heard(spaced) == heard(
        "Two medium-sized red stars, a cross and a moon. They are on a dotted blue background."
    )
    assert well_formed(spaced)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("white background there is blue", ()),
        ("", ()),
        ("the the red", ()),
        ("a red circle and and", (Mention("circle", "red"),)),
        ("two blue stars left", (Mention("star", "blue", count=2, place="left"),)),
        ("A circle is red. The star is blue.", (Mention("circle"), Mention("star", "blue"))),
    ],
)
def test_broken_sentences_are_read_as_far_as_they_go(text: str, mentions: tuple[Mention, ...]) -> None:
    found = heard(text).mentions
    assert [each for each in found if each.noun in SHAPES] == list(mentions)


@pytest.mark.parametrize(
    "text",
    [
        *("", "White background there is blue.", "A red circle and and a star.", "A orange star.", "Two star."),
        *("A red circle left of.", "The circle is.", "A blue red circle.", "One circles.", "They are on a blue."),
    ],
)
def test_what_no_caption_says_is_not_well_formed(text: str) -> None:
    assert not well_formed(text)
