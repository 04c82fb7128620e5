"""The chance of a result is what it comes to; more pictures, other concepts and words near to everything included."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from deixis.engine.evaluation.calibration import Calibration, QueryStats
from deixis.engine.evaluation.calibration_fit import CalibrationResult, LabelledQueries, ask, fit
from deixis.ops.calibration import Isotonic, brier

QUERIES, PICTURES, SPREAD, GAP = 200, 400, 0.1, 0.4


def scores(gap: float = GAP, pictures: int = PICTURES, seed: int = 0) -> np.ndarray:
    """Cosines that are normal about 0, and about `gap` where query and picture are of one concept."""
    rng = np.random.default_rng(seed)
    return SPREAD * rng.normal(size=(QUERIES, pictures)) + gap * np.eye(QUERIES, pictures)


def asked(values: np.ndarray) -> LabelledQueries:
    """Of each query by its cosines with the pictures; the i-th picture shows the i-th concept."""
    return ask(values, np.eye(values.shape[1]), np.arange(len(values)), np.arange(values.shape[1]))


def truth(cosines: np.ndarray, pictures: int = PICTURES) -> np.ndarray:
    """One of the pictures matches; the rest is the ratio of two normal densities."""
    return 1 / (1 + (pictures - 1) * np.exp(-GAP * (cosines - GAP / 2) / SPREAD**2))


@pytest.fixture(scope="module")
def measured() -> CalibrationResult:
    found = fit(asked(scores()))
    assert found is not None
    return found


def test_the_chance_is_the_true_one(measured: CalibrationResult) -> None:
    cosines = np.linspace(0.2, 0.6, 20)
    rest = QueryStats(GAP / PICTURES, math.hypot(SPREAD, GAP / PICTURES**0.5), PICTURES)
    found = measured.calibration.chance(cosines, rest)
    assert np.abs(found - truth(cosines)).max() < 0.08
    assert measured.error < 0.02
    assert measured.brier < 0.6 * measured.matched * (1 - measured.matched)


def test_points_of_the_diagram_hold_the_truth_in_their_intervals(measured: CalibrationResult) -> None:
    inside = [point.low <= point.told <= point.high for point in measured.points]
    assert np.mean(inside) >= 0.9
    assert sum(point.pairs for point in measured.points) == 10 * QUERIES


@pytest.mark.parametrize("curve", [None, Isotonic((-4.0, 0.0, 2.0), (0.01, 0.4, 0.9))])
def test_a_better_score_never_has_the_lower_chance(measured: CalibrationResult, curve: Isotonic | None) -> None:
    calibration = dataclasses.replace(measured.calibration, curve=curve)
    cosines, rest = np.linspace(-1, 1, 101), QueryStats(0.01, SPREAD, 3000)
    assert np.all(np.diff(calibration.chance(cosines, rest)) >= 0)
    assert np.all(np.diff(calibration.present(cosines, QueryStats(np.full(101, 0.01), np.full(101, 0.1), 3000))) >= 0)


def test_words_that_are_near_to_everything_earn_nothing_by_it(measured: CalibrationResult) -> None:
    near = np.random.default_rng(2).normal(size=(QUERIES, 1))
    moved = fit(asked(scores() + near))
    assert moved is not None
    assert moved.brier == pytest.approx(measured.brier, abs=0.003)
    far, close = (
        moved.calibration.chance(np.array([0.4 + by]), QueryStats(by, SPREAD, PICTURES))[0] for by in (-1.0, 1.0)
    )
    assert far == pytest.approx(close, abs=0.1)


def test_a_grown_collection_needs_higher_scores_for_the_same_chance(measured: CalibrationResult) -> None:
    """Eight times as many pictures, of other things: what was fitted on few remains true, if it is told of them."""
    grown = 8 * PICTURES
    values = scores(pictures=grown, seed=3)
    top = np.argsort(-values, axis=1)[:, :10]
    cosines, came = np.take_along_axis(values, top, 1), (top == np.arange(QUERIES)[:, None]).mean()
    absent = (values - 9 * np.eye(QUERIES, grown)).max(1)

    def told(count: int) -> tuple[float, float]:
        rest = dataclasses.replace(QueryStats.of(values), count=count)
        chances = measured.calibration.chance(cosines, rest)
        return float(chances.mean()), 1 - float(measured.calibration.nothing(absent, rest).mean())

    (aware, answered), (blind, misled) = told(grown), told(PICTURES)
    assert aware == pytest.approx(came, abs=0.02)
    assert blind > 1.5 * came
    assert answered < 0.2
    assert misled > 2 * answered


def test_a_model_that_can_tell_says_that_nothing_matches(measured: CalibrationResult) -> None:
    assert measured.presence.worth
    assert measured.presence.rule == "false answers"
    assert measured.presence.false_answers.low <= 0.1 <= measured.presence.false_answers.high
    assert measured.presence.misses.value < 0.5
    assert measured.presence.auc > 0.85
    rest = QueryStats(0.0, SPREAD, PICTURES)
    assert measured.calibration.nothing(0.15, rest)
    assert not measured.calibration.nothing(0.6, rest)


def test_a_model_that_cannot_tell_never_says_so() -> None:
    blind = fit(asked(scores(gap=0.0)))
    assert blind is not None
    assert not blind.presence.worth
    assert blind.presence.auc == pytest.approx(0.5, abs=0.03)
    assert not blind.calibration.nothing(-1.0, QueryStats(0.0, SPREAD, PICTURES))


def test_a_concept_is_taken_out_with_all_its_pictures() -> None:
    gallery = np.eye(4)
    queries = np.array([[0.9, 0.8, 0.5, 0.1], [0.2, 0.3, 0.7, 0.4]])
    found = ask(queries, gallery, np.array([7, 8]), np.array([7, 7, 8, 9]))
    assert found.present[:, 0].tolist() == [0.9, 0.7]
    assert found.absent[:, 0].tolist() == [0.5, 0.4]
    assert found.match.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert found.absent[0, 1] == pytest.approx((0.5 - 0.3) / 0.2)  # nor do they count in the mean


def test_queries_that_the_gallery_cannot_answer_are_not_asked() -> None:
    assert len(ask(np.ones((2, 3)), np.eye(3), np.array([5, 6]), np.array([5, 5, 5]))) == 0


def test_what_is_told_of_a_concept_was_not_learned_from_it() -> None:
    """Scores that give their concept away, and say nothing else: learned by heart they would be perfect."""
    rng = np.random.default_rng(4)
    concepts = np.repeat(np.arange(60), 5)
    top = np.repeat(rng.normal(size=(60, 4, 1)), 5, axis=0) * np.ones(2)
    match = np.repeat(rng.random((60, 4)) < 0.3, 5, axis=0)
    best = top[:, 0]
    found = fit(LabelledQueries(top, match, concepts, best, best, best, 100.0))
    assert found is not None
    assert found.brier > 0.97 * found.matched * (1 - found.matched)
    by_heart = Isotonic(tuple(np.unique(top)), tuple(match.ravel()[np.unique(top[..., 0], return_index=True)[1]] * 1.0))
    assert brier(by_heart(top[..., 0]).ravel(), match.ravel()) == 0


def test_from_few_concepts_nothing_is_fitted() -> None:
    assert fit(asked(scores()[:19])) is None


def test_what_is_written_is_read_again(measured: CalibrationResult) -> None:
    for calibration in (
        measured.calibration,
        dataclasses.replace(measured.calibration, curve=Isotonic((0.0, 1.0), (0.1, 0.2))),
    ):
        assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("count", 0),
        ("growth", math.nan),
        ("evidence", {"weights": [1.0], "offset": 0.0}),
        ("presence", {"weights": [-1.0], "offset": 0.0}),
        ("curve", {"at": [1]}),
    ],
)
def test_what_is_no_calibration_is_refused(measured: CalibrationResult, part: str, value: object) -> None:
    with pytest.raises((ValueError, KeyError)):
        Calibration.from_dict(measured.calibration.to_dict() | {part: value})
