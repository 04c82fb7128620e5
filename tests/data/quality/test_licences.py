"""Columns of licences are counted by value; what has none is named."""

from __future__ import annotations

from typing import Any

import pytest

from deixis.data.quality.licences import licences
from deixis.types.samples import Sample


def samples(key: str, *values: Any) -> list[Sample]:
    return [Sample(f"{i}", None, extra={key: value, "width": 3}) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    "key", ["licence", "License", "image_license", "LICENSES", "rights", "usage rights", "copyright"]
)
def test_columns_are_known_by_their_names(key: str) -> None:
    assert licences(samples(key, "CC0", "CC0", "CC-BY-4.0")) == ({key: {"CC0": 2, "CC-BY-4.0": 1}}, [])


@pytest.mark.parametrize("key", ["bill of rights of way", "author", "human rights"])
def test_other_columns_are_not_taken_for_licences(key: str) -> None:
    assert licences(samples(key, "CC0")) == ({}, [])


@pytest.mark.parametrize("value", ["", "  ", None, float("nan"), "unknown", "N/A"])
def test_no_licence_is_named_whatever_stands_for_it(value: Any) -> None:
    told, [finding] = licences(samples("licence", "CC0", value))
    assert told == {"licence": {"CC0": 1, "": 1}}
    assert finding.examples == ("1",)


def test_a_sample_without_the_column_has_no_licence() -> None:
    told, [finding] = licences([*samples("licence", "CC0"), Sample("bare", None)])
    assert finding.examples == ("bare",)
    assert told == {"licence": {"CC0": 1, "": 1}}


def test_a_licence_in_one_of_two_columns_is_enough() -> None:
    both = [Sample("a", None, extra={"licence": "", "rights": "mine"}), Sample("b", None, extra={"licence": "CC0"})]
    assert licences(both)[1] == []


def test_a_column_that_is_empty_throughout_says_nothing() -> None:
    assert licences(samples("licence", "", "")) == ({"licence": {"": 2}}, [])
