"""A block is its two equations, a stack its blocks one after the other."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis.nn.layers.transformer import ACTIVATIONS, Mlp, TransformerBlock, TransformerEncoder


def test_a_block_adds_attention_and_then_a_perceptron() -> None:
    block, states = TransformerBlock(12, 3, 20, "gelu", 1e-5).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    between = states + block.attention(block.attention_norm(states))
    normed = block.norm(between)
    inner = F.gelu(normed @ block.perceptron.widen.weight.T + block.perceptron.widen.bias)
    expected = between + inner @ block.perceptron.narrow.weight.T + block.perceptron.narrow.bias
    torch.testing.assert_close(block(states), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_a_stack_gives_the_last_of_the_states_it_tells(causal: bool) -> None:
    stack = TransformerEncoder(3, 12, 3, 20, activation="quick_gelu", epsilon=1e-5).double()
    states = torch.randn(2, 5, 12, dtype=torch.float64)
    told = stack.each(states, causal=causal)
    assert len(told) == 4
    assert told[0] is states
    torch.testing.assert_close(told[-1], stack(states, causal=causal))


def test_an_unknown_activation_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=f"no activation 'relu'; there are {', '.join(ACTIVATIONS)}"):
        Mlp(4, 8, "relu")
