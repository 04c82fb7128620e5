"""`unusual.csv`: the images that a model of pixels explains worst, for their size first."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis import engine
from deixis.apps.train.image_files.unusual import png_bytes, similarity_of_nearest, unexplained
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.methods.baselines import mim
from tests.commands import own_cache


def test_an_image_is_as_unusual_as_it_is_less_likely_than_others_of_its_size() -> None:
    """Detailed images are unlikely: only what lies off the line through size and likelihood counts."""
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    line = -50.0 * np.log(sizes)
    np.testing.assert_allclose(unexplained(line, sizes), 0.0, atol=1e-9)
    off = line - np.array([0.0, 30.0, 0.0, 0.0])
    assert unexplained(off, sizes).argmax() == 1
    assert off.argmin() == 3
    np.testing.assert_allclose(unexplained(np.array([-1.0, -3.0]), np.array([70.0, 70.0])), [-1.0, 1.0])


def test_what_is_like_no_other_has_the_least_similarity_to_its_nearest() -> None:
    rows = np.eye(4)[[0, 0, 0, 1, 1, 2]]
    np.testing.assert_allclose(similarity_of_nearest(rows, 1), [1, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(similarity_of_nearest(rows, 2), [1, 1, 1, 0.5, 0.5, 0])
    np.testing.assert_allclose(similarity_of_nearest(rows[[0, 3]], 5), [0, 0], err_msg="as many as there are")


def test_detail_costs_bytes_whatever_the_size_of_the_file() -> None:
    plain, noise = Image.new("RGB", (300, 200), (9, 99, 30)), Image.effect_noise((30, 20), 90)
    assert png_bytes(plain) == png_bytes(plain.resize((60, 40))) < png_bytes(noise)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "levels"])
def test_an_image_is_made_again_from_the_mean_of_its_code(likelihood: str) -> None:
    method = engine.build("mim", "tiny", {"likelihood": likelihood, "levels": 4}, seed=3)
    images = torch.rand(3, 3, 8, 8)
    made, likely = method.reconstruct(images)
    assert made.shape == (3, 3, 8, 8)
    assert 0 <= made.min() < made.max() <= 1
    code = method.head.linear(method.encoder(images)).chunk(2, dim=1)[0]
    torch.testing.assert_close(likely, method.log_likelihood(code, method._pixels(images))[0])
    assert mim.Method is type(method)


@pytest.mark.slow
def test_without_the_starter_a_run_lists_first_what_it_explains_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_cache(tmp_path / "cache"):
        (tmp_path / "photos").mkdir()
        for number in range(24):
            Image.effect_noise((32, 32), 4 * number).save(tmp_path / "photos" / f"{number:02}.png")
        settings = TrainSettings(config="tiny", precision="float32", steps=6, batch_size=8, workers=0, tensorboard="no")
        result = train("cmim", str(tmp_path / "photos"), tmp_path / "eyes", settings)
    assert result["unusual"] == 24
    assert "The images that are least like any others, to look at: " in capsys.readouterr().out
    with open(tmp_path / "eyes" / "unusual.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(Path(row["path"]).name for row in rows) == [f"{number:02}.png" for number in range(24)]
    figures = {
        name: np.array([float(row[name]) for row in rows])
        for name in rows[0]
        if name not in ("path", "label", "similarity")
    }
    assert np.all(np.diff(figures["unexplained"]) <= 0)
    expected = unexplained(figures["log_likelihood"], figures["png_bytes"])
    np.testing.assert_allclose(figures["unexplained"], expected, atol=0.05)
    with Image.open(tmp_path / "eyes" / "unusual.jpg") as sheet:
        assert sheet.size == (4 * 100 + 4, 2 * 6 * 100 + 4)
