"""Masks: run lengths and polygons become arrays and back."""

from __future__ import annotations

import pytest
import torch

from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask, encode_mask, run_lengths
from deixis.types import Mask


def test_run_lengths_go_down_the_columns_and_start_with_the_outside() -> None:
    mask = decode_mask(Mask(3, 2, counts=(1, 2, 3)))
    assert mask.tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize("seed", range(20))
def test_an_array_comes_back_from_its_run_lengths(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    height, width = (int(torch.randint(1, 12, (), generator=rng)) for _ in range(2))
    pixels = torch.rand(height, width, generator=rng) < seed / 19
    assert torch.equal(decode_mask(encode_mask(pixels)), pixels)


def test_a_polygon_along_pixel_edges_holds_the_pixels_within() -> None:
    mask = decode_mask(Mask(6, 5, polygons=((1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0),)))
    inside = torch.zeros(5, 6, dtype=torch.bool)
    inside[1:4, 1:5] = True
    assert (mask & inside).sum() == inside.sum()
    assert (mask ^ inside).sum() <= 4 + 3 + 1  # the outline: one column and one row at most


def test_several_outlines_are_one_mask() -> None:
    left, right = (0.0, 0.0, 2.0, 0.0, 2.0, 4.0, 0.0, 4.0), (5.0, 0.0, 7.0, 0.0, 7.0, 4.0, 5.0, 4.0)
    both = decode_mask(Mask(8, 4, polygons=(left, right)))
    alone = [decode_mask(Mask(8, 4, polygons=(each,))) for each in (left, right)]
    assert torch.equal(both, alone[0] | alone[1])
    assert not both[:, 3].any()


def test_run_lengths_of_another_image_are_refused() -> None:
    with pytest.raises(DeixisError, match="add up to 5 pixels, and its image has 3 x 2 = 6"):
        decode_mask(Mask(3, 2, counts=(5,)))
    with pytest.raises(DeixisError, match="add up to"):
        decode_mask(Mask(3, 2, counts=(7, -1)))
    with pytest.raises(DeixisError, match="4 numbers"):
        decode_mask(Mask(3, 2, polygons=((0.0, 0.0, 1.0, 1.0),)))


def packed(lengths: list[int]) -> str:
    """COCO's packing, written from its description: differences to two before, five bits a character, lowest first."""
    text = ""
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if last else 32))
            if last:
                break
    return text


def test_a_packed_string_is_read_as_worked_out_by_hand() -> None:
    # 5; 40 = 8 + 1 * 32, so 8 + 32 more to come, then 1; 3; 44 as +4; 2 as -1, whose five bits are all set
    assert run_lengths("5" + "X1" + "3" + "4" + "O") == (5, 40, 3, 44, 2)


@pytest.mark.parametrize("seed", range(10))
def test_packed_run_lengths_come_back(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 10 ** (1 + seed % 6), (seed * 3,), generator=rng).tolist()
    assert run_lengths(packed(lengths)) == tuple(lengths)


@pytest.mark.parametrize("text", ["X", "5 5", "é", "O", "111O1O", "~" * 30])
def test_a_string_that_packs_no_mask_is_refused(text: str) -> None:
    with pytest.raises(DeixisError, match="no mask as COCO packs it"):
        run_lengths(text)
