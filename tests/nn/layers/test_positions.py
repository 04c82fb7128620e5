"""Positions of other sizes are those that open_clip makes, and the same object where nothing is to be done."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from deixis.errors import DeixisError
from deixis.nn.layers.positions import require_side, resize_grid, resize_length
from tests.support import Peer

theirs = Peer("open_clip.model")


@pytest.mark.parametrize("side", [3, 5, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_grid_is_resized_as_open_clip_does(side: int, dtype: torch.dtype) -> None:
    positions = torch.randn(1 + 36, 8, dtype=dtype)
    state = {"visual.positional_embedding": positions}
    theirs.resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(side, side))))
    torch.testing.assert_close(resize_grid(positions, (side, side)), state["visual.positional_embedding"])


@pytest.mark.parametrize("length", [4, 20])
def test_a_length_is_resized_as_open_clip_does(length: int) -> None:
    positions = torch.randn(11, 8)
    state = {"positional_embedding": positions}
    theirs.resize_text_pos_embed(state, SimpleNamespace(positional_embedding=torch.zeros(length, 8)))
    torch.testing.assert_close(resize_length(positions, length), state["positional_embedding"])


def test_equal_sizes_give_back_the_tensor_itself() -> None:
    positions = torch.randn(10, 4)
    assert resize_grid(positions, (3, 3)) is positions
    assert resize_length(positions, 10) is positions


def test_what_stands_before_the_patches_stays_and_oblong_grids_are_told() -> None:
    positions = torch.randn(2 + 6, 4)
    found = resize_grid(positions, (4, 5), before=2, old=(2, 3))
    assert found.shape == (22, 4)
    assert torch.equal(found[:2], positions[:2])
    assert resize_grid(positions[2:], (3, 3), before=0, old=(2, 3)).shape == (9, 4)


def test_a_plane_stays_a_plane() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    plane = torch.stack([rows, columns], dim=-1).reshape(64, 2)
    inner = resize_grid(plane, (16, 16), before=0).reshape(16, 16, 2)[4:-4, 4:-4]
    torch.testing.assert_close(inner[:, 0, 0], torch.arange(4, 12) / 2 - 0.25)
    torch.testing.assert_close(inner[0, :, 1], torch.arange(4, 12) / 2 - 0.25)


def test_half_precision_is_kept() -> None:
    positions = torch.randn(10, 4).half()
    assert resize_grid(positions, (5, 5)).dtype == torch.float16
    assert resize_length(positions, 5).dtype == torch.float16


def test_positions_of_no_square_are_refused() -> None:
    with pytest.raises(ValueError, match="9 positions do not lie on a grid of 2 by 4"):
        resize_grid(torch.zeros(10, 4), (4, 4), old=(2, 4))
    with pytest.raises(ValueError, match="10 positions do not lie on a grid of 3 by 3"):
        resize_grid(torch.zeros(11, 4), (4, 4))


def test_images_of_another_shape_are_refused() -> None:
    require_side(torch.zeros(1, 3, 8, 8), 8)
    with pytest.raises(DeixisError, match="8 by 9 pixels"):
        require_side(torch.zeros(1, 3, 8, 9), 8)
