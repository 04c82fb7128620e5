"""How many of the images that a model is measured on it was trained on."""

from __future__ import annotations

from pathlib import Path

from deixis import zoo
from deixis.files import write_json
from deixis.zoo import desk_clip
from deixis.zoo.training_images import seen_sentence, training_images, write_training_images


def test_a_run_says_how_many_of_the_queried_images_it_was_trained_on(tmp_path: Path) -> None:
    zoo.save(zoo.load("tiny"), tmp_path / "model")
    write_training_images(tmp_path, ["b", "a", "b"])
    assert seen_sentence(str(tmp_path), ["a", "c", "d", "c"]).startswith(
        f"{tmp_path}: 1 of 3 queried images were trained on"
    )
    assert training_images(str(tmp_path / "model")) == {"a", "b"}
    assert seen_sentence(str(tmp_path), ["c"]) == ""


def test_what_published_models_were_trained_on_is_not_known() -> None:
    assert training_images("starter") == training_images("ViT-B-32/laion2b_s34b_b79k") == frozenset()


def test_what_a_run_stands_on_counts_as_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(desk_clip, "trained_on", lambda: frozenset({"z"}))
    (tmp_path / "model").mkdir()
    write_json(tmp_path / "model" / "config.json", {"base": "desk-clip"})
    write_training_images(tmp_path, ["a"])
    assert training_images(str(tmp_path)) == {"a", "z"}
