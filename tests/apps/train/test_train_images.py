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
from deixis.zoo import timm_networks
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


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of 5 by 4 pixels, smaller than any crop."""
    folder = tmp_path_factory.mktemp("few")
    for number in range(4):
        Image.new("RGB", (5, 4), (60 * number, 90, 30)).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("seer", (), "There are 4 images and 6 prototypes, which can't all be used. Take fewer prototypes."),
        ("seer", ("queue=12", "prototypes=4"), "The queue of 12 is longer than the 4 images: it holds some twice."),
        ("seer", (), "Nothing is held back, and encoders are not compared: 4 samples form 4 groups"),
        ("pixpro", ("ratio=1e-6",), "In 0% of the images any cells of both crops are the same place: the others teach"),
    ],
)
def test_photos_that_teach_little_are_trained_on_and_what_is_amiss_is_said(
    name: str, overrides: tuple[str, ...], said: str, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(name, str(few), tmp_path / "eyes", dataclasses.replace(SETTINGS, steps=2, set=overrides))
    assert said in capsys.readouterr().err
    assert result["steps"] == [2]
    assert "encoders" not in result


@pytest.mark.parametrize(
    ("settings", "count", "said"),
    [
        ({"batch_size": 0}, 1, "A batch of 1 is too small: the method compares samples"),
        ({"batch_size": 8}, 4, "A batch of 8 is more than the 4 samples to train on"),
        (
            {"model": "scratch:resnet:32", "config": "tiny"},
            4,
            r"takes no crops of 8 by 8 pixels.*scratch:resnet:stride8",
        ),
    ],
)
def test_photos_that_cannot_be_trained_on_are_refused_before_any_work(
    settings: dict[str, object], count: int, said: str, few: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(count):
        shutil.copy(few / f"{number}.png", tmp_path / "photos")
    with pytest.raises(DeixisError, match=said):
        train(
            "seer", str(tmp_path / "photos"), tmp_path / "eyes", dataclasses.replace(SETTINGS, **settings), quiet=True
        )
    assert not (tmp_path / "eyes").exists()


def test_the_licence_of_weights_is_said_before_they_are_fetched(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEER's own forbid most uses."""

    def fetch(*_: object) -> None:
        assert "regnety_320.seer of the Hugging Face hub, licence seer-license" in capsys.readouterr().err
        raise OSError("no hub")

    monkeypatch.setattr(timm_networks, "require_reachable", fetch)
    settings = dataclasses.replace(SETTINGS, model="timm:regnety_320.seer")
    with pytest.raises(DeixisError, match="no hub"):
        train("seer", str(few), tmp_path / "eyes", settings)
    assert not (tmp_path / "eyes").exists()
