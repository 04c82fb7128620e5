"""Pictures that are drawn once, since an arm sees each many times."""

from __future__ import annotations

import dataclasses
from typing import Any

from deixis.types import Sample, Source
from deixis.types.samples import Drawing

__all__ = ["draw_once"]


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


def draw_once(source: Source) -> Source:
    """The same samples, of which what is drawn is drawn at most once.

    Args:
        source: any.
    """

    def converted(sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=_Drawn(sample.image)) if isinstance(sample.image, Drawing) else sample

    return dataclasses.replace(source, samples=tuple(map(converted, source.samples)))
