"""`deixis train` on photos without a word: methods that need no text, their gauges, and what is warned of."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import deixis
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.engine.training.monitor import Journal
from deixis.errors import DeixisError
from tests.commands import own_cache

SETTINGS = TrainSettings(
    config="tiny", precision="float32", steps=6, batch_size=4, log_every=2, workers=0, tensorboard="no"
)
GAUGES = {"trivial_loss", "deviation", "effective_rank", "copies_found"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Eight of one grey, which no tower can tell apart."""
    folder = tmp_path_factory.mktemp("images")
    with own_cache(folder / "cache"):
        (folder / "grey").mkdir()
        for number in range(8):
            Image.new("RGB", (40 + number, 36), (90, 90, 90)).save(folder / "grey" / f"{number}.png")
        yield folder / "grey"


@pytest.mark.parametrize("name", ["seer", "pixpro"])
def test_photos_without_words_train_a_tower_and_a_collapse_is_named_once(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(name, str(photos), tmp_path / "eyes", SETTINGS)
    said = capsys.readouterr()
    lines = [line for line in Journal(tmp_path / "eyes" / "metrics.jsonl").lines() if "metrics" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(set(line["metrics"]) >= GAUGES for line in lines)
    assert (said.out + said.err).count("The features have collapsed") == 1
    assert (result["method"], result["steps"]) == (name, [6])
    method = deixis.load_method(tmp_path / "eyes")
    torch.testing.assert_close(method.encode_image(torch.rand(2, 3, 32, 32)).norm(dim=1), torch.ones(2))


def test_a_single_photo_is_refused_before_any_work(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "0.png", tmp_path / "one")
    with pytest.raises(DeixisError, match="A batch of 1 is too small: the method compares samples"):
        train("seer", str(tmp_path / "one"), tmp_path / "eyes", dataclasses.replace(SETTINGS, batch_size=0), quiet=True)
    assert not (tmp_path / "eyes").exists()


def test_photos_smaller_than_a_crop_are_enlarged(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    for number in range(4):
        Image.new("RGB", (5, 4), (60 * number, 90, 30)).save(tmp_path / "small" / f"{number}.png")
    result = train("pixpro", str(tmp_path / "small"), tmp_path / "eyes", SETTINGS, quiet=True)
    assert result["steps"] == [6]
