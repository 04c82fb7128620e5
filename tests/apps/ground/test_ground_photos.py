"""`deixis ground` as it is typed first: the detector and the starter on photographs, whose boxes were drawn by eye."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import deixis
from deixis.ops.regions.boxes import iou
from deixis.types import Detections
from tests.commands import SOURCE

BY_EYE = {
    "a dog": (0.173, 0.387, 0.402, 0.942),
    "a bicycle": (0.163, 0.243, 0.738, 0.732),
    "the white truck": (0.607, 0.13, 0.893, 0.298),
}


@pytest.fixture
def photos(fetched: Callable[[str], Path]) -> Path:
    fetched("detector")
    return fetched("photos") / "darknet"


@pytest.mark.slow
def test_dog_bicycle_and_truck_are_where_the_eye_sees_them(photos: Path) -> None:
    found = deixis.ground(photos / "dog.jpg", [*BY_EYE, "a giraffe"])
    assert isinstance(found, Detections)
    assert found.phrases == tuple(BY_EYE)
    for each in found:
        assert iou(each.boxes[0], torch.tensor(BY_EYE[each.phrases[0]])) >= 0.75, each.phrases
    assert str(found.missing[0]).startswith("nothing here is a giraffe (nearest: 0.0")
    assert found.size == (768, 576)


@pytest.mark.slow
def test_a_phrase_gets_as_many_boxes_as_it_says(photos: Path) -> None:
    one, two, all_of_them = (deixis.ground(photos / "horses.jpg", text) for text in ("a horse", "two horses", "horses"))
    assert [len(each) for each in (one, two)] == [1, 2]
    assert 3 <= len(all_of_them) <= 6
    left = deixis.ground(photos / "horses.jpg", "the horse on the right")
    assert isinstance(left, Detections)
    assert left.boxes[0, 0] > 0.5


@pytest.mark.slow
def test_eight_pictures_at_once_are_answered_as_each_alone(photos: Path) -> None:
    pictures = sorted(photos.glob("*.jpg"))
    pictures = [*pictures, pictures[0]]
    texts = ["a person and the largest animal", "a squirrel"]
    together = deixis.ground(pictures, texts, best=True, batch=len(pictures))
    assert isinstance(together, list)
    for picture, each in zip(pictures, together, strict=True):
        alone = deixis.ground(picture, texts, best=True)
        assert isinstance(alone, Detections)
        assert alone.phrases == each.phrases
        torch.testing.assert_close(alone.boxes, each.boxes)
        torch.testing.assert_close(alone.scores, each.scores, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_first_command_takes_little_more_than_importing_what_it_needs(photos: Path, tmp_path: Path) -> None:
    """In seconds of the processor, beside those of a process that imports timm: 5 s where nothing else runs."""
    ground = ["-m", "deixis", "ground", str(photos / "dog.jpg"), "a dog"]
    _, imports = _used(["-c", "import timm"], tmp_path)
    found, seconds = _used(ground, tmp_path)
    assert found.startswith(f"{photos / 'dog.jpg'}: a dog: 0.1")
    assert {each.name for each in tmp_path.iterdir()} == {"dog-grounded.png", "dog-grounded.json"}
    assert seconds < 2.5 * imports


@pytest.mark.slow
def test_no_reader_of_data_is_imported_before_one_is_needed(tmp_path: Path) -> None:
    code = "import sys, deixis.apps.ground.ground; print('deixis.apps.common.dataset' in sys.modules)"
    assert _used(["-c", code], tmp_path)[0].strip() == "False"


def _used(arguments: list[str], folder: Path) -> tuple[str, float]:
    """What Python printed, and the processor's seconds."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
