"""Things among look-alikes as the bench writes them: what is taught is in the run in other photographs alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import teach_rows
from deixis.data import catalogue
from deixis.files import content_hash
from deixis.types import Sample, Source
from docs.build import table
from docs.taught import taught_page
from tests.pictures import COLOURS, picture


@pytest.fixture
def stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and 24 stamps of six colours."""
    rng = random.Random(0)
    made = []
    for number in range(24):
        word = list(COLOURS)[number % len(COLOURS)]
        path = picture(tmp_path / "stamps" / f"{number}.png", COLOURS[word], rng)
        made.append(Sample(f"{number}", path, (f"a {word}",)))
    monkeypatch.setattr(catalogue, "read", lambda name: Source(name, Path(), "captions", "drawn", tuple(made)))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_photographs_differ_and_show_the_whole_thing() -> None:
    thing = Image.new("RGB", (60, 30), (255, 0, 0))
    shots = [teach_rows.photograph(thing, random.Random(seed)) for seed in range(8)]
    assert len({shot.tobytes() for shot in shots}) == 8
    for shot in shots:
        values = np.asarray(shot)
        red = (values[..., 0] > 150) & (values[..., 1:] < 60).all(-1)
        assert red.sum() > 0.2 * (0.4 * 400) * (0.2 * 400), "turned, scaled and moved, but not cut"


def test_what_is_taught_lies_in_the_run_in_other_photographs_and_beside_look_alikes(stamps: Path) -> None:
    told = teach_rows.write_pictures(stamps, 3, 0, "tiny")
    alike = [name for _, near in told.values() for name in near]
    assert len(told) == 3
    assert len({*told, *alike}) == 3 + 3 * teach_rows.ALIKE, "nothing is a look-alike of two"
    here = [path.name.split("-")[0] for path in (stamps / "run").iterdir()]
    assert all(here.count(name) == teach_rows.PHOTOS for name in (*told, *alike))
    assert here.count("other") == 24 - 12
    known = {content_hash(path) for path in (stamps / "run").iterdir()}
    for name in told:
        taught = [content_hash(path) for path in (stamps / "taught" / name).iterdir()]
        assert len(taught) == teach_rows.TAUGHT
        assert not known & {*taught}


@pytest.mark.slow
def test_a_row_counts_the_first_results_and_the_page_shows_it(stamps: Path) -> None:
    row = teach_rows.measure(stamps, 2, 0, "tiny")
    assert row["pictures"] == 2 * 4 * teach_rows.PHOTOS + 16
    assert sum(row["kept"].values()) == 2
    for way in ("name", "mean", "taught"):
        assert 0 <= row["found"][way]["mean"] + row["alike"][way]["mean"] <= teach_rows.PHOTOS
    before = (Path(__file__).parents[1] / "docs" / "searching.md").read_text(encoding="utf-8")
    after = taught_page(before, [row], table)
    assert "2 stamps, 64 pictures" in after
    assert "Not measured yet." in taught_page(after, [], table)
