"""What explains: the methods of the registry that offer `attribute`, under their names and those of their variants; and
relevance, which belongs to no paper."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.apps.explain.settings import DEFAULT, ExplainSettings
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.methods import get, list_methods, read
from deixis.nn.dual import DualEncoder
from deixis.nn.relevance import RULES, relevance
from deixis.nn.taps import is_transformer, to_grid
from deixis.ops.maps import resize, to_symmetric
from deixis.types.outputs import Maps
from deixis.types.protocols import HasMaps, OffersAttribute

__all__ = ["RELEVANCE", "chosen_method", "explainer", "explainers", "resolve"]

RELEVANCE = "relevance"
"""Layer-wise relevance as it is, of `deixis.nn.relevance`."""

_TOWER = "image_tower."
_OF_METHODS = ("layers", "combine", "rules", "rate")
"""Settings that are the method's own, where it has them."""

Score = Callable[[Any], Tensor]


def explainers() -> list[str]:
    """All names that `--method` takes, those of forms (`*+*`) among them."""
    cards = {name: read(name).card for name in list_methods()}
    able = {name: card for name, card in cards.items() if "attribute" in card.capabilities}
    return list(dict.fromkeys([RELEVANCE, *(each for name, card in able.items() for each in (name, *card.variants))]))


def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """The method that a name stands for, and the settings.

    Args:
        name: of a method that offers `attribute`, or of one of its variants.

    Raises:
        DeixisError: there is none; the message suggests near names.
    """
    cards = {each: read(each).card for each in list_methods()}
    able = {each: card for each, card in cards.items() if "attribute" in card.capabilities}
    for matches in (str.__eq__, fnmatch.fnmatchcase):
        for method, card in able.items():
            for form, variant in card.variants.items():
                if matches(name, form):
                    return method, {key: name if value == "*" else value for key, value in variant.settings.items()}
    if name in able:
        return name, {}
    near = difflib.get_close_matches(name, explainers(), n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    found = f"{name} explains no scores." if name in cards else f"There is no method {name!r}."
    raise DeixisError(found, f"{hint}There are: {', '.join(explainers())}.")


def chosen_method(model: nn.Module, settings: ExplainSettings) -> str:
    """The method of the settings, or where they name none, the one that suits the model.

    Args:
        model: a dual encoder, or any network that takes images.
        settings: of the explanation.
    """
    if settings.method:
        return settings.method
    return DEFAULT["pairs" if isinstance(model, DualEncoder) and not _given(settings) else "classes"]


def explainer(model: nn.Module, settings: ExplainSettings) -> HasMaps:
    """What makes maps of a model's scores, as the settings say; the model is left as it is.

    Args:
        model: a dual encoder, or any network that takes images.
        settings: the method's name and its settings.

    Raises:
        DeixisError: there is no such method, or it has no such setting or value.
    """
    given, wanted = _given(settings), chosen_method(model, settings)
    if wanted == RELEVANCE:
        return Relevance(model, settings)
    name, changes = resolve(wanted)
    config = read(name).config
    has = {field.name for field in dataclasses.fields(config)}
    for key in given:
        if key not in has:
            raise DeixisError(f"{wanted} has no {key} to choose.", f"Leave the {key} out.")
    if isinstance(model, DualEncoder) and "layers" in given:
        given["layers"] = tuple(each.removeprefix(_TOWER) for each in given["layers"])
    parts = read(name).card.parts
    if [part.kind for part in parts] != ["dual_encoder"]:
        raise DeixisError(f"{name} explains no other model's scores: it has parts of its own.", "Take another method.")
    method = get(name).Method(configure(name, "desk", {**changes, **given}), **{parts[0].name: model})
    if isinstance(method, HasMaps):
        return method
    assert isinstance(method, OffersAttribute), "its card says so"
    return _Plain(method)


def _given(settings: ExplainSettings) -> dict[str, Any]:
    """What was changed of the settings that are the method's own."""
    usual = ExplainSettings()
    return {name: value for name in _OF_METHODS if (value := getattr(settings, name)) != getattr(usual, name)}


class _Plain:
    """A method that offers `attribute` and nothing more."""

    def __init__(self, method: OffersAttribute) -> None:
        self._method = method

    def maps(self, images: Float[Tensor, "B c H W"], score: Score) -> Maps:
        return Maps(self._method.attribute(images, score), {})


class Relevance:
    """Maps by layer-wise relevance, of pixels or of layers.

    Args:
        model: a dual encoder, or any network that takes images.
        settings: layers and rules; without rules those for the kind of network.

    Raises:
        DeixisError: there is no set of rules of that name.
    """

    def __init__(self, model: nn.Module, settings: ExplainSettings) -> None:
        if settings.rules and settings.rules not in RULES:
            raise DeixisError(f"There is no set of rules {settings.rules!r}.", f"There are: {', '.join(RULES)}.")
        self._model, self._layers = model, settings.layers
        self._rules = settings.rules or ("attention" if is_transformer(model) else "epsilon_plus")

    def maps(self, images: Float[Tensor, "B c H W"], score: Score) -> Maps:
        """Between -1 and 1; of several layers the mean."""
        size = (images.shape[-2], images.shape[-1])
        forward = self._model.encode_image if isinstance(self._model, DualEncoder) else None
        prefix = _TOWER if forward else ""
        layers = {f"{prefix}{each.removeprefix(prefix)}": each for each in self._layers}
        found = relevance(self._model, images, score, rules=self._rules, layers=tuple(layers), forward=forward)
        raw: Mapping[str, Tensor] = {
            layers[name]: _placed(each, size, found.scores.ndim) for name, each in found.layers.items()
        } or {"input": found.input.sum(-3)}
        signed = torch.stack([to_symmetric(resize(each, size)) for each in raw.values()]).mean(0)
        return Maps(signed, raw, signed=True)


def _placed(values: Tensor, size: tuple[int, int], several: int) -> Float[Tensor, "*B h w"]:
    """The relevance of a layer, [B, ...], or [B, T, ...] of several scores, summed over channels."""
    flat = values.flatten(0, several - 1)
    return to_grid(flat, size)[0].sum(1).unflatten(0, values.shape[:several])
