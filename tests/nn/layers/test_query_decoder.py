"""Layers of detectors: as their equations say, blind to padding, the same in any order of the queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deixis.nn.layers.query_decoder import KeyedAttention, PositionedBlock, PositionedEncoder, QueryBlock, QueryDecoder

B, N, Q, D = 2, 6, 4, 12


def given(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_who_may_attend_to_nothing_stays_finite() -> None:
    layer = KeyedAttention(D, 3).double()
    found = layer.by_keys(given(B, Q, D), given(B, N, D), given(B, N, D), torch.zeros(B, 1, N, dtype=torch.bool))
    assert found.isfinite().all()


def attended(layer: nn.Module, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one head, written out."""
    scores = layer.query(query) @ layer.key(keys).transpose(1, 2) / D**0.5
    return layer.out(scores.softmax(-1) @ layer.value(values))


def mapped(block: nn.Module, states: Tensor) -> Tensor:
    return block.norm(states + block.perceptron[3](block.perceptron[0](states).clamp(min=0)))


def test_an_encoder_block_adds_positions_to_queries_and_keys_and_norms_after_each_sum() -> None:
    block = PositionedBlock(D, 1, 24).double()
    states, positions = given(B, N, D), given(1, N, D)
    placed = states + positions
    inside = block.attention_norm(states + attended(block.attention, placed, placed, states))
    torch.testing.assert_close(block(states, positions.expand(B, -1, -1)), mapped(block, inside))


def test_a_decoder_block_asks_the_other_queries_then_the_memory() -> None:
    block = QueryBlock(D, 1, 24).double()
    states, queries, memory, positions = given(B, Q, D), given(B, Q, D) * 2, given(B, N, D), given(B, N, D) / 2
    placed = states + queries
    inside = block.attention_norm(states + attended(block.attention, placed, placed, states))
    asked = attended(block.cross_attention, inside + queries, memory + positions, memory)
    inside = block.cross_norm(inside + asked)
    torch.testing.assert_close(block(states, queries, (memory, positions)), mapped(block, inside))


def test_padding_of_queries_and_memory_is_nothing() -> None:
    encoder, decoder = PositionedEncoder(2, D, 3, 24).double(), QueryDecoder(2, D, 3, 24).double()
    states, positions, queries = given(B, N, D), given(B, N, D) / 3, given(B, Q, D)
    real, kept = torch.arange(N) < 4, torch.arange(Q) < 3

    def run(n: int, q: int) -> tuple[Tensor, Tensor]:
        mask = real[:n].expand(B, n)
        memory = encoder(states[:, :n], positions[:, :n], mask[:, None])
        start = torch.zeros(B, q, D, dtype=torch.float64)
        found = decoder(start, queries[:, :q], (memory, positions[:, :n]), kept[:q].expand(B, q), mask)
        return memory[:, :4], found[:, :, :3]

    for padded, bare in zip(run(N, Q), run(4, 3), strict=True):
        torch.testing.assert_close(padded, bare)


def test_each_layer_is_told_and_another_order_of_queries_is_another_order_of_answers() -> None:
    decoder = QueryDecoder(3, D, 3, 24).double()
    queries, memory = given(B, Q, D), (given(B, N, D), given(B, N, D) / 3)
    start, order = torch.zeros(B, Q, D, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
    found = decoder(start, queries, memory)
    assert found.shape == (B, 3, Q, D)
    torch.testing.assert_close(decoder(start, queries[:, order], memory), found[:, :, order])
    torch.testing.assert_close(found[:, 0], decoder.norm(decoder.blocks[0](start, queries, memory)))


def test_dropout_is_of_training_alone() -> None:
    block = PositionedBlock(D, 3, 24, dropout=0.3)
    states, positions = given(B, N, D).float(), given(B, N, D).float()
    assert not torch.equal(block(states, positions), block(states, positions))
    block.eval()
    assert torch.equal(block(states, positions), block(states, positions))
