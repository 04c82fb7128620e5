"""How long learning will take, and learning that is resumed where it takes long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.few_shot import FewShotMethod, Pick
from deixis.engine.fewshot.shots import Shots
from deixis.files import cache_dir
from deixis.methods import read
from deixis.nn.dual import DualEncoder

__all__ = ["SLOW", "Learned", "estimate_cost", "learn_resumed"]

SLOW = 60.0
"""Seconds of a forecast from which it is reported before the work begins, and training writes a checkpoint."""

_MANY = 500
"""Classes from which a forecast is made for methods that are not trained, too."""


class Learned(NamedTuple):
    """A method that has learned the classes, and why it was chosen, if it was: by `auto`."""

    method: FewShotMethod
    choice: Pick | None


def estimate_cost(
    method: str, encoder: DualEncoder, names: Sequence[str], count: int, overrides: Mapping[str, Any]
) -> tuple[float, str]:
    """About how many seconds learning takes, and a sentence where that is long.

    Args:
        method: that learns.
        encoder: the frozen model.
        names: of the classes.
        count: images to learn from.
        overrides: settings of the method.
    """
    trained = method != learners.AUTO and read(method).card.kind == "trained"
    if not trained and len(names) < _MANY:
        return 0.0, ""
    seconds = few_shot.forecast(method, encoder, names, count, overrides)
    if seconds < SLOW:
        return seconds, ""
    time = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    cure = "zero_shot and tip take the least" if not trained else "linear, tip and delta take far less"
    return seconds, f"Training {len(names)} classes by {method} will take about {time}; {cure}."


def learn_resumed(
    method: str,
    encoder: DualEncoder,
    names: Sequence[str],
    shots: Shots,
    overrides: Mapping[str, Any],
    seed: int,
    seconds: float = 0.0,
) -> Learned:
    """What `few_shot.learn` gives; where that takes long, training is saved and resumes after an interruption.

    Args:
        method: that learns; of `auto` the one that it chooses.
        encoder: the frozen model.
        names: of the classes.
        shots: labelled images.
        overrides: settings of the method.
        seed: of its draws.
        seconds: what `estimate_cost` gave.
    """
    choice, checkpoint = None, None
    if method == learners.AUTO:
        choice = few_shot.choose(encoder, names, shots, overrides=overrides, seed=seed)
        method, overrides = choice.method, learners.settings_of(choice.method, overrides)
    if seconds >= SLOW:
        changed = repr(sorted(overrides.items()))
        facts = [method, list(names), shots.ids, shots.labels.tolist(), seed, encoder.fingerprint(), changed]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        checkpoint = cache_dir("few-shot", f"{key}.safetensors")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    found = few_shot.learn(method, encoder, names, shots, overrides=overrides, seed=seed, checkpoint=checkpoint)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Learned(found, choice)
