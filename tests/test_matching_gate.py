"""The page on the gate before claims about matching: what it says of no tries, and of some."""

from __future__ import annotations

from typing import Any

from docs.build import table
from docs.matching_gate import CURVES, matching_gate_page


def row(world: str, seed: int, *curve: tuple[float, int, int], passed: bool = False) -> dict[str, Any]:
    facts = {"minutes": 4.0, "pairs": 400, "held": 100, "batch": 64, "date": "2026-01-01T00:00:00+00:00"}
    return {"world": world, "seed": seed, "curve": [list(each) for each in curve], "passed": passed, **facts}


def test_without_a_try_the_page_says_so() -> None:
    page = matching_gate_page([], "made", table)
    assert page.text.endswith("No try has been made yet.\n")
    assert page.pictures == {}


def test_each_world_says_how_many_seeds_pass_and_curves_show_tries_of_any_length() -> None:
    """A try ends as soon as it is far enough, so that curves have different numbers of points."""
    slow = row("names", 0, (0.1, 1, 50), (120.0, 900, 61), (240.0, 1800, 58))
    fast = row("codes", 0, (0.1, 1, 50), (60.0, 500, 96), passed=True)
    again = row("codes", 1, (0.1, 1, 50), (240.0, 500, 70))
    page = matching_gate_page([row("names", 0, (1.0, 1, 99), passed=True), slow, fast, again], "made", table)
    assert "**0 of 1 seeds pass in `names`; 1 of 2 seeds pass in `codes`.**" in page.text
    assert "| names | 0 | no | 58 | 61 | 1,800 | 4.0 of 4 | 400 | 2026-01-01 |" in page.text
    assert f"]({CURVES})" in page.text
    assert page.pictures[CURVES].count("<polyline") == 6  # of each try the seed, and the mean over its one seed
