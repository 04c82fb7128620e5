"""Tests that take long are found by their time, and the list names no test that is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.slow_list import LIMIT, listed, names, too_long

ROOT = Path(__file__).resolve().parent.parent


def test_what_took_longer_is_named_with_its_case_and_what_only_waited_for_its_fixtures_is_not() -> None:
    lines = [
        "============ slowest durations ============",
        f"{2 * LIMIT:.2f}s call     tests/b.py::test_of_a_case[two words]",
        f"{3 * LIMIT:.2f}s call     tests/a.py::test_alone",
        f"{LIMIT:.2f}s call     tests/a.py::test_that_fits",
        f"{9 * LIMIT:.2f}s setup    tests/a.py::test_whose_fixture_is_shared",
    ]
    assert too_long(lines) == ["tests/a.py::test_alone", "tests/b.py::test_of_a_case[two words]"]


def test_all_that_are_listed_are_there() -> None:
    functions: dict[str, set[str]] = {}
    for file in {names(each)[0] for each in listed()}:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8")) if (ROOT / file).is_file() else ast.Module([], [])
        functions[file] = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    gone = [each for each in sorted(listed()) if names(each)[1] not in functions[names(each)[0]]]
    assert not gone, f"make slow-list: {gone}"


def test_they_are_left_out_of_the_fast_ones(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> None:
    slow = [item for item in request.session.items if item.nodeid in listed()]
    assert all(item.get_closest_marker("slow") for item in slow)
    assert not slow or not re.search("not slow", pytestconfig.getoption("markexpr"))
