"""The methods that learn classes from what a frozen encoder says of images: found by what their cards declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deixis.engine.fewshot.names import require_places
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.methods import all_settings, former_names, list_methods, read
from deixis.types import FieldSpec

__all__ = [
    "AUTO",
    "CELLS",
    "SPECS",
    "candidates",
    "changed_settings",
    "offered",
    "require",
    "settings_of",
    "takes",
]

AUTO = "auto"
CELLS = "image_cells"
SPECS = (
    FieldSpec("image_embedding", "B D", values="unit"),
    FieldSpec("image_features", "B F"),
    FieldSpec(CELLS, "B N D"),
)
"""What an encoder says of an image: in the space shared with texts, before the projection into it, and of its cells,
which are computed only for methods that read them."""


def offered() -> list[str]:
    """The methods that learn classes from what an encoder says of images."""
    given = {*(spec.name for spec in SPECS), "labels"}
    cards = {name: read(name).card for name in list_methods()}
    return [
        name
        for name, card in cards.items()
        if "classify" in card.capabilities
        and {need.name for need in card.needs} <= given
        and {part.name for part in card.parts} == {"encoder", "names"}
    ]


def candidates() -> list[str]:
    """What `auto` chooses from: methods that need no training by steps. Those that keep nearest to the class names come
    first, and of equally good ones the first is taken: without learning; then in the space shared with texts, from
    most fields to fewest; then in the features before it."""

    def order(name: str) -> tuple[bool, bool, int, str]:
        card = read(name).card
        fields = [need.name for need in card.needs]
        return bool(fields), bool(fields) and "image_embedding" not in fields, -len(fields), name

    cards = {name: read(name).card for name in offered()}
    return sorted((name for name, card in cards.items() if card.kind != "trained" and card.automatic), key=order)


def require(method: str) -> None:
    """Makes sure that a method can be learned.

    Raises:
        DeixisError: it can't, or there is none of that name.
    """
    some = offered()
    if method not in (*some, AUTO):
        read(method)
        raise DeixisError(f"{method} learns no classes from images.", f"These do: {', '.join([*some, AUTO])}.")


def takes(method: str, setting: str) -> bool:
    """Whether a method has a setting; `auto` has those of all that it chooses from."""
    if method == AUTO:
        return any(takes(name, setting) for name in candidates())
    config = read(method).config.desk()
    return setting in {**all_settings(config), **former_names(config)}


def settings_of(method: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that a method has."""
    return {name: value for name, value in overrides.items() if takes(method, name)}


def changed_settings(method: str, templates: Sequence[str], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a method that are not its preset's; templates where it reads some.

    Args:
        method: one of `offered()`, or `auto`.
        templates: sentences around a name.
        settings: further ones.

    Raises:
        DeixisError: no such method or setting, or a template without `{}`.
    """
    require(method)
    require_places(templates)
    own = {"templates": tuple(templates)} if templates and takes(method, "templates") else {}
    changed = {**own, **(settings or {})}
    if method != AUTO:
        configure(method, "desk", changed)
    return changed
