"""The places of an encoder whose features can be read: its blocks, and those that its method names.

`NAME@PLACE` is the encoder NAME, read there.
"""

from __future__ import annotations

import inspect
import typing
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis import zoo
from deixis.apps.common.loading import load, method_folder
from deixis.engine.evaluation.model import preprocess_of
from deixis.errors import DeixisError
from deixis.nn.blocks import block_names
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import feature_map, tokens
from deixis.types.outputs import TokenStates
from deixis.types.protocols import OffersEncodeImage

__all__ = ["LayerFeatures", "PlaceFeatures", "block_places", "features_at", "method_places", "tower_of"]


class LayerFeatures(nn.Module):
    """The mean over the places of a layer's map.

    Args:
        tower: an `ImageEncoder` whose network is its attribute `network`.
        layer: a name of `deixis.nn.taps.names(tower.network)`.

    Raises:
        DeixisError: there is no such layer (near names are listed), or it gives no map.
    """

    def __init__(self, tower: Any, layer: str) -> None:
        super().__init__()
        self.tower, self.preprocess, self.config = tower, tower.preprocess, {"layer": layer}
        side = tower.preprocess.size
        with evaluating(self), torch.no_grad():
            self.encode_image(torch.zeros(1, 3, side, side, device=next(tower.parameters()).device))

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Not of length 1."""
        return self.cells(images).mean(dim=(2, 3))

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """The layer's map."""
        return feature_map(self.tower, images, self.config["layer"])

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the map."""
        return tokens(self.tower, images, self.config["layer"])


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


def method_places(method: Any, *, default: bool = True) -> tuple[str, ...]:
    """The values of `at` that a method's `encode_image` takes; empty where it takes none.

    Args:
        method: or None.
        default: whether the one that is read where none is named is among them.
    """
    if not isinstance(method, OffersEncodeImage):
        return ()
    taken = inspect.signature(method.encode_image).parameters.get("at")
    if taken is None:
        return ()
    values = typing.get_args(typing.get_type_hints(method.encode_image)["at"])
    return tuple(each for each in values if default or each != taken.default)


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


def features_at(name: str, place: str) -> LayerFeatures | PlaceFeatures:
    """An encoder that is read at a place.

    Args:
        name: of a model, of a run, or of an image tower.
        place: a layer of the tower, or a place that the method of the run names.

    Raises:
        DeixisError: there is no such model or place; what the method names is listed.
    """
    method = _method(name)
    own = method_places(method)
    if place in own:
        return PlaceFeatures(method, place)
    try:
        return LayerFeatures(_tower(name, method), place)
    except DeixisError as error:
        if not own:
            raise
        raise DeixisError(error.found, f"{error.cure} The method itself names {', '.join(own)}.".strip()) from error


def tower_of(name: str) -> Any:
    """The image tower of a model, or of the method of a run without text.

    Args:
        name: of a model, of a run, or of an image tower.

    Raises:
        DeixisError: there is no such model, or its tower has no layers that can be named.
    """
    return _tower(name, _method(name))


def _method(name: str) -> Any:
    """The method of a run without text; None of anything else."""
    folder = method_folder(name)
    return None if folder is None else load(folder)


def _tower(name: str, method: Any) -> Any:
    tower = zoo.load_part("image_tower", name) if method is None else getattr(method, "encoder", None)
    if not hasattr(tower, "network"):
        raise DeixisError(f"{name} has no image tower with layers that can be named.", "Leave out @LAYER.")
    return tower
