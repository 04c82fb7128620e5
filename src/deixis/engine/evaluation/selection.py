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
    protocol = read_protocol(name)
    missing = missing_fields(data, protocol.fields)
    if missing:
        known = next((CURES[field] for field in missing if field in CURES), f"Give data with {missing[0]}.")
        cure = protocol.cure or known
        raise DeixisError(f"{data.source.name} has no {' and no '.join(missing)}, which {name} needs.", cure)


def require_capabilities(name: str, models: Sequence[EvalModel], some: bool = False) -> tuple[EvalModel, ...]:
    """The models that a protocol can measure; all of them, or it is refused.

    Args:
        name: of the protocol.
        models: that are to be measured.
        some: whether it is enough that one of them can be.

    Raises:
        DeixisError: a model lacks what the protocol needs, or all of them do.
    """
    needs = read_protocol(name).capabilities
    able = tuple(model for model in models if not model.lacks(needs))
    if len(able) == len(models) or (some and able):
        return able
    model = next(each for each in models if each not in able)
    lacking = " and no ".join(model.lacks(needs))
    if some and len(models) > 1:
        raise DeixisError(
            f"None of {', '.join(each.name for each in models)} can be measured by {name}: they have no {lacking}.",
            "Add an encoder that has: starter, for example.",
        )
    raise DeixisError(
        f"{model.name} can't be measured by {name}: it has no {lacking}.",
        f"It can: {', '.join(sorted(model.capabilities)) or 'nothing that is measured'}. "
        "Leave --protocol out to run what fits.",
    )


def select(data: EvalData, models: Sequence[EvalModel], slow: bool = False) -> Selection:
    """The protocols that fit, in the order of the table of capabilities.

    Args:
        data: its fields decide.
        models: their capabilities decide.
        slow: whether those that take minutes run, too; else only by name.
    """
    chosen: dict[str, tuple[EvalModel, ...]] = {}
    reasons: dict[str, str] = {}
    for name in _candidates(models):
        if name not in protocol_names():
            reasons[name] = "is not measured by this version"
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
        elif protocol.hours or (protocol.slow and not slow):
            reasons[name] = f"takes {'hours' if protocol.hours else 'minutes'}; name it: --protocol {name}"
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
