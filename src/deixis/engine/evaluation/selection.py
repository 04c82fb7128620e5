"""Which protocols measure some models on some data: by what the models can do and the fields that are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from deixis.engine.evaluation.data import CURES, EvalData, missing_fields
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.protocols import protocol_names, read_protocol
from deixis.errors import DeixisError
from deixis.types import CAPABILITIES

__all__ = ["Selection", "require_capabilities", "require_fields", "select"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """What runs, and what does not.

    Attributes:
        models: protocol -> the models that it measures.
        reasons: protocol -> why it does not run, or leaves a model out.
    """

    models: Mapping[str, tuple[EvalModel, ...]]
    reasons: Mapping[str, str]


def require_fields(name: str, data: EvalData) -> None:
    """Refuses data that lack what a protocol reads.

    Raises:
        DeixisError: a field is missing.
    """
    missing = missing_fields(data, read_protocol(name).fields)
    if missing:
        cure = next((CURES[field] for field in missing if field in CURES), f"Give data with {missing[0]}.")
        raise DeixisError(f"{data.source.name} has no {' and no '.join(missing)}, which {name} needs.", cure)


def require_capabilities(name: str, models: Sequence[EvalModel]) -> None:
    """Refuses models that a protocol can't measure.

    Raises:
        DeixisError: a model lacks what it needs.
    """
    for model in models:
        if lacking := model.lacks(read_protocol(name).capabilities):
            raise DeixisError(
                f"{model.name} can't be measured by {name}: it has no {' and no '.join(lacking)}.",
                f"It can: {', '.join(sorted(model.capabilities)) or 'nothing that is measured'}. "
                "Leave --protocol out to run what fits.",
            )


def select(data: EvalData, models: Sequence[EvalModel]) -> Selection:
    """The protocols that fit, in the order of the table of capabilities; those that take minutes run only by name.

    Args:
        data: its fields decide.
        models: their capabilities decide.
    """
    chosen: dict[str, tuple[EvalModel, ...]] = {}
    reasons: dict[str, str] = {}
    for name in _candidates(models):
        if name not in protocol_names():
            reasons[name] = "comes with a later paper"
            continue
        protocol = read_protocol(name)
        able = tuple(model for model in models if not model.lacks(protocol.capabilities))
        missing = missing_fields(data, protocol.fields)
        unable = {m.name: f"{m.name} has no {' and no '.join(m.lacks(protocol.capabilities))}" for m in models}
        without = "; ".join(unable[model.name] for model in models if model not in able)
        if missing:
            reasons[name] = f"no {' and no '.join(missing)}"
        elif not able:
            reasons[name] = without
        elif protocol.slow:
            reasons[name] = f"takes minutes; name it: --protocol {name}"
        else:
            chosen[name] = able
            if without:
                reasons[name] = f"{without}: left out"
    return Selection(chosen, reasons)


def _candidates(models: Sequence[EvalModel]) -> list[str]:
    """What the capabilities of the models open, then all others."""
    can = set().union(*(model.capabilities for model in models))
    opened = [
        name for key in CAPABILITIES if key in can for name in (*CAPABILITIES[key].protocols, *CAPABILITIES[key].later)
    ]
    return list(dict.fromkeys([*opened, *protocol_names()]))
