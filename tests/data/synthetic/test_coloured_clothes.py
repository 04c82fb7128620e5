"""Coloured clothes: captions name thing and colour, pictures show both, and no picture is in two parts."""

from __future__ import annotations

import numpy as np
import pytest

from deixis.data.synthetic.coloured_clothes import PARTS, ColouredPicture, coloured_clothes
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.errors import DeixisError
from deixis.types import place
from tests.toy_clothes import toy_clothes


@pytest.fixture(autouse=True)
def clothes(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_clothes(monkeypatch)


def test_a_caption_names_the_thing_and_the_colour_it_is_drawn_in() -> None:
    wordings = set[str]()
    for sample in coloured_clothes(0, 30).samples:
        picture = sample.picture
        assert isinstance(picture, ColouredPicture)
        words = sample.captions[0]
        assert picture.colour in words
        assert str(sample.label) in words
        assert not any(wrong in words for wrong in ("a ankle", "a orange", "an bag", "an red"))
        pixels = picture.draw()
        assert pixels.shape == (32, 32, 3)
        assert np.abs(pixels[16, 16].astype(int) - COLOURS[picture.colour]).max() <= 1
        assert (pixels[0, 0] == picture.ground).all()
        wordings.add(words.replace(picture.colour, "C").replace(str(sample.label), "L"))
    assert len(wordings) >= 4


def test_parts_share_no_picture_and_a_seed_gives_the_same_again() -> None:
    names = {
        part: {place(each.picture).partition(" in ")[0] for each in coloured_clothes(3, 10, part).samples}
        for part in PARTS
    }
    assert len(set.union(*names.values())) == 30
    again = [[each.captions for each in coloured_clothes(seed, 10).samples] for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


def test_more_than_there_are_is_refused_with_how_many_there_are() -> None:
    with pytest.raises(DeixisError, match="There are 10 in 'val'"):
        coloured_clothes(0, 11, "val")


def test_arms_with_votes_and_without_read_the_same_pairs_and_pixel_votes_are_of_the_pixels() -> None:
    small = {"votes": "pixel", "triplets": 12, "count": 12, "held": 4, "batch_size": 4}
    found, none = (make_task("votes", {**small, "votes": votes}, 0) for votes in ("pixel", "none"))
    assert isinstance(found, TrainingTask)
    assert isinstance(none, TrainingTask)
    for sample in found.sources["triplets"].samples[:4]:
        reference, left, right = (np.asarray(each.draw(), float) for each in sample.extra["triplets"])
        assert sample.extra["votes"] == float(((right - reference) ** 2).mean() < ((left - reference) ** 2).mean())
    assert not none.sources
    assert [each.captions for each in none.train.samples] == [each.captions for each in found.train.samples]
