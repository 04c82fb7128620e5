"""Whether a map depends on its text, and what a text is held against."""

from __future__ import annotations

import torch

import deixis
from deixis import zoo
from deixis.apps.explain.contrast import COUNTERS, EVERYDAY, EverydayContrast, split_counters
from deixis.apps.explain.explanations import TEXT_BLIND
from deixis.types.outputs import Maps


def test_a_map_that_is_nearly_that_of_every_unrelated_text_is_text_blind() -> None:
    own = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    other = own.flip(-1)
    maps = torch.cat([own + 0.01 * other, other, *[own] * COUNTERS], dim=1)
    found, blind = split_counters(Maps(maps, {"layer": maps}))
    assert blind == ((True, False),)
    assert found.image.shape == found.raw["layer"].shape == (1, 2, 16, 16)
    one_differs = torch.cat([own, *[own] * (COUNTERS - 1), other], dim=1)
    assert split_counters(Maps(one_differs, {}))[1] == ((False,),)


def test_counters_are_everyday_things_unlike_the_texts_and_one_another() -> None:
    encoder = zoo.load("tiny")
    contrast = EverydayContrast(encoder)
    assert contrast.texts.shape == (len(EVERYDAY), 16)
    counters = contrast.counters(contrast.texts[:2])
    assert len({tuple(row) for row in counters.tolist()}) == COUNTERS
    assert (counters @ contrast.texts[:2].T).max() < 0.99


def test_the_score_is_the_similarity_and_only_the_map_is_contrasted() -> None:
    encoder = zoo.load("tiny")
    images = torch.rand(2, 3, 32, 32)
    found = deixis.explain(encoder, images, ["a red bird"])
    wanted = encoder.encode_image(images) @ encoder.encode_text(["a red bird"]).T
    torch.testing.assert_close(found.scores, wanted)
    against = deixis.explain(encoder, images, ["a red bird"], others=["a dog"])
    assert not torch.allclose(against.scores, wanted)
    assert not torch.allclose(against.maps, found.maps)


def test_what_is_said_of_such_a_map_stands_under_it() -> None:
    found = deixis.explain(zoo.load("tiny"), torch.rand(1, 3, 32, 32), ["a red bird"], method="normgrad")
    assert len(found.text_blind) == 1
    assert isinstance(found.text_blind[0][0], bool)
    assert TEXT_BLIND == "where the model looks, whatever is asked"
