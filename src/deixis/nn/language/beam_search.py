"""Beam search over one text at a time: which beginnings are followed, and when nothing better can come.

The rules are those of transformers (`early_stopping=False`), so that texts equal token for token.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["Beams"]

_NEVER = -1e9


class Beams:
    """The beginnings of one text, the likeliest first, and the whole texts that were found.

    Args:
        size: beginnings that are followed at once, and whole texts that are kept.
        length_penalty: power of the number of tokens that the logarithm of the probability is divided by.
        end: the token that ends a text.
        room: tokens of a text at the most.
    """

    def __init__(self, size: int, length_penalty: float, end: int, room: int) -> None:
        self._size, self._penalty, self._end, self._room = size, length_penalty, end, room
        self._running = [0.0] + [_NEVER] * (size - 1)  # at first all beginnings are the same, and one is enough
        self._texts: list[list[int]] = [[] for _ in range(size)]
        self._whole: list[tuple[float, float, list[int]]] = []
        self._length = 0
        self.done = room < 1

    def step(self, log_probs: Float[Tensor, "R C"]) -> tuple[Int64[Tensor, " S"], Int64[Tensor, " S"]]:
        """Follows each beginning by one token.

        Args:
            log_probs: logarithms of the probabilities of what comes next, of each beginning.

        Returns:
            The beginning that each new one goes on from, and the token that it goes on with.
        """
        self._length += 1
        sums = log_probs + log_probs.new_tensor(self._running)[:, None]
        best, places = sums.flatten().topk(min(2 * self._size, sums.numel()))
        candidates = list(zip(best.tolist(), places.tolist(), strict=True))
        parents, tokens = list[int](), list[int]()
        running, texts = list[float](), list[list[int]]()
        for rank, (total, place) in enumerate(candidates):
            parent, token = divmod(place, log_probs.shape[1])
            ends = token == self._end or self._length == self._room
            if ends and rank < self._size:
                text = self._texts[parent] + ([] if token == self._end else [token])
                self._whole.append((total / self._length**self._penalty, total, text))
            elif not ends and len(running) < self._size:
                parents.append(parent)
                tokens.append(token)
                running.append(total)
                texts.append([*self._texts[parent], token])
        self._whole = sorted(self._whole, key=lambda each: -each[0])[: self._size]
        self._running, self._texts = running, texts
        self.done = not running or self._nothing_better()
        new = functools.partial(torch.tensor, dtype=torch.long, device=log_probs.device)
        return new(parents), new(tokens)

    def _nothing_better(self) -> bool:
        """Whether the likeliest beginning is, as long as it is now, no better than the worst whole text."""
        if len(self._whole) < self._size:
            return False
        return self._running[0] / self._length**self._penalty <= self._whole[-1][0]

    def best(self) -> tuple[list[int], float]:
        """The best whole text without its end, and the logarithm of its probability."""
        _, total, text = self._whole[0] if self._whole else (0.0, 0.0, [])
        return text, total
