"""Rows of the protocol `refer` on photographic stamps: what is asked about was not trained on, and is called alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.refer_rows import photographic


@pytest.mark.slow
def test_scenes_that_are_asked_about_show_other_cutouts_of_the_same_nouns(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    learned, asked = (photographic(0, 12, split).samples for split in ("train", "test"))
    shown = [{region.attributes["cutout"] for sample in part for region in sample.regions} for part in (learned, asked)]
    nouns = [{region.category for sample in part for region in sample.regions} for part in (learned, asked)]
    assert not shown[0] & shown[1]
    assert len(nouns[0] & nouns[1]) > len(nouns[1]) / 2
    assert any(region.phrases for sample in asked for region in sample.regions)
