"""Pictures that are drawn once, since an arm sees each many times."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from deixis.engine.claims.claim_tasks import CurveTask, TrainingTask, make_task
from deixis.types import Sample, Source
from deixis.types.samples import Drawing

__all__ = ["draw_once", "task_drawn_once"]


class _Drawn:
    """A drawing that is drawn once: an arm sees each many times."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing, self._pixels = drawing, None
        self.name = drawing.name

    def draw(self) -> Any:
        """Its pixels, uint8 [H, W, 3]."""
        if self._pixels is None:
            self._pixels = self._drawing.draw()
        return self._pixels


def task_drawn_once(name: str, options: Mapping[str, Any], seed: int) -> TrainingTask | CurveTask:
    """A task as `make_task` makes it, of whose samples what is drawn is drawn at most once.

    Args:
        name: of the task.
        options: by name.
        seed: of all that is drawn for it.
    """
    made = make_task(name, options, seed)
    if not isinstance(made, TrainingTask):
        return made
    train, validation, test = map(draw_once, (made.train, made.validation, made.test))
    sources = {name: draw_once(source) for name, source in made.sources.items()}
    return dataclasses.replace(made, train=train, validation=validation, test=test, sources=sources)


def draw_once(source: Source) -> Source:
    """The same samples, of which what is drawn is drawn at most once.

    Args:
        source: any.
    """

    def converted(sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=_Drawn(sample.image)) if isinstance(sample.image, Drawing) else sample

    return dataclasses.replace(source, samples=tuple(map(converted, source.samples)))
