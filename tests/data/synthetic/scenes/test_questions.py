"""Questions about scenes: the answers are right, and can't be guessed without the picture."""

from __future__ import annotations

import collections
import itertools
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.wording import plural
from deixis.types import Question, Region, Sample
from tests.referring import lies, looking

SIZED = {"small": "small", "medium-sized": "medium", "large": "large"}


def asked(count: int, split: str = "train", seed: int = 0, cast: str = "shapes") -> list[Sample]:
    config = SceneConfig(cast=cast, masks=False, phrases=0, questions=8)
    return list(scenes(seed, count, split=split, side=48, config=config).samples)


def only(found: set[int]) -> int:
    [number] = found
    return number


def answer(regions: Sequence[Region], question: str) -> tuple[str, set[int]]:
    """The answer and what it rests on, told from the regions by other rules."""
    if match := re.fullmatch(r"Is there an? (.+)\?", question):
        found = looking(regions, f"the {match[1]}")
        return ("yes" if found else "no"), found
    if match := re.fullmatch(r"How many (.+) are there\?", question):
        found = {i for i, region in enumerate(regions) if plural(region.category) == match[1]}
        return str(len(found)), found
    if match := re.fullmatch(r"What colour is (the .+)\?", question):
        number = only(looking(regions, match[1]))
        return regions[number].attributes["colour"], {number}
    if match := re.fullmatch(r"How large is (the .+)\?", question):
        number = only(looking(regions, match[1]))
        return regions[number].attributes["size"], {number}
    if match := re.fullmatch(r"Which thing is (\w+)\?", question):
        number = only({i for i, region in enumerate(regions) if region.attributes["colour"] == match[1]})
        return regions[number].category, {number}
    if match := re.fullmatch(rf"Is (the .+) ({'|'.join(SIZED)})\?", question):
        number = only(looking(regions, match[1]))
        return ("yes" if regions[number].attributes["size"] == SIZED[match[2]] else "no"), {number}
    match = re.fullmatch(r"Is (the .+) (left of|right of|above|below) (the .+)\?", question)
    assert match, question
    one, other = (only(looking(regions, match[i])) for i in (1, 3))
    return ("yes" if lies(regions, one, match[2], other) else "no"), {one, other}


def test_every_answer_is_right_and_rests_on_the_regions_named() -> None:
    kinds: collections.Counter[str] = collections.Counter()
    for sample in asked(60):
        for question in sample.questions:
            assert (question.answer, set(question.regions)) == answer(sample.regions, question.question), question
            kinds[question.kind] += 1
    assert set(kinds) == {"yes/no", "count", "attribute", "object"}
    assert min(kinds.values()) > 15


def test_no_question_is_asked_twice_and_no_more_than_wished() -> None:
    config = SceneConfig(cast="shapes", questions=3, masks=False)
    for sample in scenes(0, 30, side=48, config=config).samples:
        assert len({question.question for question in sample.questions}) == len(sample.questions) <= 3


def stripped(question: str) -> str:
    """A question without nouns, so that few forms are left."""
    kept = "Is How What Which there the are many large colour thing left right above below of is small medium sized"
    words = "|".join([*kept.split(), *COLOURS])
    return re.sub(rf"\b(?!(?:{words})\b)[a-z]+\b", "N", question)


def guessed(train: Sequence[Question], test: Sequence[Question], form: Callable[[str], str]) -> float:
    """How often the likeliest answer to a question's form, learned without pictures, is right."""
    seen: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for question in train:
        seen[form(question.question)][question.answer] += 1
    right = [
        question.answer == max(seen[form(question.question)], key=seen[form(question.question)].__getitem__, default="")
        for question in test
    ]
    return sum(right) / len(right)


@pytest.mark.slow
def test_who_sees_no_picture_answers_no_better_than_chance() -> None:
    """From the whole question, or from the question without its nouns."""
    questions = [question for sample in asked(2000) for question in sample.questions]
    random.Random(0).shuffle(questions)
    kinds = (
        ("yes/no", "", 1 / 2),
        ("count", "", 1 / 4),
        ("attribute", "What colour", 1 / 8),
        ("attribute", "How large", 1 / 3),
    )
    for (kind, start, chance), form in itertools.product(kinds, (str, stripped)):
        chosen = [q for q in questions if q.kind == kind and q.question.startswith(start)]
        half = len(chosen) // 2
        found = guessed(chosen[:half], chosen[half:], form)
        said = f"{kind} {start}, {form.__name__}: {found:.3f} of {half}"
        assert found < chance + 4 * (chance * (1 - chance) / half) ** 0.5, said


@pytest.mark.slow
def test_answers_are_even() -> None:
    questions = [question for sample in asked(150) for question in sample.questions]
    for start, values in (("Is", ("yes", "no")), ("How many", "0123"), ("How large", tuple(SIZED.values()))):
        answers = collections.Counter(q.answer for q in questions if q.question.startswith(start))
        total, chance = sum(answers.values()), 1 / len(values)
        assert set(answers) == set(values)
        for value in values:
            assert answers[value] / total == pytest.approx(chance, abs=4 * (chance * (1 - chance) / total) ** 0.5)


@pytest.mark.slow
def test_questions_about_stamps_are_as_even(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    questions = [question for sample in asked(800, cast="stamps") for question in sample.questions]
    yes = [q.answer == "yes" for q in questions if q.kind == "yes/no"]
    assert sum(yes) / len(yes) == pytest.approx(0.5, abs=4 * 0.5 / len(yes) ** 0.5)
    counts = collections.Counter(q.answer for q in questions if q.kind == "count")
    assert min(counts.values()) / max(counts.values()) > 0.75
