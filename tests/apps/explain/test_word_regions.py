"""The region of each word: as the method says, in a table and on the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from deixis import engine
from deixis.apps.explain import word_regions
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from tests.commands import deixis

TEXT = "a red square, and blue"


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    method = engine.build("uniter", "tiny", {"sample.length": 40}).eval()
    monkeypatch.setattr(word_regions, "open_method", lambda model, capability, others=(): method)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.png"
    Image.new("RGB", (48, 48), (200, 30, 30)).save(path)
    return path


def test_each_word_has_the_region_that_its_tokens_mean_most(photo: Path) -> None:
    [rows] = word_regions.align_words("run", photo, [TEXT])
    assert [each.word for each in rows] == ["a", "red", "square", ",", "and", "blue"]
    method = word_regions.open_method("run", "align")
    pairs = RegionPairs(method)
    [batch] = pairs.batches([photo], [TEXT])
    scores = method.align(batch)[0]
    for (_, _, first, last), each in zip(pairs.tokenizer.words(TEXT, 40), rows, strict=True):
        own = scores[first:last].mean(0)
        assert each.region == int(own.argmax())
        assert each.score == pytest.approx(float(own.max()))
        torch.testing.assert_close(torch.tensor(each.box), batch.boxes[0, each.region])  # type: ignore[index]


def test_the_table_is_printed_and_the_picture_written_with_the_boxes(photo: Path, tmp_path: Path) -> None:
    done = deixis("explain", photo, TEXT, "blue", "--method", "align", "--model", "run")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("  ")][:3] == ["word", "a", "red"]
    with Image.open(tmp_path / "photo-explained.png") as sheet:
        assert sheet.height >= 96
    again = deixis("explain", photo, TEXT, "--method", "align", "--model", "run")
    assert (again.code, again.out) == (2, "")
    assert "already" in again.err


def test_a_run_that_says_nothing_of_words_and_regions_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="is no run of a method"):
        word_regions.align_words(tmp_path, tmp_path / "photo.png", [TEXT])
