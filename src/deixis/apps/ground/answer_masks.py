"""Shows the pixels that the answers to questions rest on, by a method that offers `answer_mask`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.apps.predict.pictures import BatchPredictor, PictureView
from deixis.data.loading.crops import on_picture
from deixis.engine.training.batching import tokenized
from deixis.types import Detections
from deixis.types.detections import MissingPhrase

__all__ = ["ANSWERS", "answers_with"]

ANSWERS = "answer_mask"
"""The capability."""

_LEAST = 0.5
"""From where on a pixel is one of the answer's."""


@dataclasses.dataclass(frozen=True)
class _Answer:
    """Where one answer lies in one picture."""

    question: str
    span: tuple[int, int]
    pixels: Bool[Tensor, "H W"]
    score: float


def answers_with(method: Any, questions: Sequence[str], best: bool = False) -> BatchPredictor:
    """Calls the method, batch by batch, with each question.

    Args:
        method: that offers `answer_mask`.
        questions: for each picture.
        best: whether the likeliest pixels are shown also where none is likely.

    Raises:
        DeixisError: there is no question, or an empty one.
    """
    rows, text = tokenized(method, questions), ", ".join(questions)
    starts = [sum(len(each) + 2 for each in questions[:number]) for number in range(len(questions))]

    def run(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Detections]:
        answers: list[list[_Answer]] = [[] for _ in shown]
        for (tokens, mask), question, start in zip(rows, questions, starts, strict=True):
            wide = (len(pixels), -1)
            maps = method.answer_mask(
                pixels, tokens.to(pixels.device).expand(wide), mask.to(pixels.device).expand(wide)
            )
            for picture, (values, view) in enumerate(zip(maps, shown, strict=True)):
                answers[picture].append(_placed(values, view, question, start, best))
        return [_joined(each, text, view) for each, view in zip(answers, shown, strict=True)]

    return run


def _placed(values: Tensor, view: PictureView, question: str, start: int, best: bool) -> _Answer:
    chances, seen = on_picture(values.float().cpu(), view.window, view.picture.size)
    highest = float(chances.amax())
    pixels = seen & (chances >= (min(_LEAST, highest / 2) if best else _LEAST))
    score = float(chances[pixels].mean()) if pixels.any() else highest
    return _Answer(question, (start, start + len(question)), pixels, score)


def _joined(answers: Sequence[_Answer], text: str, view: PictureView) -> Detections:
    """The answers in one picture: a mask each, and the box around it."""
    there = [each for each in answers if each.pixels.any()]
    missing = tuple(
        MissingPhrase(f"an answer to {each.question!r}", each.span, each.score, "", (0.0, 0.0, 0.0, 0.0), _LEAST)
        for each in answers
        if not each.pixels.any()
    )
    return Detections(
        torch.tensor([_around(each.pixels) for each in there]).reshape(-1, 4),
        torch.tensor([each.score for each in there]),
        tuple(each.question for each in there),
        tuple(each.span for each in there),
        text=text,
        path=view.path,
        size=view.size,
        masks=torch.stack([each.pixels for each in there]) if there else None,
        missing=missing,
        picture=view.picture,
    )


def _around(pixels: Bool[Tensor, "H W"]) -> tuple[float, float, float, float]:
    """The box around some pixels, in shares of the picture."""
    rows, columns = pixels.any(1).nonzero().flatten(), pixels.any(0).nonzero().flatten()
    height, width = pixels.shape
    return (
        float(columns[0]) / width,
        float(rows[0]) / height,
        float(columns[-1] + 1) / width,
        float(rows[-1] + 1) / height,
    )
