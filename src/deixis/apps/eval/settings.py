"""Settings of `deixis eval`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.protocols import protocol_names

__all__ = ["EvalSettings"]


@dataclasses.dataclass(frozen=True)
class EvalSettings(EvalOptions, ComputeSettings):
    """What is measured, on which models.

    Attributes:
        protocol: one or several protocols; by default all that fit the data and the models and take seconds, and with
            encoders those that take minutes, too.
        model: one or several models: a name (`starter`), a run folder, or a method that needs no training.
        encoders: in place of models, encoders of images alone, with commas between them: what `model` takes, `pixels`,
            `phash`, NAME@LAYER, and each with +whiten:256 behind it, such as starter,starter+whiten,my-eyes,phash.
        at: of the encoders, the place whose features are measured, such as layer3; `all`: a row for each block and each
            place that a method names, and which of them a linear classifier does best with on validation images.
        ask: questions about columns of the data, as COLUMN=QUESTION, for answer.
        rerank: run that scores the first results of each caption again as pairs (`match`), for pair-retrieval.
    """

    protocol: tuple[str, ...] = dataclasses.field(default=(), metadata={"choices": protocol_names})
    model: tuple[str, ...] = ("starter",)
    encoders: tuple[str, ...] = ()
    at: str = ""
    ask: tuple[str, ...] = ()
    rerank: str = ""

    def __post_init__(self) -> None:
        """A single name may be given as it is."""
        for name in ("protocol", "model"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, (value,) if value else ())
        several = [self.encoders] if isinstance(self.encoders, str) else self.encoders
        split = tuple(name.strip() for each in several for name in each.split(",") if name.strip())
        object.__setattr__(self, "encoders", split)

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured: the encoders, else the models."""
        return self.encoders or self.model
