"""Attention equals a slow loop, tells its weights, and does not see what is masked."""

from __future__ import annotations

import math

import pytest
import torch

from deixis.nn.layers.attention import Attention, attend, attend_with_weights


def heads(*shape: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(*shape, dtype=torch.float64) for _ in range(3))


def test_attention_equals_a_loop_over_positions() -> None:
    query, key, value = heads(2, 3, 5, 4)
    mask = torch.rand(2, 1, 5, 5) > 0.3
    mask[..., 0] = True
    found, weights = attend_with_weights(query, key, value, mask)
    for b in range(2):
        for h in range(3):
            for n in range(5):
                looked = [m for m in range(5) if mask[b, 0, n, m]]
                powers = [math.exp(float(query[b, h, n] @ key[b, h, m]) / 2) for m in looked]
                slow = sum(p * value[b, h, m] for p, m in zip(powers, looked, strict=True)) / sum(powers)
                torch.testing.assert_close(found[b, h, n], slow)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("masked", [False, True])
def test_the_path_with_weights_equals_the_fused_one(masked: bool) -> None:
    layer, states = Attention(12, 3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])[:, None] if masked else None
    fused, (told, weights) = layer(states, mask), layer.with_weights(states, mask)
    torch.testing.assert_close(fused, told)
    assert weights.shape == (2, 3, 5, 5)
    assert not masked or not weights[0, :, :, 3:].any()


def test_a_row_that_may_look_nowhere_stays_finite_also_its_gradient() -> None:
    query, key, value = (each.requires_grad_() for each in heads(1, 1, 2, 4))
    found = attend(query, key, value, torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    found.sum().backward()
    assert found.isfinite().all()
    assert all(each.grad.isfinite().all() for each in (query, key, value))


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut into 5"):
        Attention(12, 5)


@pytest.mark.parametrize("masked", [False, True])
def test_causal_attention_never_sees_what_comes_later(masked: bool) -> None:
    layer, states = Attention(12, 3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True, True], [True] * 5])[:, None] if masked else None
    found, weights = layer.with_weights(states, mask, causal=True)
    torch.testing.assert_close(layer(states, mask, causal=True), found)
    assert not weights.triu(1).any()
    assert not masked or not weights[0, :, :, 1].any()
    other = torch.cat([states[:, :3], torch.randn(2, 2, 12, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(layer(other, mask, causal=True)[:, :3], found[:, :3])


def test_states_may_look_at_others_and_come_out_in_another_width() -> None:
    layer = Attention(12, 3, out=7).double()
    states, memory = (torch.randn(2, count, 12, dtype=torch.float64) for count in (3, 5))
    found, weights = layer.with_weights(states, memory=memory)
    assert found.shape == (2, 3, 7)
    assert weights.shape == (2, 3, 3, 5)
    torch.testing.assert_close(layer(states, memory=memory), found)
    torch.testing.assert_close(layer.out(layer.attend(states, memory=memory)), found)
    one = memory[:, :1]
    torch.testing.assert_close(layer(states[:, :1], memory=one), layer.out(layer.value(one)))
