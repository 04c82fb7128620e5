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
        protocol: one or several protocols; by default all that fit the data and the models and take seconds.
        model: one or several models: a name (`starter`), a run folder, or a method that needs no training.
    """

    protocol: tuple[str, ...] = dataclasses.field(default=(), metadata={"choices": protocol_names})
    model: tuple[str, ...] = ("starter",)

    def __post_init__(self) -> None:
        """A single name may be given as it is."""
        for name in ("protocol", "model"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, (value,) if value else ())
