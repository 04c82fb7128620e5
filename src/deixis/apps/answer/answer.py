"""Answers questions about pictures, by a method that offers `answer`."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from deixis.apps.answer.choices import choosing
from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.predict.capable import Model, open_method
from deixis.apps.predict.known_words import require_known_words
from deixis.apps.predict.pictures import BatchPredictor, predict, with_names
from deixis.apps.predict.texts import picture_texts
from deixis.engine.training.batching import QUESTION, cut_note, tokenized

__all__ = ["answer", "answer_with"]


@takes_settings(compute=ComputeSettings)
def answer(
    model: Model, images: Any, questions: str | Sequence[str], answers: Sequence[str] = ()
) -> list[str] | list[tuple[str, ...]]:
    """Answers questions about pictures; each is put to each picture.

    Args:
        model: the folder of a run whose method offers `answer`, or such a method.
        images: one or several paths, Pillow images or arrays [H, W, 3].
        questions: one or several.
        answers: the only ones that may be given, of methods that can choose; the likeliest of them is.

    Returns:
        Of each picture the answer; of several questions the answers. Of questions that are cut, as they are longer than
        the method reads, a warning says which.

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), there is no question, the method
            knows no word of one, or a picture can't be read.
    """
    method = open_method(model, "answer")
    several = [questions] if isinstance(questions, str) else list(questions)
    run = answer_with(method, several, answers, lambda note: warnings.warn(note, stacklevel=5))
    found = list(predict(method, with_names(images), run))
    return [each.texts[0] for each in found] if isinstance(questions, str) else [each.texts for each in found]


def answer_with(
    method: Any, questions: Sequence[str], answers: Sequence[str] = (), say: Callable[[str], None] | None = None
) -> BatchPredictor:
    """What puts the questions to the method, batch by batch.

    Args:
        method: that offers `answer`.
        questions: at least one.
        answers: the only ones that may be given; none: any may.
        say: receives which questions are longer than the method reads.

    Raises:
        DeixisError: there is no question, an empty one, or one without a word that the method knows; answers are
            repeated or empty, or the method can't choose.
    """
    require_known_words(method, questions, QUESTION)
    rows = tokenized(method, questions, QUESTION)
    if say is not None and (cut := cut_note(method, questions, QUESTION)):
        say(cut)
    if answers:
        return choosing(method, questions, rows, answers)

    def run(pixels: Any, shown: Any) -> list[Any]:
        wide = (len(pixels), -1)
        answers = [method.answer(pixels, tokens.expand(wide), mask.expand(wide)) for tokens, mask in rows]
        columns = [picture_texts("answer", each, shown) for each in answers]
        return [
            dataclasses.replace(each[0], texts=tuple(one.texts[0] for one in each), questions=tuple(questions))
            for each in zip(*columns, strict=True)
        ]

    return run
