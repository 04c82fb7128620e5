"""Where the classes of a run looked in a picture is drawn, where they look at pictures at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.apps.explain.explain import explain_file
from deixis.apps.few_shot.classifier import FewShotClassifier, load_classifier
from deixis.errors import DeixisError
from tests.pictures import COLOURS


def sheet(colour: tuple[int, int, int], seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 40, (32, 32, 3))
    return Image.fromarray((0.8 * np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def classifier(method: str) -> FewShotClassifier:
    names = list(COLOURS)[:3]
    pairs = [(sheet(COLOURS[name], 10 * i + number), name) for i, name in enumerate(names) for number in range(2)]
    settings = {"epochs": 2, "gate": 0.5, "words": "", "vectors": 2} if method == "mutual_prompt" else {}
    return FewShotClassifier("tiny", method, 2, settings=settings).fit(pairs)


def test_where_each_class_looked_is_drawn_from_a_run(tmp_path: Path) -> None:
    learned = classifier("mutual_prompt")
    learned.save(tmp_path / "run")
    photo = tmp_path / "photo.png"
    sheet((220, 30, 30), 7).save(photo)
    again = load_classifier(tmp_path / "run")
    np.testing.assert_allclose(again.predict_proba([photo]), learned.predict_proba([photo]), atol=1e-6)
    found = explain_file(str(photo), (), str(tmp_path / "run"), out=str(tmp_path / "a.png"), quiet=True)
    assert found.method == "attention of each class"
    assert set(found.targets[0]) == set(learned.names_)
    best = int(learned.predict_proba([photo])[0].argmax())
    assert found.targets[0][0] == learned.names_[best], "the likeliest first"
    torch.testing.assert_close(found.maps.amax(dim=(2, 3)), torch.ones(1, 3), atol=0.2, rtol=0)
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width > 400
    assert np.load(tmp_path / "a.npy").shape[0] == 3


def test_without_texts_a_model_or_a_run_whose_classes_look_at_nothing_is_refused(tmp_path: Path) -> None:
    classifier("zero_shot").save(tmp_path / "run")
    with pytest.raises(DeixisError, match="do not look at the cells"):
        explain_file("photo.png", (), str(tmp_path / "run"), out=str(tmp_path / "a.png"))
    with pytest.raises(DeixisError, match="There is no text"):
        explain_file("photo.png", (), "tiny", out=str(tmp_path / "a.png"))
