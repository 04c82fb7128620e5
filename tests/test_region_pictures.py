"""Sheets of what runs say of regions: what is meant, what is chosen, right and wrong."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from deixis import engine
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.types import Source
from docs import region_pictures
from docs.region_pictures import LookedAt, right_and_wrong


@pytest.fixture(scope="module")
def source() -> Source:
    return scenes(1, 4, side=64, config=SceneConfig(cast="shapes", unseen="nothing"))


def looked_at(right: bool, number: int) -> LookedAt:
    return LookedAt(Image.new("RGB", (4, 4)), (str(number),), right)


def test_as_many_are_right_as_wrong_as_far_as_there_are() -> None:
    many = [looked_at(number % 3 > 0, number) for number in range(60)]
    for found, expected in ((many, 12), (many[:6] + many[7:9], 6), ([looked_at(True, 0)] * 30, 24)):
        some = right_and_wrong(found)
        assert sum(each.right for each in some) == expected
        assert len(some) == min(24, len(found))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        ("expressions", "variational_context", {}),
        ("expressions", "uniter", {"head": "refer"}),
        ("words", "uniter", {"sample.length": 60}),
        ("answers", "sentence_attention", {}),
    ],
)
def test_each_sheet_shows_what_is_meant_and_what_is_said(
    kind: str, name: str, settings: dict[str, Any], source: Source
) -> None:
    method = engine.build(name, "tiny", settings).eval()
    with torch.no_grad():
        found = list(itertools.islice(region_pictures.KINDS[kind][1](source, method), 8))
    assert found
    assert all(each.lines for each in found)
    inks = {ink: np.array(ImageColor.getrgb(ink)) for ink in (region_pictures.MEANT, region_pictures.CONTEXT)}
    seen = {ink: any((np.asarray(each.picture) == rgb).all(-1).any() for each in found) for ink, rgb in inks.items()}
    assert seen[region_pictures.MEANT]
    assert seen[region_pictures.CONTEXT] == (name == "variational_context")
    assert any(line.startswith("context ") for each in found for line in each.lines) == (name == "variational_context")
    assert region_pictures.sheet(found).width > 4 * region_pictures.SIDE


def test_a_sheet_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="No sheet is named"):
        region_pictures.main(["expressions", "set:scenes"])
