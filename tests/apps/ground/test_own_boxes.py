"""Phrases choose among boxes of one's own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis import engine, zoo
from deixis.apps.train.method_runs import facts_of, load_method
from deixis.engine.training.checkpoint import save_state
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.zoo import scratch
from tests.commands import deixis

BOXES = ([4, 4, 20, 20], [30, 10, 20, 30])


def coco(path: Path, *pictures: str, boxes: Any = BOXES) -> Path:
    images = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(pictures)]
    found = [
        {"id": 10 * n + m, "image_id": n, "category_id": 1, "bbox": box}
        for n in range(len(pictures))
        for m, box in enumerate(boxes)
    ]
    path.write_text(json.dumps({"images": images, "annotations": found, "categories": [{"id": 1, "name": "thing"}]}))
    return path


CHOOSING: dict[str, dict[str, Any]] = {"uniter": {"head": "refer"}, "variational_context": {}}


@pytest.fixture(params=list(CHOOSING))
def choosing(request: pytest.FixtureRequest) -> Any:
    return engine.build(request.param, "tiny", {"proposals": "own:tiny", **CHOOSING[request.param]}).eval()


@pytest.fixture
def place(choosing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deixis.apps.ground.ground.open_or_default", lambda model, capability, *more: choosing)
    for name in ("photo.png", "other.png"):
        Image.new("RGB", (64, 48), (90, 120, 30)).save(tmp_path / name)
    return tmp_path


def test_the_answer_is_one_of_the_boxes_that_are_given(place: Path) -> None:
    coco(place / "boxes.json", "photo.png")
    done = deixis("ground", "photo.png", "the cup", "--model", "run", "--boxes", "boxes.json", "--out", "found.json")
    assert done.code == 0
    [found] = json.loads((place / "found.json").read_text())["annotations"]
    assert any(found["bbox"] == pytest.approx(box, abs=0.6) for box in BOXES)


def test_a_text_of_which_the_model_knows_no_word_is_refused_with_boxes_too(choosing: Any, place: Path) -> None:
    reader = "words" if hasattr(choosing, "words") else "encoder"
    setattr(choosing, reader, scratch.build(("the cup",), "tiny", 32))
    coco(place / "boxes.json", "photo.png")
    done = deixis("ground", "photo.png", "xyzzy plugh", "--model", "run", "--boxes", "boxes.json")
    assert done.code == 2
    assert "No word of 'xyzzy plugh'" in done.err


def test_a_picture_without_boxes_a_picture_twice_and_a_method_that_takes_none_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco(place / "boxes.json", "other.png")
    done = deixis("ground", "photo.png", "the cup", "--model", "run", "--boxes", "boxes.json")
    assert done.code != 0
    assert "no box of photo.png" in done.err + done.out
    none = deixis("ground", "photo.png", "the cup", "--model", "run")
    assert "none are given. Give them: --boxes." in none.err + none.out
    (place / "again").mkdir()
    Image.new("RGB", (64, 48)).save(place / "again" / "photo.png")
    coco(place / "twice.json", "photo.png", "again/photo.png")
    twice = deixis("ground", "photo.png", "the cup", "--model", "run", "--boxes", "twice.json")
    assert (twice.code, twice.out) == (2, "")
    assert "photo.png twice" in twice.err
    proposing = engine.build("detect_match", "tiny").eval()
    monkeypatch.setattr("deixis.apps.ground.ground.open_or_default", lambda model, capability, *more: proposing)
    refused = deixis("ground", "photo.png", "red", "--model", "run", "--boxes", "boxes.json")
    assert refused.code == 2
    assert "takes none" in refused.err


@pytest.mark.parametrize("name", ["uniter", "variational_context"])
def test_a_run_is_not_read_with_another_detector_than_it_was_made_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it learned of regions is about those of one detector."""
    method = engine.build(name, "tiny").eval()
    what = {"method": name, "config": dataclasses.asdict(method.config)}
    save_state(method, tmp_path / "method.safetensors", facts_of(method, what, "tiny", ()))
    assert name_of(load_method(tmp_path)) == name
    loaded = zoo.load_part

    def another(kind: str, *given: Any, **options: Any) -> Any:
        part = loaded(kind, *given, **options)
        if kind == "proposals":
            part.classes = (*part.classes[:-1], "something else")
        return part

    monkeypatch.setattr(zoo, "load_part", another)
    with pytest.raises(DeixisError, match=r"The part 'proposals' of the run .* was 'tiny' with fingerprint \w+, and"):
        load_method(tmp_path)
