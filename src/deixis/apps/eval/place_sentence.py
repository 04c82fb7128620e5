"""At which of its places an encoder is read best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["place_sentence"]


def place_sentence(models: Mapping[str, Mapping[str, Any]], values: Mapping[str, float], names: Sequence[str]) -> str:
    """Which place a linear classifier of labels does best with on validation images; empty where that is not known.

    Args:
        models: name -> what `result.json` says of it, with `validation_loss` by penalty.
        values: name -> accuracy on test images.
        names: the encoders without a place, of which each has rows.
    """
    sentences = []
    for name in names:
        losses = {
            each: min(facts["validation_loss"].values())
            for each, facts in models.items()
            if facts.get("validation_loss") and each.partition("@")[0] == name
        }
        if len(losses) < 2 or name not in losses:
            continue
        best = min(losses, key=lambda each: losses[each])
        at = "the last place is the best" if best == name else f"{best.partition('@')[2]} is the best place"
        right = f"{100 * values[best]:.0f} of 100 test images are labelled right"
        beside = "" if best == name else f", at its end {100 * values[name]:.0f}"
        sentences.append(f"Of {len(losses)} places of {name}, {at} by validation images: {right}{beside}.")
    return " ".join(sentences)
