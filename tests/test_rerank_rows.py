"""Rows of `pair-retrieval`: what is searched was not learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.rerank_rows import ASKED, sets
from deixis.engine.claims.tasks import word_regions


@pytest.mark.slow
def test_scenes_that_are_searched_show_other_cutouts_and_say_nouns_alone(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    options = word_regions.Options(said="nouns", count=30, held=2)
    learned = word_regions.make(options, 0).train.samples
    scenes, stamps = sets(0).values()
    assert len(scenes.samples) == ASKED
    cutouts = [
        {r.attributes["cutout"] for sample in part for r in sample.regions} for part in (learned, scenes.samples)
    ]
    assert not cutouts[0] & cutouts[1]
    assert all(
        sample.captions[0].split(", ") == [region.category for region in sample.regions] for sample in scenes.samples
    )
    assert len(stamps.samples) > ASKED
