"""The one sentence that is read first."""

from __future__ import annotations

from typing import Any

import pytest

from deixis.apps.common.sentences import METRIC_NAMES, in_points, sentence


def told(
    gain: tuple[float, float, float] = (0.13, 0.07, 0.2), metric: str = "text_to_image_r10", kept: str = "adapted"
) -> str:
    value, low, high = gain
    result: dict[str, Any] = {
        "before": {metric: {"value": 0.59}},
        "after": {metric: {"value": 0.59 + value}},
        "difference": {metric: {"value": value, "low": low, "high": high}},
        "kept": kept,
    }
    return sentence(result, metric, metric)


def test_a_gain_is_told_in_searches_with_its_interval() -> None:
    assert told() == (
        "Adapted: of 100 searches by words, the right picture was among the first ten in 59 before and 72 after "
        "(difference between +7 and +20)."
    )


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("text_to_image_r1", "came first"),
        ("text_to_image_r5", "among the first five"),
        ("text_to_image_r10", "among the first ten"),
    ],
)
def test_the_place_is_that_of_the_measure(metric: str, place: str) -> None:
    assert place in told(metric=metric)


def test_an_interval_that_includes_zero_is_no_proven_gain() -> None:
    for low, high in ((-0.01, 0.2), (0.0, 0.2), (-0.2, 0.0)):
        assert told((0.05, low, high)).startswith("No proven gain: of 100 searches")


def test_a_loss_is_called_a_loss_and_the_original_advised() -> None:
    text = told((-0.1, -0.2, -0.04))
    assert text.startswith("Adapting made it worse")
    assert "between −20 and −4" in text
    assert "Use the original model" in text


def test_the_primary_measure_decides_and_not_the_one_that_is_told() -> None:
    gains = {"text_to_image_r10": {"value": 0.1, "low": 0.02, "high": 0.2}}
    gains["mean_mrr"] = {"value": 0.01, "low": -0.01, "high": 0.03}
    shares = {"text_to_image_r10": {"value": 0.5}}
    result = {"before": shares, "after": shares, "difference": gains, "kept": "adapted"}
    assert sentence(result, "text_to_image_r10", "mean_mrr").startswith("No proven gain")


def test_where_the_original_was_kept_this_is_said_first() -> None:
    text = told((0.0, 0.0, 0.0), kept="original")
    assert text.startswith(
        "The original model was retained: no candidate was better beyond chance on held-out concepts"
    )
    assert "difference between 0 and 0" in text


def judged(outcome: str, kept: str = "adapted", borderline: bool = False, reasons: tuple[str, ...] = ()) -> str:
    metric = "text_to_image_r10"
    result: dict[str, Any] = {
        "before": {metric: {"value": 0.59}},
        "after": {metric: {"value": 0.62}},
        "difference": {metric: {"value": 0.03, "low": -0.01, "high": 0.07}},
        "kept": kept,
        "verdict": {"outcome": outcome, "borderline": borderline, "reasons": list(reasons)},
    }
    return sentence(result, metric, "mean_mrr")


def test_each_outcome_has_a_sentence_of_its_own_with_the_interval() -> None:
    assert judged("adapted").startswith("Adapted: of 100")
    assert judged("probable").startswith("Probably better, and adapted, as nothing was forgotten elsewhere: of 100")
    assert judged("original", "original").startswith("The original model was retained: no candidate")
    told = judged("untrusted", "original", reasons=("shuffled captions give a gain as well",))
    assert told.startswith("Not to be trusted here: shuffled captions give a gain as well. The original model was")
    for outcome in ("adapted", "probable", "original", "untrusted"):
        assert "(difference between −1 and +7)" in judged(outcome)


def test_a_probable_gain_that_was_not_saved_says_why() -> None:
    told = judged("probable", "original", reasons=("a loss of 1 point or more on emoji can't be ruled out",))
    assert told.startswith("Probably better, but the original model was retained, as a loss of 1 point")


@pytest.mark.parametrize("outcome", ["adapted", "probable", "original"])
def test_a_decision_that_another_seed_might_not_give_is_called_borderline(outcome: str) -> None:
    assert "borderline" in judged(outcome, borderline=True)
    assert "borderline" not in judged(outcome)


def test_classes_are_told_in_pictures() -> None:
    text = told(metric="accuracy", kept="original")
    assert "on held-out pictures" in text
    assert "of 100 pictures, 59 were given the right class before and 72 after" in text
    assert "concept" not in text


def test_an_interval_is_written_in_points_with_true_signs() -> None:
    assert in_points({"value": 0.0431, "low": -0.0164, "high": 0.0004}) == "+4.3 [−1.6, 0.0]"


def test_every_measure_has_a_name_of_its_own() -> None:
    assert len(set(METRIC_NAMES.values())) == len(METRIC_NAMES) == 16
