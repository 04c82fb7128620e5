"""`deixis search --near auto`: the similarity from which on pairs are copies, measured on the index's own pictures."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.index.index import index, remove
from deixis.apps.search import copy_threshold
from deixis.apps.search.copy_threshold import KEY, best_threshold, copies_of_run
from deixis.apps.search.search import near
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from tests.commands import deixis, own_cache

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An index of 24 coarse mosaics and a copy of one, too few to be measured when it is made."""
    folder = tmp_path_factory.mktemp("mosaics")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(24):
        with Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)) as cells:
            cells.resize((64, 64), Image.Resampling.NEAREST).save(folder / "pictures" / f"{i:02}.png")
    shutil.copy(folder / "pictures" / "03.png", folder / "pictures" / "twin.png")
    with own_cache(folder / "cache"):
        index(str(folder / "pictures"), folder / "index", "tiny", quiet=True)
        yield folder


def test_the_threshold_is_the_lowest_at_which_no_more_than_the_share_of_pairs_is_wrong() -> None:
    rng = random.Random(0)
    for _ in range(20):
        own = np.array([rng.gauss(0.8, 0.2) for _ in range(40)]).round(2)
        wrong = np.array([rng.gauss(0.4, 0.2) for _ in range(200)]).round(2)

        def mistaken(threshold: float, own: np.ndarray = own, wrong: np.ndarray = wrong) -> float:
            reported = sum(each >= threshold for each in own) + sum(each >= threshold for each in wrong)
            return sum(each >= threshold for each in wrong) / reported

        good = []
        for threshold in sorted({*own.tolist()}, reverse=True):
            if mistaken(threshold) > 0.1:
                break
            good.append(threshold)
        assert best_threshold(own, wrong, 0.1) == (good[-1] if good else None)
    assert best_threshold(np.array([0.5]), np.array([0.6])) is None


def test_an_index_without_a_threshold_is_measured_once_and_a_change_drops_what_was_measured(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    assert KEY not in Index.open(tmp_path / "index" / "index").manifest
    found = copies_of_run(tmp_path / "index", QUIET)
    assert (found["copies"], found["mistaken"]) == (25, 0.01)
    assert 0 < found["recall"] <= 1
    assert Index.open(tmp_path / "index" / "index", verify=True).manifest[KEY] == found
    pairs = near(tmp_path / "index", "auto")
    assert {pairs[0][1]["id"], pairs[0][2]["id"]} == {"03.png", "twin.png"}
    monkeypatch.setattr(copy_threshold, "measure_copies", lambda *given: pytest.fail("measured twice"))
    shown = deixis("search", tmp_path / "index", "--near", "auto", "--json")
    assert f"it reports {100 * found['recall']:.0f} of 100 altered copies, as measured on 25" in shown.err
    assert json.loads(shown.out)[0]["score"] == pytest.approx(1.0, abs=1e-5)
    remove(tmp_path / "index", [made / "pictures" / "05.png"])
    assert KEY not in Index.open(tmp_path / "index" / "index").manifest


def test_a_new_index_of_many_pictures_holds_its_threshold(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_threshold, "LEAST", 25)
    opened = index(str(made / "pictures"), tmp_path / "index", "tiny", quiet=True)
    assert opened.manifest[KEY] == copies_of_run(tmp_path / "index", QUIET)


def test_pictures_that_are_gone_and_a_model_that_sees_no_difference_are_said(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "index", tmp_path / "index")
    with monkeypatch.context() as patched:
        patched.setattr(copy_threshold, "find_picture", lambda place: None)
        with pytest.raises(DeixisError, match=r"20 pictures or more, and 0 can be read.*--near 0\.95"):
            copies_of_run(tmp_path / "index", QUIET)
    blind = torch.nn.functional.normalize(torch.ones(25, Index.open(tmp_path / "index" / "index").width), dim=1)
    monkeypatch.setattr(copy_threshold, "_similarities", lambda *given: (np.zeros(25), np.ones(25)))
    monkeypatch.setattr("deixis.nn.dual.DualEncoder.encode_image", lambda self, images: blind[: len(images)])
    with pytest.raises(DeixisError, match="No similarity distinguishes copies"):
        near(tmp_path / "index", "auto")
