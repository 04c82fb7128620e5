"""Answers from a closed list: the likeliest, how likely it is among them, and the next two."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.apps.predict.known_words import require_known_words
from deixis.apps.predict.pictures import BatchPredictor
from deixis.apps.predict.texts import PictureText
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.nn.language.sequences import words_of
from deixis.nn.vision_language.speaker import Speaker

__all__ = ["ChosenAnswers", "choosing"]

_LEAST, _NEXT = 0.5, 2
"""The chance from which on an answer is given in a table; how many others are shown of a picture."""


@dataclasses.dataclass(frozen=True)
class ChosenAnswers(PictureText):
    """Answers of which each was chosen from a list.

    Attributes:
        choices: of each question all answers with their chances, the likeliest first.
    """

    choices: tuple[tuple[tuple[str, float], ...], ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row a question; the answer is empty where it is less likely than all others together."""
        return [
            {"question": question, self.column: best if sure >= _LEAST else "", "sure": f"{sure:.2f}"}
            for question, ((best, sure), *_) in zip(self.questions, self.choices, strict=True)
        ]

    def lines(self) -> list[str]:
        """One line a question, with the next likeliest answers."""
        said = [", ".join(f"{answer} {sure:.0%}" for answer, sure in each[: 1 + _NEXT]) for each in self.choices]
        return [f"{question} {line}" for question, line in zip(self.questions, said, strict=True)]


def choosing(
    method: Any,
    questions: Sequence[str],
    rows: Sequence[tuple[Int64[Tensor, "1 L"], Bool[Tensor, "1 L"]]],
    answers: Sequence[str],
) -> BatchPredictor:
    """What has a method choose among answers, batch by batch.

    Args:
        method: with `answer_scores`, or a `Speaker`, which scores any text.
        questions: at least one.
        rows: their tokens, and which are real.
        answers: different ones, at least two.

    Raises:
        DeixisError: they are not, the method knows no word of one, or it can't choose.
    """
    plain = [each.strip() for each in answers]
    if len(plain) < 2 or len(set(plain)) < len(plain) or not all(plain):
        raise DeixisError(f"The answers are {', '.join(map(repr, plain))}.", "Give two or more, none twice.")
    scores = _scorer(method)
    if scores is None:
        raise DeixisError(f"{name_of(method)} can't choose among given answers.", "Leave --answers out.")
    require_known_words(method, plain, "answer")

    def run(pixels: Any, shown: Any) -> list[ChosenAnswers]:
        wide = (len(pixels), -1)
        shares = [scores(pixels, t.expand(wide), m.expand(wide), plain).softmax(dim=1).tolist() for t, m in rows]
        found = []
        for number, view in enumerate(shown):
            choices = tuple(
                tuple(sorted(zip(plain, each[number], strict=True), key=lambda one: -one[1])) for each in shares
            )
            texts = tuple(best[0][0] for best in choices)
            found.append(ChosenAnswers(view.path, view.picture, "answer", texts, tuple(questions), choices))
        return found

    return run


def _scorer(method: Any) -> Callable[..., Float[Tensor, "B A"]] | None:
    """What gives the logarithm of the probability of each answer; None where nothing does."""
    own, speaker = getattr(method, "answer_scores", None), getattr(method, "speaker", None)
    if own is not None or not isinstance(speaker, Speaker) or speaker.tower is None:
        return own
    return functools.partial(_spoken_scores, speaker)


def _spoken_scores(
    speaker: Speaker,
    images: Float[Tensor, "B 3 H W"],
    tokens: Int64[Tensor, "B L"],
    mask: Bool[Tensor, "B L"],
    answers: Sequence[str],
) -> Float[Tensor, "B A"]:
    """How likely a language model that sees images is to say each answer, and no more, to a question."""
    return speaker.score_texts(speaker.prefix(images), answers, words_of(speaker.lm, tokens, mask))
