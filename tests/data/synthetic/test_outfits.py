"""Outfits: each sentence is true of a quarter of the picture unless it is marked; captions name one thing or all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deixis.data.synthetic.outfits import QUARTERS, Outfit, OutfitConfig, outfits
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.types import place
from tests.toy_clothes import toy_clothes


@pytest.fixture(autouse=True)
def clothes(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_clothes(monkeypatch, labels=4)


def test_what_a_sentence_names_stands_in_the_quarter_it_says_in_the_colour_it_says() -> None:
    for sample in outfits(0, 12).samples:
        picture = sample.picture
        assert isinstance(picture, Outfit)
        pixels = picture.draw().astype(int)
        for thing, quarter, sentence in zip(picture.things, picture.quarters, sample.extra["sentences"], strict=True):
            y, x = divmod(quarter, 2)
            assert np.abs(pixels[24 * y + 12, 24 * x + 12] - COLOURS[thing.colour]).max() <= 1
            assert sentence["text"].endswith(f"at the {QUARTERS[quarter]}.")
            assert f" {thing.colour} " in sentence["text"]
        empty = set(range(4)) - set(picture.quarters)
        for y, x in (divmod(quarter, 2) for quarter in empty):
            assert (pixels[24 * y : 24 * y + 24, 24 * x : 24 * x + 24] == picture.ground).all()


def test_captions_name_all_things_or_as_many_as_requested() -> None:
    for whole, short in zip(outfits(1, 8).samples, outfits(1, 8, config=OutfitConfig(named=1)).samples, strict=True):
        assert isinstance(whole.picture, Outfit)
        assert place(whole.picture) == place(short.picture)
        assert whole.captions[0].startswith(short.captions[0])
        assert all(thing.colour in whole.captions[0] for thing in whole.picture.things)
        names = whole.captions[0].replace(" and ", ", ").split(", ")
        assert len(names) == len(set(names)) == len(whole.picture.things)
        assert not any(wrong in whole.captions[0] for wrong in ("a orange", "an red", "a red trousers"))


def test_a_share_of_captions_is_another_pictures_and_of_the_sentences_invented() -> None:
    plain = outfits(2, 30, config=OutfitConfig(named=1)).samples
    spoilt = outfits(2, 30, config=OutfitConfig(named=1, wrong=0.3)).samples
    swapped = [sample.extra["noisy"] == "swapped" for sample in spoilt]
    assert sum(swapped) == 9
    assert sorted(sample.captions for sample in spoilt) == sorted(sample.captions for sample in plain)
    for sample, other, wrong in zip(plain, spoilt, swapped, strict=True):
        assert wrong or sample.captions == other.captions
    told = [
        each
        for sample in outfits(2, 30, config=OutfitConfig(invented=0.25)).samples
        for each in sample.extra["sentences"]
    ]
    assert 0.1 < sum(not each["true"] for each in told) / len(told) < 0.3


def test_masks_cover_the_things_alone() -> None:
    for sample in outfits(3, 6).samples:
        assert isinstance(sample.picture, Outfit)
        hidden = torch.from_numpy((sample.picture.draw() != sample.picture.ground).any(2))
        covered = torch.zeros_like(hidden)
        for region in sample.regions:
            assert region.mask is not None
            mask = decode_mask(region.mask)
            x0, y0, x1, y1 = (round(48 * edge) for edge in region.box)
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
            covered |= mask
        assert not (covered & ~hidden).any()


def test_no_piece_of_clothing_is_in_two_parts_and_other_seeds_give_other_pictures() -> None:
    def pieces(part: str) -> set[str]:
        pictures = [sample.picture for sample in outfits(0, 10, part).samples]
        return {place(thing.picture) for each in pictures if isinstance(each, Outfit) for thing in each.things}

    assert not pieces("train") & pieces("val")
    first, again, other = ([place(each.picture) for each in outfits(seed, 5).samples] for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("wrong", [{"things": (2, 5)}, {"wrong": 1.5}, {"named": 0}, {"side": 47}])
def test_settings_that_can_not_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DeixisError):
        OutfitConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(DeixisError, match="1 or more"):
        outfits(0, 0)
