"""`deixis adapt boxes.csv` learns where the things lie that are meant, and leaves a run that `deixis ground` takes."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deixis import engine
from deixis.apps.adapt import boxes as app
from deixis.apps.adapt.boxes import adapt_to_boxes, ranks_boxes
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.dataset import read
from deixis.apps.ground.ground import ground
from deixis.apps.predict.capable import open_method
from deixis.apps.train.method_runs import STATE, facts_of
from deixis.engine.adaptation.boxes import answer_values
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.training.checkpoint import save_state
from deixis.errors import DeixisError
from deixis.methods.baselines.box_ranker import Method
from deixis.types import Source
from tests.pictures import picture

TINY = AdaptSettings(model="tiny")


def boxes(folder: Path, count: int, corner: bool) -> Source:
    """Pictures with a box each, which is always the last square of the grid of regions, or any of the nine."""
    rng, lines = random.Random(0), ["image,phrase,x0,y0,x1,y1"]
    for number in range(count):
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        picture(folder / f"{number:02}.png", colour, rng)
        row, column = (2, 2) if corner else (rng.randrange(3), rng.randrange(3))
        shares = [column / 3, row / 3, (column + 1) / 3, (row + 1) / 3]
        lines.append(f"{number:02}.png,the {rng.choice(('lid', 'knob', 'seal'))}," + ",".join(map(str, shares)))
    (folder / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    return read(str(folder / "boxes.csv"))


def ranker() -> Method:
    method = engine.build("box_ranker", "tiny", {"overlap": 0.5})
    assert isinstance(method, Method)
    return method


@pytest.mark.slow
def test_what_was_learned_is_proven_saved_and_used(tmp_path: Path) -> None:
    source, run = boxes(tmp_path, 16, corner=True), tmp_path / "run"
    assert ranks_boxes(source, "residual")
    assert ranks_boxes(source, "auto")
    result = adapt_to_boxes(source, run, TINY, ranker=ranker(), quiet=True)
    assert result["kept"] == "adapted"
    assert result["difference"]["box_accuracy"]["low"] > 0
    assert result["sentence"].startswith("Adapted")
    assert "of 100 phrases, the best box was right for" in result["sentence"]
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["verdict"]["outcome"] == "adapted"
    assert result["sentence"] in (run / "report.html").read_text(encoding="utf-8")
    [found] = ground([tmp_path / "00.png"], "the lid", model=open_method(str(run), "ground"), best=True)
    torch.testing.assert_close(found.boxes[0], torch.tensor([2 / 3, 2 / 3, 1, 1]), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_boxes_that_have_nothing_in_common_leave_the_order_as_it_is(tmp_path: Path) -> None:
    source, run = boxes(tmp_path, 20, corner=False), tmp_path / "run"
    result = adapt_to_boxes(source, run, TINY, ranker=ranker(), quiet=True)
    assert result["kept"] == "original"
    method = open_method(str(run), "ground")
    assert not method.weight.any()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "variational_context"])
def test_a_method_that_is_trained_to_choose_is_compared_on_the_same_pictures_and_may_be_saved(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("chooser_arm", "learned"):
        monkeypatch.setattr(app, name, functools.partial(getattr(app, name), steps=60))
    source, run = boxes(tmp_path, 16, corner=True), tmp_path / "run"
    chooser = engine.build("variational_context", "tiny", {"optim.learning_rate": 1e-2})
    settings = AdaptSettings(model="tiny", method=method)
    learners = {"variational_context": chooser}
    result = adapt_to_boxes(source, run, settings, ranker=ranker(), learners=learners, quiet=True)
    alone = ["variational_context"]
    assert result["learners"]["compared"] == (alone if method != "auto" else ["box_ranker", *alone])
    assert len(result["learners"]["taken"]) == 10
    assert result["kept"] == "adapted"
    assert result["method"]["name"] == result["learners"]["best"]
    [found] = ground([tmp_path / "00.png"], "the lid", model=open_method(str(run), "ground"), best=True)
    torch.testing.assert_close(found.boxes[0], torch.tensor([2 / 3, 2 / 3, 1, 1]), atol=1e-4, rtol=0)


def test_too_few_pictures_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="4 pictures"):
        adapt_to_boxes(boxes(tmp_path, 4, corner=True), tmp_path / "run", TINY, ranker=ranker(), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_mdetr_from_a_run_is_a_candidate_that_is_kept_where_it_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trained = boxes(tmp_path, 20, corner=False), tmp_path / "mdetr"
    trained.mkdir()
    method: Any = engine.build("mdetr", "tiny", seed=3)
    what = {"method": "mdetr", "config": dataclasses.asdict(method.config)}
    save_state(method, trained / STATE, facts_of(method, what, "tiny", ()))
    settings = AdaptSettings(model=str(trained), method="auto")

    result = adapt_to_boxes(source, tmp_path / "as-it-is", settings, ranker=ranker(), quiet=True)
    assert (result["kept"], result["method"]["name"]) == ("original", "box_ranker")  # it was trained on nothing

    def perfect(*given: Any) -> dict[str, np.ndarray]:
        values = answer_values(*given)
        return {name: np.zeros_like(each) if name == TEST_STATISTIC else each * 0 + 1 for name, each in values.items()}

    monkeypatch.setattr(app, "answer_values", perfect)
    result = adapt_to_boxes(source, tmp_path / "run", settings, ranker=ranker(), quiet=True)
    assert (result["kept"], result["method"]["name"]) == ("adapted", "mdetr")
    assert {each["run"] for each in result["method"]["chosen"]} == {str(trained)}
    one, other = (
        ground(tmp_path / "00.png", "the lid", model=open_method(str(run), "ground"), best=True)
        for run in (trained, tmp_path / "run")
    )
    torch.testing.assert_close(one.boxes, other.boxes)
