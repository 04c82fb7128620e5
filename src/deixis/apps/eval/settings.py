"""What can be set of `deixis eval`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.protocols import protocol_names

__all__ = ["EvalSettings"]


@dataclasses.dataclass(frozen=True)
class EvalSettings(EvalOptions):
    """What is measured, of which models.

    Attributes:
        protocol: how it is measured, one or several; none: all that fit the data and the models and take seconds.
        model: what is measured, one or several: a name (`starter`) or the folder of a run.
    """

    protocol: tuple[str, ...] = dataclasses.field(default=(), metadata={"choices": protocol_names})
    model: tuple[str, ...] = ("starter",)
