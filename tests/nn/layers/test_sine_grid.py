"""Waves over a grid are those of the authors of DETR, whatever pads the image; maps of attention are MDETR's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from deixis.nn.layers.attention_map import AttentionMap
from deixis.nn.layers.sine_grid import real_cells, sine_grid
from tests.support import load_golden


@pytest.mark.golden
def test_waves_over_a_grid_are_those_of_the_authors_of_detr() -> None:
    golden = load_golden("mdetr_sine_position")
    found = sine_grid(
        ~golden["in.pad_mask"].bool(),
        2 * int(golden["cfg.num_pos_feats"]),
        temperature=float(golden["cfg.temperature"]),
        scale=float(golden["cfg.scale"]),
    )
    torch.testing.assert_close(found, golden["out.pos"], rtol=5e-7, atol=5e-7)


def test_waves_over_a_grid_equal_a_loop_over_cells_and_channels() -> None:
    found = sine_grid(torch.ones(1, 3, 5, dtype=torch.bool), 8)[0]
    for row, column, channel in itertools.product(range(3), range(5), range(8)):
        place = (row + 1) / (3 + 1e-6) if channel < 4 else (column + 1) / (5 + 1e-6)
        angle = 2 * math.pi * place / 10_000 ** (2 * (channel % 4 // 2) / 4)
        wave = math.cos(angle) if channel % 2 else math.sin(angle)
        assert float(found[channel, row, column]) == pytest.approx(wave, abs=1e-5)


def test_an_image_has_the_same_waves_however_it_is_padded() -> None:
    valid = torch.zeros(1, 6, 7, dtype=torch.bool)
    valid[:, :4, :5] = True
    torch.testing.assert_close(sine_grid(valid, 12)[..., :4, :5], sine_grid(valid[:, :4, :5], 12))
    assert sine_grid(valid, 12).isfinite().all()


def test_a_cell_is_real_where_its_first_pixel_is() -> None:
    valid = {"H": torch.arange(32) < torch.tensor([[9], [32]]), "W": torch.arange(32) < torch.tensor([[32], [8]])}
    found = real_cells(valid, torch.zeros(2, 5, 4, 4))
    assert found.sum((1, 2)).tolist() == [8, 4]
    assert found[0, :2].all()
    assert found[1, :, 0].all()
    assert real_cells({}, torch.zeros(2, 5, 4, 4)).all()


@pytest.mark.golden
def test_attention_over_a_grid_is_that_of_the_masks_of_mdetr() -> None:
    golden = load_golden("mdetr_mask_attention")
    layer = AttentionMap(24, int(golden["cfg.num_heads"])).double()
    named = {"query": "q", "key": "k"}
    layer.load_state_dict(
        {
            f"{ours}.{kind}": golden[f"param.{name}.{kind}"]
            for ours, name in named.items()
            for kind in ("weight", "bias")
        }
    )
    queries, memory = (golden[f"in.{name}"].requires_grad_() for name in ("queries", "memory"))
    found = layer(queries, memory, ~golden["in.pad_mask"].bool())
    torch.testing.assert_close(found, golden["out.attention"], rtol=1e-10, atol=1e-12)
    (found * golden["in.cotangent"]).sum().backward()
    grads = {"in.queries": queries.grad, "in.memory": memory.grad}
    grads |= {
        f"param.{name}.{kind}": getattr(getattr(layer, ours), kind).grad
        for ours, name in named.items()
        for kind in ("weight", "bias")
    }
    assert {f"grad.{name}" for name in grads} == {key for key in golden if key.startswith("grad.")}
    for name, grad in grads.items():
        torch.testing.assert_close(grad, golden[f"grad.{name}"], rtol=1e-9, atol=1e-12)
