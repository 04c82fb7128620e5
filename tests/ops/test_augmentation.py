"""Colours of whole batches are varied as torchvision varies those of single images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deixis.ops import augmentation
from tests.support import Peer

theirs = Peer("torchvision.transforms.v2.functional")
COUNT = 8
FACTORS = torch.tensor([0.0, 0.2, 0.6, 0.9999, 1.0, 1.3, 1.8, 2.5], dtype=torch.float64)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Noise on gradients; one image grey, one of one colour, one with values at both ends."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randint(0, 256, (COUNT, 3, 20, 31), dtype=torch.uint8, generator=generator)
    made[1] = made[1, :1]
    made[2] = torch.tensor([200, 30, 90], dtype=torch.uint8)[:, None, None]
    made[3] = (made[3] > 128) * 255
    return made


def each(images: Tensor, function: Callable[..., Tensor], amounts: Tensor) -> Tensor:
    return torch.stack([function(image, float(amount)) for image, amount in zip(images, amounts, strict=True)])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_of_a_batch_are_those_of_single_images(images: Tensor, name: str) -> None:
    found = getattr(augmentation, name)(images, FACTORS)
    wanted = each(images, getattr(theirs, f"adjust_{name}"), FACTORS)
    difference = (found.int() - wanted.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3, "one is a rounded product"
    torch.testing.assert_close(getattr(augmentation, name)(images, torch.ones(COUNT)), images)


def test_hues_are_turned_as_those_of_single_images(images: Tensor) -> None:
    turns = torch.tensor([-0.5, -0.3, -0.1, 0.0, 0.05, 0.2, 0.4, 0.5])
    found = augmentation.hue(images, turns)
    assert (found.int() - each(images, theirs.adjust_hue, turns).int()).abs().max() <= 1
    assert (found.int() - images.int()).abs()[3].max() <= 1


def test_grey_and_solarised_images_are_equal(images: Tensor) -> None:
    assert torch.equal(augmentation.grey(images), theirs.rgb_to_grayscale(images, num_output_channels=3))
    for threshold in (0, 128, 255):
        assert torch.equal(augmentation.solarise(images, threshold), theirs.solarize(images, threshold))


def test_each_image_is_blurred_by_its_own_amount(images: Tensor) -> None:
    sigmas = torch.linspace(0.1, 2.0, COUNT)
    found = augmentation.blur(images, sigmas, 13)
    wanted = each(images, lambda image, sigma: theirs.gaussian_blur(image, [13, 13], [sigma, sigma]), sigmas)
    assert (found.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(0, 3, 20, 31), (2, 3, 33, 7), (1, 3, 64, 70)])
def test_a_blur_by_products_of_matrices_is_the_convolution(shape: tuple[int, ...]) -> None:
    """Of lines shorter, as long and longer than one product takes, and of no image."""
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    sigma = torch.linspace(0.4, 1.7, len(images))
    found = augmentation.blur(images, sigma, 5)
    places = torch.arange(5) - 2
    for image, blurred, each in zip(images, found, sigma, strict=True):
        kernel = (-0.5 * (places / each) ** 2).softmax(dim=0)
        values = torch.nn.functional.pad(image[:, None].double(), (2, 2, 2, 2), mode="reflect")
        wanted = torch.nn.functional.conv2d(values, torch.outer(kernel, kernel)[None, None].double())[:, 0]
        assert (blurred - wanted).abs().max() < 0.5 + 1e-4
    assert found.shape == images.shape


def test_only_the_chosen_images_are_mirrored(images: Tensor) -> None:
    rows = torch.arange(COUNT) % 2 == 0
    found = augmentation.mirror(images, rows)
    assert torch.equal(found[::2], theirs.horizontal_flip(images[::2]))
    assert torch.equal(found[1::2], images[1::2])
