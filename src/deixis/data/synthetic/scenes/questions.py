"""Questions with answers that can't be guessed from the question: each answer is as likely as any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deixis.data.synthetic.scenes.config import SIZES
from deixis.data.synthetic.scenes.expressions import RELATIONS, Description, GroundTruth
from deixis.data.synthetic.scenes.layout import SceneStage
from deixis.data.synthetic.scenes.object_bank import colours_for
from deixis.data.synthetic.scenes.wording import article, plural, size_word
from deixis.types import Question

__all__ = ["questions"]

Draw = np.random.Generator


def questions(rng: Draw, truth: GroundTruth, stage: SceneStage) -> list[Question]:
    """Questions about a scene, of all kinds by turns: `yes/no`, `count`, `attribute`.

    Args:
        rng: draws them.
        truth: all things; those of the first noun, which is there 1 to `repeats` times, come first.
        stage: what the scene was made with.
    """
    questions_made: list[Question] = []
    order = rng.permutation(len(_ASKERS)).tolist()
    for i in order:
        if len(questions_made) < stage.config.questions:
            question = _ASKERS[i](rng, truth, stage)
            questions_made += [question] if question else []
    return questions_made


def _coin(rng: Draw) -> bool:
    return bool(rng.random() < 0.5)


def _pick(rng: Draw, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _present(rng: Draw, truth: GroundTruth) -> tuple[str, tuple[int, ...]]:
    """A noun that is there, and its things."""
    noun = _pick(rng, list(dict.fromkeys(fact.noun for fact in truth.facts)))
    return noun, tuple(i for i, fact in enumerate(truth.facts) if fact.noun == noun)


def _absent(rng: Draw, truth: GroundTruth, stage: SceneStage) -> str:
    """A noun of the cast that is not there; empty if all are."""
    there = {fact.noun for fact in truth.facts}
    if there.issuperset(stage.cast):
        return ""
    while (noun := _pick(rng, stage.nouns)) in there:
        pass
    return str(noun)


def _exists(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    noun, things = _present(rng, truth) if _coin(rng) else (_absent(rng, truth, stage), ())
    ask = f"Is there {article(noun)} {noun}?"
    return Question(ask, "yes" if things else "no", "yes/no", things) if noun else None


def _exists_coloured(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    """Of a noun that is there, a colour that it has or has not here."""
    noun, things = _present(rng, truth)
    if not truth.facts[0].colour:
        return None
    worn = {truth.facts[i].colour for i in things}
    bare = [colour for colour in colours_for(noun, stage.split, stage.config.unseen) if colour not in worn]
    if not bare:
        return None
    colour = truth.facts[_pick(rng, things)].colour if _coin(rng) else _pick(rng, bare)
    words = f"{colour} {noun}"
    right = tuple(i for i in things if truth.facts[i].colour == colour)
    return Question(f"Is there {article(words)} {words}?", "yes" if right else "no", "yes/no", right)


def _count(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    """None of an absent noun as often as any number of the first noun."""
    most = min(stage.config.repeats, stage.config.objects[1])
    things: tuple[int, ...] = ()
    if rng.random() * (most + 1) < 1:
        noun = _absent(rng, truth, stage)
    else:
        noun = truth.facts[0].noun
        things = tuple(i for i, fact in enumerate(truth.facts) if fact.noun == noun)
    return Question(f"How many {plural(noun)} are there?", str(len(things)), "count", things) if noun else None


def _named(rng: Draw, truth: GroundTruth, allowed: Callable[[Description], bool]) -> tuple[int, str] | None:
    """A thing and words that fit it alone, of the descriptions that are allowed."""
    names = [[each for each in found if allowed(each)] for found in truth.names]
    numbers = [i for i, each in enumerate(names) if each]
    if not numbers:
        return None
    number = _pick(rng, numbers)
    return number, _pick(rng, names[number][:2]).words


def _colour(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    named = _named(rng, truth, lambda each: not each.colour) if truth.facts[0].colour else None
    if named is None:
        return None
    return Question(f"What colour is the {named[1]}?", truth.facts[named[0]].colour, "attribute", (named[0],))


def _size(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    named = _named(rng, truth, lambda each: not each.size)
    if named is None:
        return None
    return Question(f"How large is the {named[1]}?", truth.facts[named[0]].size, "attribute", (named[0],))


def _is_size(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    named = _named(rng, truth, lambda each: not each.size)
    if named is None:
        return None
    right = truth.facts[named[0]].size
    size = right if _coin(rng) else _pick(rng, [other for other in SIZES if other != right])
    return Question(f"Is the {named[1]} {size_word(size)}?", "yes" if size == right else "no", "yes/no", (named[0],))


def _which(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    colours = [fact.colour for fact in truth.facts]
    alone = [i for i, colour in enumerate(colours) if colour and colours.count(colour) == 1]
    if not alone:
        return None
    number = _pick(rng, alone)
    return Question(f"Which thing is {colours[number]}?", truth.facts[number].noun, "object", (number,))


def _related(rng: Draw, truth: GroundTruth, stage: SceneStage) -> Question | None:
    true = truth.true_relations()
    if not true:
        return None
    name, one, other = _pick(rng, true)
    yes = _coin(rng)
    first, second = (one, other) if yes else (other, one)
    ask = f"Is the {truth.names[first][0].words} {RELATIONS[name][0]} the {truth.names[second][0].words}?"
    return Question(ask, "yes" if yes else "no", "yes/no", (first, second))


_ASKERS = (_exists, _exists_coloured, _count, _colour, _size, _is_size, _which, _related)
