"""A run of MDETR over a real socket: the server points where the run does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

import deixis
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.grounding import referring
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.types import Detections
from tests.apps.serve.serving import SMALL, problem, running, sent

SETTINGS = TrainSettings(
    config="tiny",
    set=("questions=[]", "final=false"),
    steps=4,
    batch_size=4,
    held_out=0.0,
    workers=0,
    precision="float32",
)


@pytest.mark.slow
def test_a_run_of_mdetr_is_trained_saved_loaded_and_served(collection: Path, tmp_path: Path) -> None:
    data = referring(scenes(count=6, side=48, config=SceneConfig(cast="shapes", objects=(2, 2))))
    run = tmp_path / "mdetr"
    train("mdetr", data, run, SETTINGS, quiet=True)
    picture = Image.fromarray(data.samples[0].picture.draw())  # type: ignore[union-attr]
    wanted = deixis.ground(picture, "the star", model=run, count=2)
    assert isinstance(wanted, Detections)
    assert len(wanted) > 0
    with running(collection / "run", dataclasses.replace(SMALL, ground=str(run))) as server:
        assert server.get("/run").json()["can_ground"]
        for _ in range(2):  # the second picture finds the model as the first left it
            answer = server.post("/ground", {"image": sent(picture), "text": "the star", "count": 2}).json()
            assert [each["phrase"] for each in answer["boxes"]] == list(wanted.phrases)
            assert [each["box"] for each in answer["boxes"]] == [pytest.approx(box, abs=1e-4) for box in wanted.boxes]
            assert [each["score"] for each in answer["boxes"]] == pytest.approx(wanted.scores.tolist(), rel=1e-3)
        row = server.post("/ground", {"row": 1, "text": "red", "overlay": False})
        assert (row.status_code, row.json()["overlay"]) == (200, "")
        assert len(row.json()["boxes"]) == 1
        assert "names no thing" in problem(server.post("/ground", {"row": 1, "text": "the left one"}), 422)
