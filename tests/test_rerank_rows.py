"""Rows of `pair-retrieval`: what is searched was not learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.rerank_rows import ASKED, SCENES, sets
from deixis.engine.claims.tasks import word_regions


@pytest.mark.slow
def test_scenes_that_are_searched_show_other_cutouts_and_say_nouns_alone(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    task = word_regions.make(dataclasses.replace(SCENES, count=30), 0)
    learned = task.train.samples
    scenes, stamps = sets(task).values()
    assert len(scenes.samples) == ASKED
    cutouts = [
        {r.attributes["cutout"] for sample in part for r in sample.regions} for part in (learned, scenes.samples)
    ]
    assert not cutouts[0] & cutouts[1]
    assert all(
        sample.captions[0].split(", ") == [region.category for region in sample.regions] for sample in scenes.samples
    )
    assert len(stamps.samples) > ASKED
