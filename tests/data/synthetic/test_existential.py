"""Existential expressions are true of one thing and clearly so; `needed` tells where a relation has rivals."""

from __future__ import annotations

import functools
import itertools
import math
import re

import numpy as np
import pytest

from deixis.data.synthetic.existential import FAR, NEAR, existential, with_needed
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.types import Region, Source
from tests.referring import centre, looking

SHAPES = SceneConfig(cast="shapes", unseen="nothing", tinted=0.5)
DIRECTLY = {"above": (1, -1), "below": (1, 1), "left of": (0, -1), "right of": (0, 1)}


@functools.cache
def pictures() -> Source:
    """Drawn when the first test looks at them, not by all that collect tests."""
    return existential(3, 20, side=96, config=SHAPES)


def distance(one: Region, other: Region) -> float:
    return math.dist(centre(one), centre(other))


def test_of_two_or_three_of_each_noun_exactly_one_pair_is_near_and_all_others_are_far() -> None:
    for sample in pictures().samples:
        [first, second] = dict.fromkeys(r.category for r in sample.regions if r.attributes["count"] > 1)
        ones, others = ([r for r in sample.regions if r.category == noun] for noun in (first, second))
        assert {len(ones), len(others)} <= {2, 3}
        apart = sorted(distance(*pair) for pair in itertools.product(ones, others))
        assert apart[0] <= NEAR
        assert apart[1] > FAR


def test_an_expression_is_true_of_its_thing_whichever_of_the_others_it_speaks_of() -> None:
    said = 0
    for sample in pictures().samples:
        for region in sample.regions:
            for phrase in region.phrases:
                match = re.fullmatch(
                    r"the (\w+) (?:next to|directly (above|below|left of|right of)) an? (\w+)", phrase.text
                )
                assert match, phrase.text
                noun, side, anchor = match.groups()
                found = [
                    one
                    for one in sample.regions
                    if one.category == noun
                    and any(distance(one, other) < FAR for other in sample.regions if other.category == anchor)
                ]
                assert found == [region]
                [place] = phrase.relates
                other = sample.regions[place]
                assert other.category == anchor
                if side:
                    axis, sign = DIRECTLY[side]
                    along = sign * (centre(region)[axis] - centre(other)[axis])
                    assert along > 2 * abs(centre(region)[1 - axis] - centre(other)[1 - axis])
                said += 1
    assert said > 2 * len(pictures().samples)  # both of the pair, and some from a side


def test_boxes_and_masks_are_those_of_the_drawing_and_the_tenth_of_twenty_is_the_tenth_of_ten() -> None:
    again = existential(3, 10, side=96, config=SHAPES).samples[9]
    sample = pictures().samples[9]
    assert (again.captions, again.regions) == (sample.captions, sample.regions)
    assert np.array_equal(again.image.draw(), sample.image.draw())  # type: ignore[union-attr]
    for region in sample.regions:
        assert region.mask is not None
        rows, columns = np.nonzero(decode_mask(region.mask).numpy())
        box = (columns.min() / 96, rows.min() / 96, (columns.max() + 1) / 96, (rows.max() + 1) / 96)
        assert region.box == pytest.approx(box)


def test_a_relation_is_needed_where_others_fit_what_stands_in_front_of_it() -> None:
    source = with_needed(scenes(1, 30, side=64, config=SceneConfig(cast="shapes", unseen="nothing")))
    counts = {True: 0, False: 0}
    for sample in source.samples:
        for region in sample.regions:
            for phrase, family, needed in zip(
                region.phrases, region.attributes["families"], region.attributes["needed"], strict=True
            ):
                if family != "relation":
                    assert not needed
                    continue
                head = re.split(
                    r" (?:to the |higher |lower )?(?:left of|right of|above|below|up than|down than) ", phrase.text
                )[0]
                rivals = [sample.regions[n] for n in looking(sample.regions, head) - set(phrase.relates)]
                assert needed == (len(rivals) > 1)
                counts[needed] += 1
    assert min(counts.values()) > 5
    assert all(all(r.attributes["needed"]) for s in with_needed(pictures()).samples for r in s.regions)


@pytest.mark.parametrize(
    "wrong", [{"side": 20}, {"count": -1}, {"config": SceneConfig(cast="shapes", nouns=("star",))}], ids=str
)
def test_what_makes_no_such_scene_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DeixisError):
        existential(**{"count": 1, "config": SHAPES, **wrong})  # type: ignore[arg-type]
