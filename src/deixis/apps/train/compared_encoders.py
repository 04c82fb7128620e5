"""Which encoders a run is compared with: its own tower before and after, whitened features, a perceptual hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.eval.encoders import WIDTH
from deixis.apps.eval.image_encoders import HashBits, WhitenedModel
from deixis.apps.train.encoder_comparison import compare_encoders
from deixis.apps.train.image_division import ImageDivision
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.types.protocols import AnyMethod, HasConfig
from deixis.zoo import scratch

__all__ = ["compare_run"]

_STARTER = "starter"


def compare_run(
    division: ImageDivision, before: AnyMethod, after: AnyMethod, out: Path, talk: Reporter
) -> dict[str, Any]:
    """What stands under `encoders` in `result.json`; see `compare_encoders`.

    A tower that was trained from random weights is compared with the starter, where that can be had: to be better than
    random weights proves little.

    Args:
        division: of the images.
        before: the method before training.
        after: the method at the end.
        out: the run folder.
        talk: receives the progress.
    """
    name, trained = _tower_name(before), out.name if out.name != _tower_name(before) else f"{out.name} (trained)"
    models = {name: EvalModel(name, before), trained: EvalModel(trained, after)}
    start = name
    if scratch.options(name) is not None and (starter := _starter()) is not None:
        models[_STARTER], start = starter, _STARTER
    whitened = f"{start}+whiten:{WIDTH}"
    models[whitened] = WhitenedModel(whitened, models[start], WIDTH)
    models["phash"] = EvalModel("phash", HashBits())
    with talk.step("compare"):
        return {**compare_encoders(division, models, start, talk), "before": name, "after": trained}


def _tower_name(method: AnyMethod) -> str:
    """What the image tower was loaded by."""
    part = next(part.name for part in card_of(method).parts if part.kind == "image_tower")
    return str(getattr(method.config if isinstance(method, HasConfig) else None, part))


def _starter() -> EvalModel | None:
    try:
        return EvalModel(_STARTER, zoo.load_part("image_tower", _STARTER))
    except DeixisError:  # it was not fetched
        return None
