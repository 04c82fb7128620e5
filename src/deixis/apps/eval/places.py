"""The places of an encoder whose features can be read: its blocks, and those that its method names."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.engine.evaluation.model import preprocess_of
from deixis.errors import DeixisError
from deixis.nn.blocks import block_names
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import feature_map
from deixis.types.protocols import OffersEncodeImage

__all__ = ["PlaceFeatures", "block_places", "method_places", "place_sentence"]


class PlaceFeatures(nn.Module):
    """The features of a method at one of the places that it names.

    Args:
        method: whose `encode_image` takes `at`.
        place: one of `method_places(method)`.
    """

    def __init__(self, method: Any, place: str) -> None:
        super().__init__()
        self.method, self.config = method, {"place": place}
        self.preprocess = preprocess_of("The method", method)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """What the method gives there."""
        rows: Tensor = self.method.encode_image(images, at=self.config["place"])
        return rows


def method_places(method: Any) -> tuple[str, ...]:
    """The values of `at` that a method's `encode_image` takes, without its default; empty where it takes none."""
    if not isinstance(method, OffersEncodeImage):
        return ()
    taken = inspect.signature(method.encode_image).parameters.get("at")
    if taken is None:
        return ()
    values = typing.get_args(typing.get_type_hints(method.encode_image)["at"])
    return tuple(each for each in values if each != taken.default)


def block_places(tower: Any) -> list[str]:
    """The blocks of an image tower that give a map, from the first to the last.

    Args:
        tower: an `ImageEncoder` whose network is its attribute `network`.
    """
    found, side = [], tower.preprocess.size
    images = torch.zeros(1, 3, side, side, device=next(tower.parameters()).device)
    for name in block_names(tower.network):
        try:
            with evaluating(tower), torch.no_grad():
                feature_map(tower, images, name)
        except DeixisError:  # what it gives lies on no grid
            continue
        found.append(name)
    return found


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
