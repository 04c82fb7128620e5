"""The task of saliency claims: one classifier a seed for all arms, its scores as they are, curves over scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.claims import claims
from deixis.engine.claims.claim_tasks import make_task, read_task
from deixis.engine.claims.design import Design
from deixis.engine.claims.tasks import explained
from deixis.engine.claims.tasks.explained import (
    NOUNS,
    Options,
    SaliencyTask,
    classifier,
    held_out,
)
from deixis.engine.evaluation.saliency import METRICS, explain, measured, questions
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.methods import read
from deixis.ops.maps import spearman
from deixis.types import Claim

SMALL: dict[str, Any] = {"side": 48, "scenes": 8, "steps": 2, "channels": (2, 3)}


def small(seed: int = 0, **changed: Any) -> SaliencyTask:
    made = make_task("explained", {**SMALL, **changed}, seed)
    assert isinstance(made, SaliencyTask)
    return made


@pytest.mark.slow
def test_a_classifier_is_trained_once_and_read_from_then_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    first = small().encoder
    (path,) = cache_dir("explained").iterdir()
    date = path.stat().st_mtime_ns
    assert small().encoder.fingerprint() == first.fingerprint()
    assert path.stat().st_mtime_ns == date
    assert small(1).encoder.fingerprint() != first.fingerprint()
    path.write_bytes(b"damaged")
    assert small().encoder.fingerprint() == first.fingerprint()


@pytest.mark.slow
def test_the_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    small()
    assert torch.equal(torch.rand(1), wanted)


def test_a_classifier_is_trained_on_one_thread_so_that_another_run_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On two, seed 0 of NormGrad differed from what one gave."""
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    threads: list[int] = []
    monkeypatch.setattr(explained, "_train", lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small()
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_what_is_explained_is_a_class_score_and_nothing_else() -> None:
    encoder = small().encoder
    assert torch.equal(encoder.encode_text([f"a picture of a {noun}" for noun in NOUNS]), torch.eye(len(NOUNS)))
    images = torch.randn(2, 3, 48, 48)
    tower: Any = encoder.image_tower
    features = tower(images).features
    torch.testing.assert_close(encoder.encode_image(images), tower.classifier(features))


def test_validation_and_test_are_other_scenes_and_neither_was_learned_from() -> None:
    options = Options(**SMALL)
    shapes = SceneConfig(cast="shapes", unseen="nothing", nouns=NOUNS)
    sides = [{str(s.image) for s in held_out(options, 0, split, 6).samples} for split in ("val", "test")]
    learned = {str(s.image) for s in scenes(0, 6, side=48, config=shapes).samples}
    assert not sides[0] & sides[1] | (sides[0] | sides[1]) & learned


@pytest.mark.slow
def test_a_curve_is_the_mean_over_the_first_so_many_scenes() -> None:
    made = small()
    curve, seconds, *_ = made.curve("normgrad", {"cell": "gradient"}, "overlap", "validation", 8)
    method = build("normgrad", "desk", {"cell": "gradient"}, {"encoder": made.encoder})
    values = measured("overlap", method, questions(made.encoder, held_out(made.options, 0, "val", 8)))
    assert [count for count, _ in curve] == [2, 4, 6, 8]
    assert [value for _, value in curve] == pytest.approx([float(values[: 2 * n].mean()) for n in (2, 4, 6, 8)])
    assert seconds >= 0


@pytest.mark.slow
def test_arms_are_tried_by_the_engine_of_claims(tmp_path: Path) -> None:
    """Two arms of one map are equal to the last bit: the difference of every seed is 0."""
    claim = read("normgrad").claims[0]
    arms = {name: dataclasses.replace(claim.arms["NormGrad"]) for name in ("one", "other")}
    toy = dataclasses.replace(claim, arms=arms, options=SMALL, budget=4, metric="overlap", cheap="other")
    design = Design("normgrad", toy, seeds=2)
    run = claims.here(tmp_path, design)
    outcomes = claims.report(design, claims.tune(design, run), run)
    assert outcomes["one"][0].curve == outcomes["other"][0].curve
    assert claims.compare_arms(design, outcomes)["other"].interval.value == 0
    assert design.axis == read_task("explained").card.axis
    assert small().longest("normgrad", {}, "overlap", 4) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normgrad", "srmap"])
def test_claims_can_be_run_as_they_stand(name: str) -> None:
    """Their arms build, their metrics are there, and arms try equally many settings."""
    made = small(channels=(2, 2, 2, 2))
    found: tuple[Claim, ...] = read(name).claims
    assert sum(claim.primary for claim in found) == 1
    for claim in found:
        assert claim.metric in METRICS
        assert claim.data == "explained"
        explained = [field.name for field in dataclasses.fields(Options)]
        assert set(claim.options) <= set(explained)
        claims.needed(Design(name, claim))
        for arm in claim.arms.values():
            for key, values in {**arm.grid, "encoder": ("tiny",)}.items():
                for value in values:
                    build(arm.method, "desk", {**arm.overrides, key: value}, {"encoder": made.encoder})


def test_options_that_there_are_not_are_refused() -> None:
    with pytest.raises(DeixisError, match="no option 'colour'"):
        make_task("explained", {"colour": "red"}, 0)


@pytest.mark.slow
def test_maps_of_a_classifier_that_learned_random_labels_are_other_maps(tmp_path: Path) -> None:
    """Adebayo's second check, and agreement between seeds of a model: maps of two classifiers that learned the truth
    from other scenes are more alike than either is to that of one that had nothing to learn."""
    options = Options(steps=60, scenes=300)
    truthful, again = (classifier(options, seed) for seed in (0, 1))
    random = classifier(dataclasses.replace(options, labels="random"), 0)
    asked = questions(truthful, held_out(options, 0, "val", 24))
    maps = [
        explain(
            build("normgrad", "desk", {"cell": "norm_grad_selective", "layers": ("blocks.2",)}, {"encoder": each}),
            asked,
        )
        for each in (truthful, again, random)
    ]
    between_seeds, to_random = (float(spearman(maps[0], each).nanmean()) for each in maps[1:])
    assert between_seeds > to_random + 0.1
