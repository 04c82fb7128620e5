"""The trunk of a claim is trained once for all arms, and where it learned nothing no arm is trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.engine.claims import trials
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.claims import TunedArm
from deixis.engine.claims.design import Design
from deixis.engine.claims.outcomes import TrialResult, judge_outcomes, result_of, why_dead
from deixis.engine.claims.pending import claim_code, shared_arms
from deixis.engine.claims.rows import claim_rows
from deixis.engine.claims.trunks import trained_trunk
from deixis.engine.training.batching import collate_for
from deixis.engine.training.checkpoint import save_state
from deixis.errors import DeixisError
from deixis.types import Arm, Claim, Crop, Source, Trunk
from deixis.zoo import load_part
from tests import toy_claims

SMALL = {"count": 16, "probe": 24, "held": 8, "batch_size": 4, "channels": 4, "side": 48}
LIGHT = {"hidden": 8, "bottleneck": 4, "prototypes": 6, "layers": "all", "view.crops": (Crop(2, 32), Crop(1, 32))}


def of_trunk(budget: int = 8) -> Claim:
    arms = {"on": Arm("dino", LIGHT), "patches": Arm("selfpatch", {**LIGHT, "patch_prototypes": 5})}
    trunk = Trunk("dino", LIGHT, budget)
    return Claim("Patches.", arms, "dense", "final", 0.02, "segments", 8, options=SMALL, cheap="patches", trunk=trunk)


def test_a_small_try_has_a_small_trunk_and_another_trunk_is_another_run() -> None:
    claim = of_trunk(400)
    sizes = [Design("selfpatch", claim, small=small).unit("on", {}, 0, "test") for small in (False, True)]
    assert [unit.options[trained_trunk.TRUNK].budget for unit in sizes] == [400, 20]
    other = Design("selfpatch", of_trunk(800)).unit("on", {}, 0, "test")
    assert len({each.name for each in (*sizes, other)}) == len({each.training for each in (*sizes, other)}) == 3


def test_the_code_of_the_trunks_method_counts_and_claims_of_other_trunks_share_no_run() -> None:
    claim = toy_claims.claim()
    codes = [
        claim_code("line", each, code=lambda name: f"code of {name}", around=lambda name, task: {})
        for each in (claim, dataclasses.replace(claim, trunk=Trunk("bend", budget=8)))
    ]
    assert [sorted(each.codes) for each in codes] == [["line"], ["bend", "line"]]
    assert codes[0].units["clean"] != codes[1].units["clean"]
    second = dataclasses.replace(
        of_trunk(), primary=False, arms={"on": Arm("dino", LIGHT), "off": Arm("dino", {**LIGHT, "hidden": 4})}
    )
    assert shared_arms(second, of_trunk())
    assert not shared_arms(dataclasses.replace(second, trunk=None), of_trunk())


def test_arms_of_a_trunk_that_did_not_learn_are_void_and_the_rows_say_why() -> None:
    level = TrialResult(((0.0, 0.3), (8.0, 0.3)), 0.0, untrained="the trunk did not learn")
    assert why_dead([level]) == "the trunk did not learn"
    found = judge_outcomes({"on": [level] * 5, "patches": [level] * 5}, "final", 0.02)
    assert found["patches"].verdict == "void"
    assert any("the trunk did not learn" in note for note in found["patches"].notes)
    design = Design("line", toy_claims.claim("final"), lab=toy_claims.LAB)
    outcomes = {arm: [level] * 5 for arm in design.claim.arms}
    rows = claim_rows(design, dict.fromkeys(outcomes, TunedArm({"learning_rate": 0.1})), outcomes)
    assert all(result_of(row).untrained == "the trunk did not learn" for row in rows)


def test_a_method_without_a_tower_is_no_trunk() -> None:
    empty: Any = Source("none", Path("."), "images", "a list", ())
    task = TrainingTask(empty, empty, empty, lambda seed: None, 4)  # type: ignore[arg-type,return-value]
    place = trained_trunk.TrunkPlace(lambda seed: task, collate_for, ())
    with pytest.raises(DeixisError, match="ridge has no image tower"):
        trained_trunk.start_from(Trunk("ridge", budget=1), task, place)


@pytest.mark.parametrize(("loss", "refused"), [(0.99, True), (0.9, False)])
def test_a_trunk_whose_loss_stayed_at_that_of_equal_answers_is_given_to_no_arm(
    loss: float, refused: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ln K is what a head says that tells K outputs apart no better than by chance."""

    def remembered(trunk: Any, place: Any, tower: Any, path: Path) -> None:
        save_state(tower[0], path, {"loss": loss * math.log(6), "trivial": math.log(6)})

    monkeypatch.setattr(trained_trunk, "_train", remembered)
    empty: Any = Source("none", Path("."), "images", "a list", ())
    task = TrainingTask(empty, empty, empty, lambda seed: load_part("image_tower", "tiny", seed=seed), 4)  # type: ignore[arg-type]
    place = trained_trunk.TrunkPlace(lambda seed: task, collate_for, ())
    found = trained_trunk.start_from(Trunk("dino", LIGHT, 8), task, place)
    assert ("the trunk did not learn" in found.refused) == refused


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trained_trunk, "cache_dir", lambda *parts: tmp_path.joinpath(*parts))
    return tmp_path / "trunks"


def weights(task: Any) -> list[Tensor]:
    return [each.detach() for each in task.encoder(3).parameters()]


@pytest.mark.slow
def test_all_seeds_and_arms_start_from_one_trunk_that_is_trained_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design("selfpatch", of_trunk())
    units = [design.unit(arm, {}, seed, "test") for arm in design.claim.arms for seed in (0, 1)]
    first, *others = [trials._task_of(unit, trials.BACKEND) for unit in units]
    assert len(list(cache.glob("*.safetensors"))) == 1
    for other in others:
        assert all(map(torch.equal, weights(first), weights(other)))
    plain = trials._task_of(units[0], trials.BACKEND, whole=False)
    assert not all(map(torch.equal, weights(first), weights(plain)))
    monkeypatch.setattr(trained_trunk, "_TRIVIAL", 0.0)
    result = trials.run_trial(dataclasses.replace(units[0], points=2), cache / "runs")
    assert "did not learn" in result.untrained
    assert result.seconds == 0
    assert result.curve[0][1] == result.curve[-1][1]
    assert result.curve[-1][0] == 8
