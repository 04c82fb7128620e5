from __future__ import annotations

import torch

from deixis.ops.pairs.masking import choose_masked, replace_words


def test_each_candidate_is_chosen_with_the_share_and_at_least_one_of_a_row() -> None:
    draws = torch.tensor([[0.1, 0.9, 0.14, 0.05], [0.5, 0.3, 0.9, 0.1], [0.01, 0.01, 0.01, 0.01]])
    candidates = torch.tensor([[True, True, True, False], [True, True, True, False], [False] * 4])
    found = choose_masked(draws, candidates, 0.15)
    assert found.tolist() == [[True, False, True, False], [False, True, False, False], [False] * 4]


def test_more_padding_chooses_the_same() -> None:
    draws, candidates = torch.rand(5, 9), torch.arange(9) < torch.tensor([[1], [4], [2], [4], [3]])
    whole = choose_masked(draws, candidates, 0.2)
    torch.testing.assert_close(choose_masked(draws[:, :4], candidates[:, :4], 0.2), whole[:, :4])
    assert not whole[:, 4:].any()


def test_of_ten_chosen_words_eight_are_hidden_one_is_exchanged_and_one_stays() -> None:
    rng = torch.Generator().manual_seed(0)
    tokens, chosen = torch.full((1, 20_000), 7), torch.rand(1, 20_000, generator=rng) < 0.5
    words, hidden = replace_words(tokens, chosen, torch.rand(1, 20_000, 2, generator=rng), (100, 200))
    count, exchanged = int(chosen.sum()), words != tokens
    assert not (hidden & ~chosen).any()
    assert not (exchanged & (hidden | ~chosen)).any()
    assert abs(int(hidden.sum()) / count - 0.8) < 0.02
    assert abs(int(exchanged.sum()) / count - 0.1) < 0.02
    assert 100 <= int(words[exchanged].min()) < 105
    assert 195 <= int(words[exchanged].max()) < 200
