"""Samplers: equal random numbers give equal images, and the attribution lies on what the text made."""

from __future__ import annotations

import torch

from deixis import zoo


def test_images_hang_on_text_and_random_numbers_alone() -> None:
    sampler = zoo.load_part("sampler", "tiny")
    one, same, other = (sampler(text, 2, torch.Generator().manual_seed(3)) for text in ("cat", "cat", "dog"))
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.attribution, other.attribution), "the place is drawn, the colour is the text's"
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (2, 3, sampler.size, sampler.size)


def test_the_attribution_lies_on_what_the_text_made() -> None:
    drawn = zoo.load_part("sampler", "tiny")("cat", 1, torch.Generator().manual_seed(0))
    inside = drawn.images[0, :, drawn.attribution[0] > 0]
    assert inside.shape[1] > 20
    assert (inside == inside[:, :1]).all()
