"""Errors that tell what was found and how to mend it."""

from __future__ import annotations

import math
import pickle

import pytest

from deixis.errors import DeixisError, require


def test_an_error_is_one_message_with_the_cure_in_it() -> None:
    error = DeixisError("The bowl is empty.", "Fill it.")
    assert str(error) == "The bowl is empty. Fill it."
    assert (error.found, error.cure) == ("The bowl is empty.", "Fill it.")
    assert str(DeixisError("The bowl is empty.")) == "The bowl is empty."


def test_an_error_survives_the_way_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(DeixisError("found", "cure")))
    assert isinstance(error, DeixisError)
    assert (error.found, error.cure) == ("found", "cure")


def test_a_package_that_is_there_is_imported() -> None:
    assert require("math", "data", "count") is math


def test_a_package_that_is_missing_is_named_with_the_line_that_brings_it() -> None:
    with pytest.raises(DeixisError) as caught:
        require("no_such_package.part", "data", "read tables")
    assert str(caught.value) == (
        "The package 'no_such_package' is needed to read tables, and is not installed. "
        "Install it with: pip install 'deixis[data]'"
    )
