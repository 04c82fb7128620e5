"""`patches.jpg`: patches of two photos that match, a colour each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.apps.train.image_files.patches import SHEET, alike_pairs, patch_matches
from deixis.apps.train.image_files.sheets import GAP, write_sheet
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from tests.commands import own_cache


def test_each_image_is_in_one_pair_and_near_duplicates_in_none() -> None:
    rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.01], [1, 0.1], [0, 1], [0.1, 1]]), dim=1)
    assert alike_pairs(rows, (0, 0, 1, 2, 3), 8) == [(1, 2), (3, 4)]
    assert alike_pairs(rows, (0, 1, 2, 3, 4), 1) == [(0, 1)]
    assert alike_pairs(rows[:2], (7, 7), 8) == []


def test_a_photo_matches_itself_patch_by_patch_and_its_mirror_image_the_other_way_round() -> None:
    states = torch.randn(6, 3, 9, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(2, 3, 9, dtype=torch.bool)
    own = patch_matches(torch.stack([states, states]), everywhere)
    assert len(own) >= 3, "one of nine, since those beside a better one are left out"
    assert all(each.first == each.second and each.cosine == pytest.approx(1) for each in own)
    turned = patch_matches(torch.stack([states, states.flip(2)]), everywhere)
    assert all(each.second == (each.first[0], 8 - each.first[1]) for each in turned)


def test_what_is_plain_matches_nothing_and_a_match_is_mutual() -> None:
    states = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    detailed = torch.zeros(2, 5, 5, dtype=torch.bool)
    assert patch_matches(states, detailed) == []
    detailed[:, 2:] = True
    found = patch_matches(states, detailed)
    assert found
    first, second = torch.nn.functional.normalize(states.flatten(2), dim=1).transpose(1, 2).unflatten(1, (5, 5))
    for match in found:
        row = second[2:].flatten(0, 1) @ first[match.first]
        column = first[2:].flatten(0, 1) @ second[match.second]
        assert [float(row.max()), float(column.max())] == pytest.approx([match.cosine] * 2)
    assert [each.cosine for each in found] == sorted((each.cosine for each in found), reverse=True)


def test_a_sheet_holds_rows_of_different_lengths(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    write_sheet(tmp_path / "sheet.jpg", [[red, blue], [blue]], (8, 8))
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        pixels = np.asarray(sheet.convert("RGB"), int)
    assert pixels.shape == (2 * (8 + GAP) + GAP, 2 * (8 + GAP) + GAP, 3)
    middle = GAP + 4
    assert pixels[middle, middle, 0] > 200 > pixels[middle, middle + 8 + GAP, 0]
    assert pixels[middle + 8 + GAP, middle + 8 + GAP].min() > 200, "nothing stands there"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dino", "selfpatch"])
def test_a_run_on_photos_shows_what_matches_and_may_be_replaced(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 255, (40, 40 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    settings = TrainSettings(config="tiny", steps=2, batch_size=4, workers=0, tensorboard="no")
    with own_cache(tmp_path / "cache"):
        for overwrite in (False, True):
            result = train(name, str(tmp_path / "photos"), tmp_path / "run", settings, overwrite=overwrite)
    assert 1 <= result["patches"] <= 6
    assert f"of the most alike photos, to look at: {tmp_path}" in capsys.readouterr().out
    with Image.open(tmp_path / "run" / SHEET) as sheet:
        assert sheet.width > sheet.height > 288
