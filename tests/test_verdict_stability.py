"""The rows on how stable the verdict is: what they are measured on, and the page that is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.verdict_stability import galleries, sample, units
from docs.build import table
from docs.stability import stability_page

GROUPS = tuple(i // 2 for i in range(200))


def row(kind: str, seed: int, outcome: str, borderline: bool = False, **other: Any) -> dict[str, Any]:
    interval = {name: [0.05, 0.01, 0.09] for name in ("mean_mrr", "text_to_image_r5")}
    return {
        **{"set": "stamps", "size": 120, "kind": kind, "seed": seed, "outcome": outcome, "borderline": borderline},
        **{"metric": "text_to_image_r5", "gain": interval, "corrected_t": interval, "rest": None},
        **{"seconds": 10.0, "date": "2026-12-01T00:00:00+00:00"},
        **other,
    }


def test_whole_concepts_are_drawn_and_the_rest_is_cut_into_galleries_of_one_size() -> None:
    drawn = sample(GROUPS, 120, seed=3)
    assert len(drawn) == 120
    rest = sorted(set(range(200)).difference(drawn))
    assert {GROUPS[i] for i in drawn}.isdisjoint(GROUPS[i] for i in rest)
    cut = galleries(GROUPS, rest, 20, seed=3)
    assert [len(each) for each in cut] == [20] * 4
    assert len({i for each in cut for i in each}) == 80
    assert sample(GROUPS, 120, seed=4) != drawn


def test_small_units_come_first_and_seeds_a_few_at_a_time() -> None:
    made = list(units(10, ["stamps"], (60, 120)))
    assert len(made) == len(set(made)) == 60
    assert {(unit.size, unit.seed) for unit in made[:15]} == {(60, seed) for seed in range(5)}
    assert {unit.seed for unit in made[:30]} == set(range(5))


def test_the_page_counts_seeds_that_agree_or_say_borderline() -> None:
    rows = [row("fixed", seed, "adapted") for seed in range(3)]
    rows += [row("fixed", 3, "original", True), row("fixed", 4, "original")]
    page = stability_page(rows, "made", table).text
    assert "| stamps | 120 | 5 | 3 adapted, 2 original | 1 | 60 | 80 |" in page


def test_the_page_counts_what_was_kept_of_captions_dealt_out_at_random() -> None:
    rows = [row("shuffled", seed, outcome) for seed, outcome in enumerate(["original"] * 9 + ["probable"])]
    assert "| stamps | 120 | 10 | 1 of 10 |" in stability_page(rows, "made", table).text


def test_the_page_counts_intervals_that_hold_the_gain_on_the_rest() -> None:
    far, near = {"mean_mrr": (0.2, 0.0)}, {"mean_mrr": (0.06, 0.0)}
    rows = [
        row("sample", seed, "adapted", rest=rest | {"text_to_image_r5": (0.1, 0.02)})
        for seed, rest in enumerate((near, near, near, far))
    ]
    page = stability_page(rows, "made", table).text
    # Of eight intervals one misses by far; the four of the other measure hold 0.1 only with the error of the rest.
    assert "| stamps | 120 | 4 | 88 | 38 | 88 |" in page
    assert "| stamps | 120 | 4 | +9.5 | 4 | 0 | 100 |" in page


def test_curves_are_drawn_where_a_set_has_several_sizes() -> None:
    rows = [row("fixed", seed, "adapted") | {"size": size} for seed in range(3) for size in (60, 120)]
    page = stability_page(rows, "made", table)
    assert list(page.pictures) == ["claims/verdict-seeds.svg"]
    assert "claims/verdict-seeds.svg" in page.text
    assert np.all(["polyline" in picture for picture in page.pictures.values()])
