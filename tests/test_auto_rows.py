"""What `auto` gains by a method more, counted by hand; and which methods are tried."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import deixis
from bench.auto_rows import SHOTS, Tried, cross_validated, gains, outsiders, tried
from deixis.engine.fewshot import learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark
from deixis.engine.fewshot.draws import Labelled

NAMES = ("heron", "tram", "moon")
EACH = 40


@pytest.fixture(scope="module")
def bench() -> FewShotBenchmark:
    """Three classes around directions that have nothing to do with their names."""
    encoder, rng = deixis.load("tiny"), torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(len(NAMES), encoder.width, generator=rng), dim=1)
    noise = torch.randn(len(NAMES) * EACH, encoder.width, generator=rng)
    embedding = F.normalize(centres.repeat_interleave(EACH, 0) + 0.1 * noise, dim=1)
    ids = tuple(map(str, range(len(embedding))))
    labels = tuple(name for name in NAMES for _ in range(EACH))
    data = Labelled(ids, labels, tuple(range(len(ids))))
    return FewShotBenchmark(encoder, data, embedding, torch.zeros(len(ids), encoder.feature_width))


def test_gains_are_of_100_images_the_mean_over_sets_and_the_interval_over_seeds() -> None:
    better, same = Tried((0.5, 0.5), (0.7, 0.4), True), Tried((0.5, 0.5), (0.5, 0.5), False)
    found = gains([[better, same], [better, better]])
    assert found["gain"] == 15.0
    assert found["low"] < 15.0 < found["high"]
    assert found["reported_gain"] == -7.5
    assert found["chosen"] == 0.75


def test_those_are_tried_that_are_on_no_list_and_read_what_every_image_has() -> None:
    there = outsiders()
    assert {"class_mean", "linear_joint", "coop", "cones"} <= set(there)
    assert not {*there} & {*learners.candidates(), "described", "kapt", "best_cell"}


def test_a_method_changes_what_auto_does_only_where_it_is_better_on_held_out_images(bench: FewShotBenchmark) -> None:
    found = tried(bench, ["class_mean"], 0)["class_mean"]
    assert not found.chosen, "a linear layer is as good, and stands there already"
    assert found.after == found.before
    assert found.before[0] > 0.9


@pytest.mark.parametrize("method", ["class_mean", "linear_joint"])
def test_cross_validation_judges_by_images_of_other_folds(bench: FewShotBenchmark, method: str) -> None:
    drawn = [number * EACH + one for number in range(len(NAMES)) for one in range(SHOTS)]
    shots = bench.shots(drawn, NAMES)
    assert cross_validated(method, bench, NAMES, shots, 0) > 0.9
    turned = shots.labels.roll(1)
    confused = type(shots)(
        shots.ids, turned[torch.randperm(len(turned))], shots.embedding, shots.features, shots.groups
    )
    assert cross_validated(method, bench, NAMES, confused, 0) < 0.7
