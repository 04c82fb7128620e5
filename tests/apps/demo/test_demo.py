"""The bar of the demo, on made-up numbers, and the small parts around it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.apps.demo import demo
from deixis.apps.demo.demo import bars, slices_of
from deixis.errors import DeixisError
from deixis.ops.stats import Interval
from deixis.types import Sample, Source

METHOD, NAIVE = "residual", "naive, 300 steps, no selection"
PARTS = ("all", "without symbol families", "photographs", "drawings without symbol families", "photographed animals")
Numbers = dict[str, Any]


def interval(value: float, spread: float = 0.0) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def arm(value: float, spread: float = 0.0) -> Numbers:
    return {part: {metric: interval(value, spread) for metric in ("mean_r1", "mean_r10")} for part in PARTS}


@pytest.fixture
def numbers() -> Numbers:
    """A demo in which all went well."""
    return {
        "arms": {METHOD: arm(8.0, 2.0), "shuffled captions": arm(0.0), NAIVE: arm(-9.0, 4.0)},
        "starter": {
            metric: interval(60.0) for metric in ("image_to_text_r10", "text_to_image_r1", "text_to_image_r10")
        },
        "forgotten": {"emoji": {"mean_r1": interval(0.001), "mean_r10": interval(-0.004)}},
    }


def judged(numbers: Numbers) -> dict[str, dict[str, Any]]:
    return bars(numbers["arms"], numbers["starter"], numbers["forgotten"], METHOD)


def missed(numbers: Numbers) -> set[str]:
    return {name for name, bar in judged(numbers).items() if not bar["held"]}


def test_where_all_went_well_every_bar_is_held(numbers: Numbers) -> None:
    assert missed(numbers) == set()
    assert all(set(bar) == {"measured", "wanted", "held"} for bar in judged(numbers).values())


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("arms", METHOD, "without symbol families", "mean_r10", "low"), 2.9, "gain without symbol families, R@10"),
        (("arms", METHOD, "all", "mean_r1", "low"), -0.1, "gain on all, R@1"),
        (("arms", METHOD, "drawings without symbol families", "mean_r10", "low"), 4.9, "gain on drawings, R@10"),
        (("arms", METHOD, "photographs", "mean_r10", "low"), -2.1, "photographs, R@10, low"),
        (("arms", METHOD, "photographs", "mean_r1", "low"), -2.1, "photographs, R@1, low"),
        (("arms", METHOD, "photographed animals", "mean_r10", "value"), -2.1, "photographed animals, R@10, est"),
        (("arms", METHOD, "photographed animals", "mean_r1", "value"), -2.1, "photographed animals, R@1, est"),
        (("forgotten", "emoji", "mean_r10", "value"), -0.011, "outside, emoji, R@10"),
        (("forgotten", "emoji", "mean_r1", "value"), -0.011, "outside, emoji, R@1"),
        (("arms", "shuffled captions", "all", "mean_r1", "high"), 0.01, "shuffled captions return the original"),
        (("arms", NAIVE, "photographs", "mean_r10", "low"), -1.0, "naive recipe fails on photographs"),
        (("arms", NAIVE, "photographed animals", "mean_r10", "value"), 0.0, "naive recipe fails on photographed"),
        (("starter", "text_to_image_r1", "value"), 22.9, "starter on photographs"),
    ],
)
def test_each_bar_is_missed_for_its_own_reason_alone(
    place: tuple[str, ...], value: float, words: str, numbers: Numbers
) -> None:
    spoiled = copy.deepcopy(numbers)
    inner = spoiled
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    [name] = missed(spoiled)
    assert words in name


def test_what_was_not_measured_outside_is_no_bar(numbers: Numbers) -> None:
    bare = judged({**numbers, "forgotten": "not measured"})
    assert set(judged(numbers)) - set(bare) == {f"outside, emoji, {name}, estimate" for name in ("R@10", "R@1")}


def test_slices_are_the_parts_that_the_set_declares() -> None:
    kinds = [(True, False, True), (True, False, False), (False, True, False), (False, False, True)]
    samples = tuple(
        Sample(f"{i}", Path(f"{i}.png"), extra=dict(zip(("photo", "family", "animal"), kind, strict=True)))
        for i, kind in enumerate(kinds)
    )
    parts = slices_of(Source("stamps", Path(), "captions", "set", samples))
    assert {name: mask.tolist() for name, mask in parts.items()} == {
        "without symbol families": [True, True, False, True],
        "photographs": [True, True, False, False],
        "drawings": [False, False, True, True],
        "drawings without symbol families": [False, False, False, True],
        "photographed animals": [True, False, False, False],
    }


def test_points_keep_the_measures_that_have_a_name() -> None:
    values = {"mean_r10": Interval(0.04321, -0.01, 0.1), "negative_log_rank": Interval(1, 1, 1)}
    assert demo._points(values) == {"mean_r10": {"value": 4.32, "low": -1.0, "high": 10.0}}


def test_the_small_demo_takes_about_a_third_and_always_the_same() -> None:
    names = [f"stamps/{i}.png" for i in range(3000)]
    chosen = [demo._third(name) for name in names]
    assert abs(np.mean(chosen) - 1 / 3) < 0.03
    assert chosen == [demo._third(name) for name in names]


def test_where_the_stamps_cannot_be_had_ones_own_pictures_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(name: str, say: object) -> Path:
        raise DeixisError("There is no apt-get here.", "Use Debian or Ubuntu.")

    monkeypatch.setattr(demo.fetch, "get", get)
    with pytest.raises(DeixisError, match=r"no apt-get here\. Use Debian or Ubuntu\. .*make demo DATA=folder"):
        demo.demo()


def test_each_demo_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "demo-2", "demo-3"):
        assert demo.new_folder() == Path("runs", name)
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert demo.new_folder("../pictures/my-photos/") == Path("runs/my-photos")
