"""Functions with settings take the fields as keywords, and say so in their signatures."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Literal

import pytest

import deixis
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.settings_keywords import takes_settings
from deixis.errors import DeixisError
from deixis.nn.compute import current


@dataclasses.dataclass(frozen=True)
class Settings(ComputeSettings):
    """Settings.

    Attributes:
        splits: a number.
        names: several.
        how: one of two.
    """

    splits: int = 5
    names: tuple[str, ...] = ()
    how: Literal["sum", "mean"] = "sum"


@takes_settings(settings=Settings, reading=Reading)
def act(data: str, settings: Settings | None = None, reading: Reading | None = None, *, quiet: bool = False) -> Any:
    """Gives what it was given."""
    return data, settings, reading, quiet, current().batch


def test_fields_of_settings_are_keywords_beside_the_settings_themselves() -> None:
    assert act("x") == ("x", Settings(), Reading(), False, 0)
    assert act("x", splits=3, group="id", quiet=True) == ("x", Settings(splits=3), Reading(group="id"), True, 0)
    assert act("x", Settings(splits=3), names=["a", "b"])[1] == Settings(splits=3, names=("a", "b"))
    assert act("x", settings=Settings(splits=3), names="a")[1] == Settings(splits=3, names=("a",))


def test_the_settings_say_where_is_computed() -> None:
    assert act("x", device="cpu", batch=3)[-1] == 3
    assert current().batch == 0


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"splitz": 3}, "act takes no 'splitz'. Did you mean splits?"),
        ({"how": "max"}, "There is no how 'max'. There are: sum, mean."),
    ],
)
def test_what_is_no_setting_is_told_with_what_there_is(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError) as caught:
        act("x", **keywords)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["adapt", "index", "label", "check", "ground", "segment", "caption", "answer", "read"])
def test_functions_of_the_package_show_their_settings(name: str) -> None:
    shown = inspect.signature(getattr(deixis, name)).parameters
    wanted = {"adapt": ("model", "splits", "device", "path_column"), "check": ("path_column",)}
    assert {*wanted.get(name, ("device", "batch", "precision"))} <= {*shown}
    if name == "adapt":
        assert shown["splits"].default == AdaptSettings().splits
