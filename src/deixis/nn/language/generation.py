"""Texts from a language model: greedily, by beam search or by sampling; and which of a list of answers is likeliest.

What stands before is read once, and its keys and values are kept. Each row is treated as if it were alone: finished
ones leave the batch, and where rows are padded makes no difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.nn.language.beam_search import Beams
from deixis.nn.language.kv_cache import KvCache
from deixis.types.protocols import LanguageModel

__all__ = ["Beam", "GeneratedText", "Greedy", "Sampling", "Strategy", "choose", "generate"]


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The likeliest token, each time."""


@dataclasses.dataclass(frozen=True)
class Beam:
    """The likeliest text of those that a beam search comes across.

    Attributes:
        size: beginnings that are followed at once.
        length_penalty: the logarithm of the probability is divided by the number of tokens to this power before texts
            of different lengths are compared; above 0 favours long ones.
    """

    size: int = 5
    length_penalty: float = 1.0


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Tokens drawn by their probabilities.

    Attributes:
        temperature: that the scores are divided by; below 1 favours likely tokens.
        top_p: only the likeliest tokens are drawn, as many as it takes to reach this probability (Holtzman 2020).
        seed: of the first row; the row n is drawn with the seed n above it, alone as in a batch.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


Strategy = Greedy | Beam | Sampling


class GeneratedText(NamedTuple):
    """What a model wrote.

    Attributes:
        text: decoded.
        tokens: its numbers, without the one that ends it.
        log_prob: logarithm of the probability that the model gives it, its end included if it came to one.
    """

    text: str
    tokens: tuple[int, ...]
    log_prob: float


class _Begun(NamedTuple):
    """Rows after their beginning was read: the state that the next token follows, and for how many there is room."""

    state: Tensor
    past: KvCache
    room: list[int]


@torch.no_grad()
def generate(
    lm: LanguageModel,
    inputs: Float[Tensor, "B L F"],
    mask: Bool[Tensor, "B L"],
    length: int,
    strategy: Strategy | None = None,
) -> list[GeneratedText]:
    """Continues each row up to the end of the text.

    Args:
        lm: that writes.
        inputs: embeddings of what stands before; padded anywhere.
        mask: true where these are real; each row has one real position or more.
        length: new tokens at the most; the positions of the model are a limit, too.
        strategy: how tokens are chosen; `Greedy()` by default.

    Raises:
        ValueError: a row has nothing that could be continued, or the strategy has settings that are none.
    """
    strategy = strategy or Greedy()
    _check(strategy)
    if not len(inputs):
        return []
    begun = _begin(lm, inputs, mask, length)
    found = _beam(lm, begun, strategy) if isinstance(strategy, Beam) else _one_by_one(lm, begun, strategy)
    return [GeneratedText(lm.tokenizer.decode(tokens), tuple(tokens), log_prob) for tokens, log_prob in found]


@torch.no_grad()
def choose(
    lm: LanguageModel,
    inputs: Float[Tensor, "B L F"],
    mask: Bool[Tensor, "B L"],
    answers: Sequence[Sequence[int]],
    chunk: int = 64,
) -> Float[Tensor, "B A"]:
    """Logarithm of the probability of each answer behind each row, its end included; the rows are read once.

    Args:
        lm: that judges.
        inputs: embeddings of what stands before; padded anywhere.
        mask: true where these are real; each row has one real position or more.
        answers: token numbers of each, without the one that ends a text.
        chunk: answers that are read at once.

    Raises:
        ValueError: a row has nothing that an answer could follow.
    """
    begun = _begin(lm, inputs, mask, 0)
    columns = [begun.state.new_zeros(len(inputs), 0)]
    for first in range(0, len(answers), chunk):
        some = [[*each, lm.end] for each in answers[first : first + chunk]]
        columns.append(_score(lm, begun, some))
    return torch.cat(columns, dim=1)


def _score(lm: LanguageModel, begun: _Begun, answers: Sequence[Sequence[int]]) -> Float[Tensor, "B A"]:
    rows, count, device = len(begun.state), len(answers), begun.state.device
    targets = torch.zeros(count, max(map(len, answers)), dtype=torch.long, device=device)
    real = torch.zeros_like(targets, dtype=torch.bool)
    for row, numbers in enumerate(answers):
        targets[row, : len(numbers)] = torch.tensor(numbers, device=device)
        real[row, : len(numbers)] = True
    states = begun.state.repeat_interleave(count, dim=0)[:, None]
    targets, real = targets.repeat(rows, 1), real.repeat(rows, 1)
    if targets.shape[1] > 1:
        past = begun.past.take(torch.arange(rows, device=device).repeat_interleave(count))
        states = torch.cat([states, lm.states(lm.embed(targets[:, :-1]), real[:, 1:], past)], dim=1)
    return -lm.token_loss(states, targets, real).sum(dim=1).unflatten(0, (rows, count))


def _check(strategy: Strategy) -> None:
    if isinstance(strategy, Beam) and strategy.size < 1:
        raise ValueError(f"a beam of {strategy.size} is none; give 1 or more")
    if isinstance(strategy, Sampling) and (strategy.temperature <= 0 or not 0 < strategy.top_p <= 1):
        raise ValueError(f"{strategy} needs a temperature above 0, and a top_p above 0 and up to 1")


def _begin(lm: LanguageModel, inputs: Tensor, mask: Tensor, length: int) -> _Begun:
    if not bool(mask.any(dim=1).all()):
        raise ValueError("a row has no real position, so there is nothing to go on from; begin with lm.start")
    past = KvCache()
    states = lm.states(inputs, mask, past)
    last = mask.shape[1] - 1 - mask.flip(1).long().argmax(dim=1)
    room = (lm.context_length - mask.sum(dim=1)).clamp(max=length).tolist()
    return _Begun(states[torch.arange(len(states), device=states.device), last], past, room)


def _next(lm: LanguageModel, tokens: Int64[Tensor, " R"], past: KvCache) -> Float[Tensor, "R F"]:
    """The states behind one token more in each row."""
    return lm.states(lm.embed(tokens[:, None]), torch.ones_like(tokens[:, None], dtype=torch.bool), past)[:, 0]


def _one_by_one(lm: LanguageModel, begun: _Begun, strategy: Greedy | Sampling) -> list[tuple[list[int], float]]:
    state, past, room = begun
    written: list[tuple[list[int], float]] = [([], 0.0) for _ in room]
    rows = [row for row, most in enumerate(room) if most > 0]
    draws = {row: torch.Generator().manual_seed(strategy.seed + row) for row in rows if isinstance(strategy, Sampling)}
    if len(rows) < len(room):
        kept = torch.tensor(rows, dtype=torch.long, device=state.device)
        state, past = state[kept], past.take(kept)
    while rows:
        log_probs = lm.logits(state).float().log_softmax(dim=-1)
        if isinstance(strategy, Sampling):
            chance = torch.stack([torch.rand((), generator=draws[row]) for row in rows]).to(state.device)
            chosen = _draw(log_probs, chance, strategy)
        else:
            chosen = log_probs.argmax(dim=-1)
        gained, going = log_probs.gather(1, chosen[:, None])[:, 0].tolist(), []
        for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            tokens, total = written[row]
            written[row] = (tokens, total + gained[place])
            if token != lm.end:
                tokens.append(token)
            if token != lm.end and len(tokens) < room[row]:
                going.append(place)
        if going and len(going) < len(rows):
            kept = torch.tensor(going, device=state.device)
            chosen, past = chosen[kept], past.take(kept)
        rows = [rows[place] for place in going]
        if rows:
            state = _next(lm, chosen, past)
    return written


def _draw(log_probs: Float[Tensor, "R C"], chance: Float[Tensor, " R"], strategy: Sampling) -> Int64[Tensor, " R"]:
    """The token at which the probabilities, the likeliest first, sum up to a random number."""
    ordered, numbers = (log_probs / strategy.temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    sums = ordered.cumsum(dim=-1)
    kept = ordered * (sums - ordered < strategy.top_p)
    sums = kept.cumsum(dim=-1)
    place = (sums <= chance[:, None] * sums[:, -1:]).sum(dim=-1)
    return numbers.gather(1, place.clamp(max=log_probs.shape[1] - 1)[:, None])[:, 0]


def _beam(lm: LanguageModel, begun: _Begun, strategy: Beam) -> list[tuple[list[int], float]]:
    size, device = strategy.size, begun.state.device
    searches = [Beams(size, strategy.length_penalty, lm.end, most) for most in begun.room]
    rows = [row for row, search in enumerate(searches) if not search.done]
    kept = torch.tensor(rows, dtype=torch.long, device=device).repeat_interleave(size)
    state, past = begun.state[kept], begun.past.take(kept)
    while rows:
        log_probs = lm.logits(state).float().log_softmax(dim=-1).unflatten(0, (len(rows), size))
        parents, tokens, left = [], [], []
        for place, row in enumerate(rows):
            parent, token = searches[row].step(log_probs[place])
            if not searches[row].done:
                left.append(row)
                parents.append(parent + place * size)
                tokens.append(token)
        rows = left
        if rows:
            past = past.take(torch.cat(parents))
            state = _next(lm, torch.cat(tokens), past)
    return [search.best() for search in searches]
