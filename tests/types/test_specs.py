"""What a method declares are plain values: they compare, copy and print without torch."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from deixis.types import CAPABILITIES, Card, Crop, FieldSpec, Part, SampleSpec, Stage, Variant, ViewSpec, specs
from deixis.types.batch import CORE_FIELDS

VALUES = [
    FieldSpec("x", "B D"),
    Crop(2, 96),
    ViewSpec(64, crops=(Crop(2, 32),)),
    SampleSpec(captions=5),
    Part("encoder", "dual_encoder", frozen=True),
    Card("Title", 2021, "trained", needs=(FieldSpec("x", "B D"),), variants={"quick": Variant({"steps": 1})}),
    Stage("warm", trainable=("head.",)),
    Variant({"step": "none"}, standard=True),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_equal_by_content_and_survive_a_pickle(value: object) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    assert hash(again) == hash(value), "usable as a key"
    assert eval(repr(value), vars(specs)) == value, "printed as it is written"
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.name = "other"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CORE_FIELDS)
def test_core_fields_use_the_letters_of_the_legend(name: str) -> None:
    import deixis.types

    legend = deixis.types.__doc__ or ""
    for axis in CORE_FIELDS[name].axes.split():
        assert axis.isdigit() or axis == "S" or f"| {axis} |" in legend or axis in ("H", "W"), axis
    assert set(CORE_FIELDS[name].ragged.split()) <= set(CORE_FIELDS[name].axes.split())
    assert CORE_FIELDS[name].axes.startswith("B"), "one row a sample"


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_capability_asks_for_fields_that_exist(name: str) -> None:
    assert set(CAPABILITIES[name].needs) <= set(CORE_FIELDS)
    assert all(": " in argument for argument in CAPABILITIES[name].arguments)


def test_a_name_that_types_does_not_have_is_an_attribute_error() -> None:
    import deixis.types

    with pytest.raises(AttributeError, match="no attribute 'Bacth'"):
        _ = deixis.types.Bacth
