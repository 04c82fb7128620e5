"""What is varied in an image is drawn by numbers alone, and is what torchvision makes of a single image."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deixis.data.loading.crops import COLOURS, PLACE, random_window, recoloured
from deixis.inputs.preprocess import Preprocess
from deixis.methods import read
from deixis.types import Augment, Crop, ViewSpec
from tests.support import Peer

theirs = Peer("torchvision.transforms.v2.functional")
DISTORTED = Augment(scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5)
BYOL = {"jitter": (0.4, 0.4, 0.2, 0.1), "grey": 0.2}


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5), st.integers(1, 300), st.integers(1, 300))
def test_a_random_crop_lies_inside_the_image_on_whole_pixels(numbers: list[float], width: int, height: int) -> None:
    x0, y0, x1, y1 = random_window(numbers, width, height, Augment(scale=(0.2, 0.9)))
    left, right = sorted((x0 * width, x1 * width))
    assert (x0 > x1) == (numbers[4] < 0.5)
    for edge, most in ((left, width), (right, width), (y0 * height, height), (y1 * height, height)):
        assert -1e-6 <= edge <= most + 1e-6
        assert abs(edge - round(edge)) < 1e-6
    assert right - left >= 0.999
    if 0.5 < width / height < 2 and min(width, height) > 50 and right - left < width and (y1 - y0) * height < height:
        assert 3 / 4 * 0.9 < (right - left) / ((y1 - y0) * height) < 4 / 3 * 1.1
        assert 0.15 < (right - left) * (y1 - y0) / width < 0.95


NUMBERS = (0.3, 0.6, 0.9, 0.1, 0.4)


def test_the_crop_of_given_numbers_stays_what_it_was() -> None:
    """Claims and runs hang on it."""
    window = random_window(NUMBERS, 200, 100, Augment(scale=(0.5, 1.0)))
    assert window == pytest.approx((0.96, 0.0, 0.375, 1.0))


def test_clip_cuts_a_square_of_the_whole_short_side_and_align_a_fixed_share_of_either_side() -> None:
    square, share = (read(name).config.paper().view.augment for name in ("clip", "align"))
    assert (square.flip, share.flip) == (0.0, 0.5)
    assert random_window(NUMBERS, 200, 100, square).size(200, 100) == (100, 100)
    places = {random_window((0.5, 0.5, x / 10, 0.5, 0.9), 200, 100, square).x0 for x in range(10)}
    assert min(places) == 0
    assert max(places) > 0.4
    assert random_window(NUMBERS, 346, 692, share).size(346, 692) == (289, 578)


def test_a_padded_crop_is_black_beyond_the_image() -> None:
    """Four pixels of 32 around the image, as small images are cropped."""
    augment, image = Augment(scale=(1.0, 1.0), shape="image", pad=1 / 8, flip=0.0), torch.full((3, 32, 32), 255).byte()
    padded = theirs.pad(image, [4, 4, 4, 4])
    for x, y in itertools.product((0.0, 0.3, 0.99), (0.0, 0.7)):
        window = random_window((0.5, 0.5, x, y, 0.9), 32, 32, augment)
        found = window.show(image, Preprocess(size=32), (32, 32))
        assert torch.equal(found, theirs.crop(padded, int(9 * y), int(9 * x), 32, 32))


def noise(count: int, side: int = 24) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()


def one_by_one(image: Tensor, augment: Augment, numbers: list[float]) -> Tensor:
    """By torchvision, in the order that the numbers say."""
    jitter = (theirs.adjust_brightness, theirs.adjust_contrast, theirs.adjust_saturation, theirs.adjust_hue)
    if numbers[0] < augment.jitter_chance:
        for kind in list(itertools.permutations(range(4)))[int(numbers[5] * 24)]:
            amount = (2 * numbers[1 + kind] - 1) * augment.jitter[kind]
            image = jitter[kind](image, amount if kind == 3 else max(0.0, 1 + amount))
    if numbers[6] < augment.grey:
        image = theirs.rgb_to_grayscale(image, num_output_channels=3)
    if numbers[7] < augment.blur:
        sigma = augment.sigma[0] + (augment.sigma[1] - augment.sigma[0]) * numbers[8]
        image = theirs.gaussian_blur(image, [13, 13], [sigma, sigma])
    return theirs.solarize(image, 128) if numbers[9] < augment.solarise else image


def test_a_batch_is_varied_as_torchvision_varies_each_image() -> None:
    images, numbers = noise(40), torch.rand(40, COLOURS, generator=torch.Generator().manual_seed(1))
    augment = Augment(jitter=(0.4, 0.4, 0.2, 0.1), grey=0.3, blur=0.5, solarise=0.0)
    found = recoloured(images, augment, numbers)
    wanted = torch.stack([one_by_one(*each) for each in zip(images, [augment] * 40, numbers.tolist(), strict=True)])
    difference = (found.int() - wanted.int()).abs()
    assert difference.max() <= 3, "each of six steps may round to the other side"
    assert (difference > 1).float().mean() < 1e-3
    solarised = Augment(solarise=0.5)
    wanted = torch.stack([one_by_one(*each) for each in zip(images, [solarised] * 40, numbers.tolist(), strict=True)])
    assert torch.equal(recoloured(images, solarised, numbers), wanted)
    assert torch.equal(recoloured(images, Augment(), numbers), images)


def test_the_recipes_of_papers_are_literals() -> None:
    """SwAV and SEER, PixPro with BYOL's unequal pair, DINO and SelfPatch, Selfie."""
    specs = (
        ViewSpec(crops=(Crop(2, 160, DISTORTED), Crop(4, 96, Augment((0.05, 0.14), jitter=(0.8, 0.8, 0.8, 0.2))))),
        ViewSpec(
            crops=(Crop(1, 224, Augment(blur=1.0, **BYOL)), Crop(1, 224, Augment(blur=0.1, solarise=0.2, **BYOL)))
        ),
        ViewSpec(
            crops=(Crop(2, 224, Augment((0.25, 1.0), blur=0.5, **BYOL)), Crop(8, 96, Augment((0.05, 0.25), **BYOL)))
        ),
        ViewSpec(size=32, augment=Augment((1.0, 1.0), shape="image", pad=4 / 32)),
    )
    images, numbers = noise(3), torch.zeros(3, COLOURS)
    for augment in (each.augment for spec in specs for each in (*spec.crops, spec) if each.augment is not None):
        assert recoloured(images, augment, numbers).shape == images.shape
        assert len(random_window([0.5] * PLACE, 300, 200, augment)) == 4
