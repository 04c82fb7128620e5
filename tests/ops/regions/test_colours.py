"""Names of colours: shades that nobody would call otherwise, and boxes whose edge is background."""

from __future__ import annotations

import pytest
import torch

from deixis.ops.regions.colours import COLOUR_NAMES, colour_shares, srgb_to_lab

BOX = torch.tensor([[[0.25, 0.25, 0.75, 0.75]]])


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((200, 30, 30), "red"),
        ((20, 60, 200), "blue"),
        ((30, 140, 50), "green"),
        ((250, 220, 30), "yellow"),
        ((235, 130, 30), "orange"),
        ((245, 130, 190), "pink"),
        ((110, 40, 160), "purple"),
        ((110, 70, 40), "brown"),
        ((10, 10, 10), "black"),
        ((252, 252, 252), "white"),
        ((125, 125, 125), "grey"),
    ],
)
def test_a_plain_colour_has_its_name(colour: tuple[int, int, int], name: str) -> None:
    image = (torch.tensor(colour) / 255)[None, :, None, None].expand(1, 3, 32, 32)
    shares = colour_shares(image, BOX)[0, 0]
    assert COLOUR_NAMES[int(shares.argmax())] == name
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))


def test_the_edge_of_a_box_counts_less_than_its_middle() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, 2] = 0.8  # blue, and a red square that fills half of the box
    image[0, :, 21:43, 21:43] = torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    shares = colour_shares(image, BOX)[0, 0]
    assert 22**2 / 32**2 < 0.5 < 0.6 < shares[COLOUR_NAMES.index("red")] < 0.95


def test_lab_is_that_of_the_standard() -> None:
    """White, black, and pure red as colour tables give them."""
    found = srgb_to_lab(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    expected = torch.tensor([[100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [53.24, 80.09, 67.20]])
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
