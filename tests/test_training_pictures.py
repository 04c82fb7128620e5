"""Sheets of what methods without text see: crops lie where their boxes say, and neighbours are the most similar."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import deixis
from deixis import engine
from deixis.data import read
from deixis.errors import DeixisError
from docs import training_pictures
from docs.pictures import GAP, INKS, LINE
from tests.pictures import picture

SIDE = training_pictures.SIDE


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), random.Random(0)
    for number in range(2):
        picture(folder / f"{number}.png", (200, 30 + 90 * number, 30), rng)
    return folder


def test_a_row_holds_a_picture_and_what_was_made_of_it(photos: Path) -> None:
    source = read(photos)
    for sheet, columns in (
        (training_pictures.crops_sheet(source), 1 + 4),
        (training_pictures.crops_sheet(source, "pixpro"), 1 + 2),
        (training_pictures.copies_sheet(source), 1 + 9),
    ):
        assert sheet.size == (columns * (SIDE + GAP) + GAP, 2 * (SIDE + LINE + GAP) + GAP)
    inks = np.asarray(training_pictures.crops_sheet(source)).reshape(-1, 3)
    assert all((inks == ink).all(axis=1).any() for ink in INKS[:4]), "each crop has its box"
    with pytest.raises(DeixisError, match="clip takes no crops"):
        training_pictures.crops_sheet(source, "clip")


def test_the_nearest_of_each_row_are_others_and_the_most_similar_first() -> None:
    rows = torch.randn(9, 4)
    found = training_pictures.nearest(rows, 3)
    for i in range(9):
        cosine = torch.nn.functional.cosine_similarity(rows[i : i + 1], rows, dim=1)
        assert found[i].tolist() == sorted(set(range(9)) - {i}, key=lambda j: -float(cosine[j]))[:3]


def test_a_sheet_is_written_and_one_without_a_name_is_refused(photos: Path, tmp_path: Path) -> None:
    training_pictures.main(["triplets", str(photos), str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 9 * (SIDE + GAP) + GAP
    training_pictures.main(["neighbours", str(photos), str(tmp_path / "near.png"), "tiny"])
    with Image.open(tmp_path / "near.png") as sheet:
        assert sheet.size == (2 * (SIDE + GAP) + GAP, 2 * (SIDE + LINE + GAP) + GAP)
    with pytest.raises(DeixisError, match="No sheet is named"):
        training_pictures.main(["crops"])


def test_patches_that_match_stand_beside_each_other_by_each_model(photos: Path) -> None:
    sheet = training_pictures.matches_sheet(read(photos), ["tiny", "tiny"])
    pair = (2 * 288 + 8, 288)
    assert sheet.width >= pair[0]
    assert sheet.height >= pair[1] + LINE


def test_choices_are_framed_by_whether_they_are_right(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = engine.build("selfie", "tiny")
    monkeypatch.setattr(training_pictures, "open_method", lambda run, capability: method)
    sheet = training_pictures.choices_sheet(read(photos), "run")
    assert sheet.size == (3 * (SIDE + GAP) + GAP, 2 * (SIDE + LINE + GAP) + GAP)
    inks = {tuple(each) for each in np.asarray(sheet).reshape(-1, 3).tolist()}
    assert inks & {(0, 128, 0), (255, 0, 0)}, "each masked place has a frame"
    method = engine.build("dino", "tiny")
    with pytest.raises(DeixisError, match="no run of selfie"):
        training_pictures.choices_sheet(read(photos), "run")


def test_a_run_without_respects_is_told_how_to_learn_some(photos: Path, tmp_path: Path) -> None:
    deixis.index(photos, tmp_path / "run", "tiny", quiet=True)
    with pytest.raises(DeixisError, match="learned no respects"):
        training_pictures.respects_sheet(read(photos), str(tmp_path / "run"))
