"""BERT equals a slow loop from its definition, and padding is nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from deixis.nn.language.bert import Bert, BertConfig, MeanPooledText

CONFIG = BertConfig(vocabulary=20, width=8, depth=2, heads=2, hidden=12, positions=10, kinds=2)
TOKENS = torch.tensor([[1, 5, 7, 2], [1, 9, 2, 0]])
MASK = TOKENS != 0


@pytest.fixture
def bert() -> Bert:
    bert = Bert(CONFIG).double().eval()
    for parameter in bert.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return bert


def layer_norm(vector: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = vector - vector.mean()
    return centred / (centred.pow(2).mean() + 1e-12).sqrt() * norm.weight + norm.bias


@torch.no_grad()
def slow_bert(bert: Bert, tokens: list[int]) -> list[Tensor]:
    """One text without padding, position by position, head by head."""
    states = [
        layer_norm(bert.words.weight[t] + bert.positions.weight[i] + bert.kinds.weight[0], bert.norm)
        for i, t in enumerate(tokens)
    ]
    for layer in bert.layers:
        query, key, value = (
            [part.weight @ state + part.bias for state in states]
            for part in (layer.attention.query, layer.attention.key, layer.attention.value)
        )
        after = []
        for i, state in enumerate(states):
            found = []
            for head in (slice(0, 4), slice(4, 8)):
                powers = [math.exp(float(query[i][head] @ other[head]) / 2) for other in key]
                found.append(sum(p * v[head] for p, v in zip(powers, value, strict=True)) / sum(powers))
            out = layer.attention.out.weight @ torch.cat(found) + layer.attention.out.bias
            state = layer_norm(state + out, layer.attention_norm)
            wide = layer.widen.weight @ state + layer.widen.bias
            wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
            after.append(layer_norm(state + layer.narrow.weight @ wide + layer.narrow.bias, layer.norm))
        states = after
    return states


def test_bert_equals_a_loop_over_positions_and_heads(bert: Bert) -> None:
    fast = bert(TOKENS, MASK)
    for row, tokens in zip(fast, ([1, 5, 7, 2], [1, 9, 2]), strict=True):
        torch.testing.assert_close(row[: len(tokens)], torch.stack(slow_bert(bert, tokens)))


def test_the_tower_is_the_mean_of_real_states_scaled_to_length_one(bert: Bert) -> None:
    mean = torch.stack(slow_bert(bert, [1, 9, 2])).mean(0)
    torch.testing.assert_close(MeanPooledText(bert)(TOKENS, MASK)[1], mean / mean.norm())


def test_padding_is_nothing(bert: Bert) -> None:
    tower = MeanPooledText(bert)
    padded, mask = (torch.nn.functional.pad(each, (0, 5)) for each in (TOKENS, MASK))
    torch.testing.assert_close(tower(padded, mask), tower(TOKENS, MASK))
    torch.testing.assert_close(tower.tokens(padded, mask).states[:, :4], tower.tokens(TOKENS, MASK).states)
    assert not tower.tokens(padded, mask).mask[:, 4:].any()


def test_number_zero_inside_a_text_is_a_token_like_any_other(bert: Bert) -> None:
    tower, text = MeanPooledText(bert), torch.tensor([[1, 0, 5, 2]])
    padded, mask = torch.nn.functional.pad(text, (0, 3)), torch.arange(7)[None] < 4
    torch.testing.assert_close(tower(padded, mask), tower(text))
    torch.testing.assert_close(tower.tokens(padded, mask).states[:, :4], tower.tokens(text).states)
    assert not torch.allclose(tower(padded), tower(text)), "without a mask all is read"


def test_what_stands_behind_a_false_mask_does_not_matter(bert: Bert) -> None:
    tower = MeanPooledText(bert)
    changed = TOKENS.masked_fill(~MASK, 13)
    torch.testing.assert_close(tower(changed, MASK), tower(TOKENS, MASK))


def test_a_text_of_padding_alone_is_finite_also_its_gradient(bert: Bert) -> None:
    tower = MeanPooledText(bert)
    rows = tower(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.bool))
    rows.sum().backward()
    assert rows.isfinite().all()
    assert all(each.grad is None or each.grad.isfinite().all() for each in tower.parameters())


def test_a_centre_is_subtracted_from_the_embedding_before_it_is_scaled_again(bert: Bert) -> None:
    centre = torch.randn(8, dtype=torch.float64) * 0.1
    plain, centred = MeanPooledText(bert)(TOKENS), MeanPooledText(bert, centre)(TOKENS)
    torch.testing.assert_close(centred, torch.nn.functional.normalize(plain - centre, dim=-1))


@pytest.mark.parametrize("centred", [False, True])
def test_the_mean_of_a_texts_tokens_points_where_its_embedding_does(bert: Bert, centred: bool) -> None:
    tower = MeanPooledText(bert, torch.full((8,), 0.1, dtype=torch.float64) if centred else None)
    found = tower.tokens(TOKENS, MASK)
    total = (found.states * found.mask[..., None]).sum(1)
    torch.testing.assert_close(torch.nn.functional.normalize(total, dim=-1), tower(TOKENS, MASK))


def test_states_can_be_computed_from_word_embeddings(bert: Bert) -> None:
    assert torch.equal(bert.encode(bert.words(TOKENS), MASK), bert(TOKENS, MASK))


def test_a_text_longer_than_the_positions_is_refused_by_its_length(bert: Bert) -> None:
    with pytest.raises(ValueError, match="11 tokens is longer than the 10"):
        bert(torch.ones(1, 11, dtype=torch.long))
