"""Arms that learn anew from 1, 2, 4... images: what they are asked, what they are tuned by, what curves run over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import deixis
from deixis.data.readers.formats.folders import read_folder
from deixis.engine.claims import claims
from deixis.engine.claims.claim_tasks import make_task
from deixis.engine.claims.design import Design
from deixis.engine.claims.rows import claim_rows
from deixis.engine.claims.tasks.few_shot import METRICS, FewShotTask, Options, bench_of
from deixis.engine.claims.trials import BACKEND, cost
from deixis.engine.claims.tuning import first_trials
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark, classifies_new, labelled, named
from deixis.engine.fewshot.draws import Labelled, halves, parts, style_of, two_sided
from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.types import Arm, Claim, Sample, Source
from tests import pictures
from tests.support import few

CLASSES = ("a", "bee", "c d", "deer", "elk", "fly")
EACH = 20


@pytest.fixture(scope="module")
def bench() -> FewShotBenchmark:
    """Images that lie around a direction of their class, with noise that one image in three is wrong by."""
    encoder, rng = deixis.load("tiny"), torch.Generator().manual_seed(0)
    labels = tuple(name for name in CLASSES for _ in range(EACH))
    centres = torch.randn(len(CLASSES), encoder.feature_width, generator=rng).repeat_interleave(EACH, 0)
    features = centres + 1.2 * torch.randn(len(labels), encoder.feature_width, generator=rng)
    embedding = F.normalize(features @ torch.randn(encoder.feature_width, encoder.width, generator=rng), dim=-1)
    data = Labelled(tuple(f"{i:03}" for i in range(len(labels))), labels, tuple(range(len(labels))))
    return FewShotBenchmark(encoder, data, embedding, features)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `FewShotBenchmark.evaluate` is called with."""
    calls: list[tuple[Any, ...]] = []
    ask = FewShotBenchmark.evaluate

    def noting(self: FewShotBenchmark, *args: Any) -> Any:
        calls.append(args)
        return ask(self, *args)

    monkeypatch.setattr(FewShotBenchmark, "evaluate", noting)
    return calls


def test_a_curve_runs_over_images_a_class_and_more_of_them_teach_more(bench: FewShotBenchmark) -> None:
    contest = FewShotTask((bench,), (1, 8), 0)
    curve, seconds, *_ = contest.curve("linear", {"penalty": 0.1, "iterations": 20}, "accuracy", "test", 8)
    assert [k for k, _ in curve] == [1, 8]
    assert curve[-1][1] > curve[0][1] > 1 / len(CLASSES)
    assert seconds > 0
    assert [k for k, _ in contest.curve("zero_shot", {}, "accuracy", "test", 0)[0]] == [1, 2], "a look is a small one"
    with pytest.raises(DeixisError, match="no measure"):
        contest.curve("linear", {}, "recall", "test", 8)


def test_settings_for_new_classes_are_chosen_by_learned_ones(bench: FewShotBenchmark, asked: list[Any]) -> None:
    contest = FewShotTask((bench,), (1, 2), 5)
    base, new = halves(CLASSES, 5)
    contest.curve("zero_shot", {}, "new_accuracy", "validation", 2)
    assert {names for call in asked for _, names in call[4]} == {base}
    tuned_on = {i for call in asked for images, _ in call[4] for i in images}
    asked.clear()
    contest.curve("zero_shot", {}, "harmonic_mean", "test", 2)
    assert {names for call in asked for _, names in call[4]} == {base, new}
    reported = {i for call in asked for images, _ in call[4] for i in images}
    learned = {i for call in asked for i in call[2]}
    assert not tuned_on & reported
    assert not learned & (tuned_on | reported)
    assert {bench.data.labels[i] for i in learned} == set(base)


def test_what_is_reported_on_is_the_same_for_all_seeds_and_what_is_learned_from_is_not(
    bench: FewShotBenchmark, asked: list[Any]
) -> None:
    for seed in (0, 1):
        FewShotTask((bench,), (1, 2), seed).curve("zero_shot", {}, "accuracy", "test", 2)
    assert asked[0][4] == asked[2][4]
    assert asked[1][2] != asked[3][2]


def test_the_measures_of_halves_agree_with_one_another(bench: FewShotBenchmark) -> None:
    contest = FewShotTask((bench,), (1, 2), 1)
    base, new, h = (contest.curve("zero_shot", {}, name, "test", 2)[0][-1][1] for name in METRICS[1:])
    assert h == pytest.approx(2 * base * new / (base + new))


def test_exchanged_halves_are_averaged_so_that_which_half_is_new_does_not_decide(
    bench: FewShotBenchmark, asked: list[Any]
) -> None:
    base, new = halves(CLASSES, 1)
    one = FewShotTask((bench,), (1, 2), 1).curve("zero_shot", {}, "new_accuracy", "test", 2)
    asked.clear()
    both = FewShotTask((bench,), (1, 2), 1, exchanged=True).curve("zero_shot", {}, "new_accuracy", "test", 2)
    assert [call[3] for call in asked] == [base, new] * 2, "each half is learned, and the other is new"
    other = FewShotTask((bench,), (1, 2), 1)._one(bench, "zero_shot", {}, ("new_accuracy", "test", 2), True)
    assert both.points[-1][1] == pytest.approx((one.points[-1][1] + other.value) / 2)
    assert sum(both.values) / len(both.values) == pytest.approx(both.points[-1][1])
    assert len(both.values) == len(
        {i for call in asked[2:] for images, half in call[4] if half != call[3] for i in images}
    )
    assert FewShotTask((bench,), (1, 2), 1, exchanged=True)._turns("accuracy") == (False,)


@pytest.mark.parametrize("method", few(["zero_shot", "coop", "cocoop", "pre"], "zero_shot", "coop"))
def test_new_classes_are_told_apart_by_what_was_learned_and_their_names(bench: FewShotBenchmark, method: str) -> None:
    shots = bench.shots(range(0, 40, 10), CLASSES[:2])
    settings = {} if method == "zero_shot" else {"epochs": 1}
    learned = few_shot.learn(method, bench.encoder, CLASSES[:2], shots, overrides=settings)
    some = bench.embedding[:3], bench.features[:3]
    found = named(learned, CLASSES, *some)
    assert found.shape == (3, len(CLASSES))
    torch.testing.assert_close(found[:, :2], named(learned, CLASSES[:2], *some), rtol=1e-4, atol=1e-4)


def test_what_is_built_on_images_of_each_class_refuses_new_ones(bench: FewShotBenchmark) -> None:
    with pytest.raises(DeixisError, match="linear knows only the classes it was trained on"):
        bench.evaluate("linear", {}, range(0, 40, 10), CLASSES[:2], [((50,), CLASSES[2:4])], 0)
    assert [name for name in learners.offered() if classifies_new(name)] == [
        *("best_cell", "cocoop", "coop", "described", "kapt", "mutual_prompt", "pre", "zero_shot")
    ]


def test_folders_become_names_and_two_that_become_one_are_refused() -> None:
    assert class_names(("polar_bear", "tea  cup")) == ("polar bear", "tea cup")
    with pytest.raises(DeixisError, match="have one name"):
        class_names(("polar_bear", "polar bear"))
    with pytest.raises(DeixisError, match="have one name"):
        class_names(("Polar bear", "polar bear"))


def test_sets_without_labels_are_taken_by_what_they_sort_their_pictures_by() -> None:
    samples = (
        Sample("a", None, extra={"folder": "animals/birds"}),
        Sample("b", None, extra={"subgroup": "food-fruit"}),
        Sample("c", None, label="tool"),
        Sample("d", None),
    )
    found = labelled(Source("some", Path("."), "captions", "a list", samples))
    assert [sample.label for sample in found.samples] == ["animals", "food fruit", "tool"]
    with pytest.raises(DeixisError, match="classification needs at least two"):
        labelled(Source("some", Path("."), "captions", "a list", samples[2:]))


def test_a_style_is_a_column_or_the_folder_within_the_class() -> None:
    assert style_of(Sample("x/cat/photo/1.jpg", None, label="cat")) == "photo"
    assert style_of(Sample("cat/1.jpg", None, label="cat")) == ""
    assert style_of(Sample("cat/photo/1.jpg", None, label="cat", extra={"style": "ink"})) == "ink"


def test_what_a_frozen_encoder_said_of_a_set_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
    encoder = deixis.load("tiny")
    source = read_folder(pictures.labelled(tmp_path / "some", 12))
    first = bench_of(encoder, source)
    monkeypatch.setattr(type(encoder), "image_states", None)
    again = bench_of(encoder, source)
    assert again.data == first.data
    assert torch.equal(again.embedding, first.embedding)
    assert torch.equal(again.features, first.features)
    for kept in (tmp_path / "cache/few-shot").iterdir():
        kept.write_bytes(b"spoilt")
    monkeypatch.undo()
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
    assert torch.equal(bench_of(encoder, source).embedding, first.embedding)


# --- claims -----------------------------------------------------------------------------------------------------------


def _claim(**changed: Any) -> Claim:
    arms = {
        "linear": Arm("linear", grid={"penalty": (0.01, 0.1)}),
        "zero_shot": Arm("zero_shot", grid={"templates": (("{}",), ("a {}",))}),
    }
    told = {"metric": "accuracy", "statistic": "crossover", "minimum_effect": 0.5, "data": "few_shot", "budget": 8}
    return Claim("Learning beats names.", arms, **{**told, "cheap": list(arms)[-1], **changed})


@pytest.mark.slow
def test_a_few_shot_claim_is_tried_by_the_same_rules_and_its_rows_say_what_curves_run_over(
    bench: FewShotBenchmark, tmp_path: Path
) -> None:
    lab = dataclasses.replace(BACKEND, task=lambda name, options, seed: FewShotTask((bench,), (1, 2, 8), seed))
    design = Design("linear", _claim(), lab=lab)
    run = claims.here(tmp_path, design)
    tuned = claims.tune(design, run)
    outcomes = claims.report(design, tuned, run)
    found = claims.compare_arms(design, outcomes)["zero_shot"]
    assert (found.verdict, found.interval.low > 0) == ("void", True), "names say nothing of toys: chance"
    assert outcomes["linear"][0].values
    assert outcomes["linear"][0].chance == 1 / 6
    rows = claim_rows(design, tuned, outcomes)
    assert {row["config"]["axis"] for row in rows} == {"images a class"}
    assert [x for x, _ in rows[0]["config"]["curve"]] == [1, 2, 8]
    assert cost(design.unit("linear", {"penalty": 0.1}, 0, "validation"), tmp_path, lab).seconds > 0


def test_claims_on_images_name_options_and_measures_that_there_are() -> None:
    known = {field.name for field in dataclasses.fields(Options)}
    made = [claim for name in list_methods() for claim in read(name).claims if claim.data == "few_shot"]
    assert len(made) >= 4
    for claim in made:
        options = {**dataclasses.asdict(Options()), **claim.options}
        assert set(claim.options) <= known
        assert claim.metric in METRICS
        assert claim.budget == max(options["shots"])
        assert claim.statistic != "ratio", "there are no images without any"


FEW_SHOT = [(name, claim) for name in list_methods() for claim in read(name).claims if claim.data == "few_shot"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "claim"), FEW_SHOT, ids=[f"{n}-{c.metric}-{c.first_seed}" for n, c in FEW_SHOT])
def test_each_arm_of_a_claim_learns_and_is_measured(bench: FewShotBenchmark, name: str, claim: Claim) -> None:
    """With toys for images, and an epoch or two: whatever the settings are, a curve comes out."""
    assert next(iter(claim.arms.values())).method == name, "the paper's arm comes first"
    contest = FewShotTask((bench,), (1, 2), claim.first_seed, bool(claim.options.get("exchanged")))
    for arm in claim.arms.values():
        settings = first_trials({"arm": arm.grid})["arm"]
        for setting in (settings[0], settings[-1]):
            changed = {**arm.overrides, **setting}
            found = contest.curve(
                arm.method, changed | dict.fromkeys({"epochs"} & set(changed), 2), claim.metric, "test", 2
            )
            assert [k for k, _ in found.points] == [1, 2]
            assert all(0 <= value <= 1 for _, value in found.points)


def test_options_that_there_are_not_are_refused() -> None:
    with pytest.raises(DeixisError, match="no option 'cast'"):
        make_task("few_shot", {"cast": "stamps"}, 0)
    with pytest.raises(DeixisError, match="two numbers, ascending"):
        make_task("few_shot", {"shots": (4, 1)}, 0)


@pytest.mark.slow
def test_on_real_images_parts_share_nothing_and_names_alone_are_better_than_chance(
    fetched: Callable[[str], Path],
) -> None:
    fetched("starter")
    fetched("stamps")
    contest = make_task("few_shot", {"sets": ("stamps",), "shots": (1, 2)}, 0)
    assert isinstance(contest, FewShotTask)
    data = contest.benches[0].data
    made = parts(data, 0, 0.35, 0.15)
    sides = [{data.groups[i] for i in side} for side in (made.train, made.validation, made.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    names = two_sided(data, made)
    assert len(names) >= 9
    curve, *_ = contest.curve("zero_shot", {}, "accuracy", "validation", 2)
    assert curve[0][1] > 2 / len(names)
