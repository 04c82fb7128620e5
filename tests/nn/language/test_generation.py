"""Generation: cached as uncached, in a batch as alone, and which texts are found."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.generation import Beam, Greedy, Sampling, Strategy, choose, generate
from tests.nn.language.test_causal_lm import SHAPES, model, same, theirs, tokens

STRATEGIES = [Greedy(), Beam(3), Beam(2, length_penalty=0.0), Sampling(0.8, 0.9, seed=4)]


def starts(rows: int, length: int = 6) -> tuple[Tensor, Tensor]:
    """Beginnings of different lengths, padded before."""
    ids = tokens(rows, length)
    return ids, torch.arange(length) >= torch.arange(rows)[:, None]


def log_prob(lm: CausalLm, begun: Tensor, text: tuple[int, ...], ended: bool) -> float:
    """Of a text behind a beginning, by the scores of all of it at once."""
    row = torch.cat([begun, torch.tensor([*text, *[lm.end] * ended], dtype=torch.long)])[None]
    scores = lm(row, torch.ones_like(row, dtype=torch.bool)).log_softmax(-1)[0]
    return float(sum(scores[place - 1, row[0, place]] for place in range(len(begun), row.shape[1])))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@torch.no_grad()
def test_a_batch_is_its_rows_alone_and_tells_the_probability_of_each_text(strategy: Strategy) -> None:
    lm, (ids, mask) = model("qwen2"), starts(3)
    together = generate(lm, lm.embed(ids), mask, 7, strategy)
    for row, found in enumerate(together):
        alone = Sampling(0.8, 0.9, seed=4 + row) if isinstance(strategy, Sampling) else strategy
        real = ids[row, mask[row]]
        again = generate(lm, lm.embed(real[None]), torch.ones(1, len(real), dtype=torch.bool), 7, alone)[0]
        assert again.tokens == found.tokens
        assert found.log_prob == pytest.approx(log_prob(lm, real, found.tokens, len(found.tokens) < 7), abs=1e-3)


@torch.no_grad()
def test_greedy_with_cached_keys_is_greedy_without() -> None:
    lm, (ids, mask) = model("gpt2"), starts(2)
    found = generate(lm, lm.embed(ids), mask, 9)
    for row in range(2):
        text = ids[row, mask[row]]
        for _ in range(9):
            token = lm(text[None], torch.ones(1, len(text), dtype=torch.bool))[0, -1].argmax()
            if token == lm.end:
                break
            text = torch.cat([text, token[None]])
        assert found[row].tokens == tuple(text[int(mask[row].sum()) :].tolist())


class Chain:
    """A model whose next token depends on the last one alone, by a table of probabilities."""

    def __init__(self, table: list[list[float]]) -> None:
        self.table = torch.tensor(table).log()
        self.context_length, self.end, self.start, self.marks = 20, 0, 1, (0, 1)
        self.tokenizer: Any = self
        self.width = len(table)

    def decode(self, numbers: list[int]) -> str:
        return "".join("?.abcd"[number + 1] for number in numbers)

    def embed(self, ids: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(ids, self.width).float()

    def states(self, inputs: Tensor, mask: Tensor, past: Any = None) -> Tensor:
        if past is not None:
            past.extend_mask(mask)
        return inputs

    def logits(self, states: Tensor) -> Tensor:
        return self.table[states.argmax(-1)]

    def token_loss(self, states: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        return -self.logits(states).log_softmax(-1).gather(-1, targets[..., None])[..., 0] * real


# From the beginning, 1: `b` (2) is likelier than `c` (3); but behind `b` everything is unlikely.
TABLE = [[1e-9, 1e-9, 1e-9, 1.0], [1e-9, 1e-9, 0.6, 0.4], [0.34, 1e-9, 0.33, 0.33], [0.9, 1e-9, 0.1, 1e-9]]


def begin(rows: int = 1) -> tuple[Any, Tensor, Tensor]:
    lm = Chain(TABLE)
    ids = torch.ones(rows, 1, dtype=torch.long)
    return lm, lm.embed(ids), torch.ones(rows, 1, dtype=torch.bool)


def every_text(length: int) -> dict[tuple[int, ...], float]:
    """Text -> its probability, of all that end, or are as long as allowed."""
    found = {}
    for count in range(length + 1):
        for text in itertools.product((1, 2, 3), repeat=count):
            steps = [1, *text, *([0] if count < length else [])]
            found[text] = float(torch.tensor([TABLE[one][two] for one, two in itertools.pairwise(steps)]).log().sum())
    return found


def test_a_beam_finds_the_likeliest_of_all_texts_where_greed_does_not() -> None:
    lm, inputs, mask = begin()
    expected = max(every_text(3).items(), key=lambda each: each[1])
    found = generate(lm, inputs, mask, 3, Beam(4, length_penalty=0.0))[0]
    assert (found.tokens, found.log_prob) == (expected[0], pytest.approx(expected[1], abs=1e-4))
    assert found.tokens == (3,)
    assert generate(lm, inputs, mask, 3)[0].tokens[0] == 2


def test_samples_come_as_often_as_they_are_likely_and_none_beyond_top_p() -> None:
    lm, inputs, mask = begin(400)
    first = [each.tokens[0] for each in generate(lm, inputs, mask, 1, Sampling(seed=1))]
    assert first.count(2) / 400 == pytest.approx(0.6, abs=0.08)
    sharp = [each.tokens[0] for each in generate(lm, inputs, mask, 1, Sampling(temperature=0.5, seed=1))]
    assert sharp.count(2) / 400 == pytest.approx(0.36 / 0.52, abs=0.08)
    assert {each.tokens for each in generate(lm, inputs, mask, 1, Sampling(top_p=0.6, seed=1))} == {(2,)}


@torch.no_grad()
def test_the_scores_of_answers_are_their_probabilities_however_many_are_read_at_once() -> None:
    lm, (ids, mask) = model("qwen2"), starts(2)
    answers = [(5,), (9, 8, 7), (), (9, 8)]
    scores = choose(lm, lm.embed(ids), mask, answers)
    assert scores.shape == (2, 4)
    for row, column in itertools.product(range(2), range(4)):
        expected = log_prob(lm, ids[row, mask[row]], answers[column], ended=True)
        assert float(scores[row, column]) == pytest.approx(expected, abs=1e-3)
    torch.testing.assert_close(choose(lm, lm.embed(ids), mask, answers, chunk=1), scores, rtol=1e-4, atol=1e-4)
    assert choose(lm, lm.embed(ids), mask, []).shape == (2, 0)


@torch.no_grad()
def test_a_text_ends_with_the_positions_of_the_model() -> None:
    lm, (ids, mask) = model("gpt2"), starts(2, 38)
    found = generate(lm, lm.embed(ids), mask, 50)
    assert [len(each.tokens) for each in found] <= [2, 3]
    full = torch.ones(1, 40, dtype=torch.bool)
    for strategy in STRATEGIES:
        assert generate(lm, lm.embed(tokens(1, 40)), full, 5, strategy)[0].tokens == ()


def test_nothing_to_go_on_from_and_settings_that_are_none_are_refused() -> None:
    lm, inputs, mask = begin()
    with pytest.raises(ValueError, match="no real position"):
        generate(lm, inputs, ~mask, 3)
    for strategy in (Beam(0), Sampling(temperature=0.0), Sampling(top_p=0.0)):
        with pytest.raises(ValueError, match=r"none|needs"):
            generate(lm, inputs, mask, 3, strategy)
    assert generate(lm, inputs[:0], mask[:0], 3) == []


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_greedy_and_beam_search_write_what_transformers_writes(shape: str) -> None:
    """In batches whose rows end at different steps."""
    pytest.importorskip("transformers")
    lm, peer = same(shape), theirs(shape)
    ids, mask = starts(4)
    lengths = set()
    for size, penalty in ((1, 1.0), (5, 1.0), (5, 0.0), (3, 2.0)):
        expected = peer.generate(
            input_ids=ids,
            attention_mask=mask.long(),
            max_new_tokens=12,
            num_beams=size,
            length_penalty=penalty,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=2,
        )[:, ids.shape[1] :]
        strategy = Greedy() if size == 1 else Beam(size, penalty)
        for row, found in zip(expected.tolist(), generate(lm, lm.embed(ids), mask, 12, strategy), strict=True):
            text = tuple(row[: row.index(2)] if 2 in row else row)
            assert found.tokens == text
            lengths.add(len(text))
    assert len(lengths) > 2
