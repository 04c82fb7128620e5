"""A causal language model: each position sees itself and what stands before it (Radford et al. 2018)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.layers.transformer import TransformerEncoder

__all__ = ["CausalLm", "CausalLmConfig"]


@dataclasses.dataclass(frozen=True)
class CausalLmConfig:
    """Sizes of a causal language model.

    Attributes:
        length: positions at the most, those of prefixes included.
        width: of the states (F).
        depth: blocks.
        heads: of each attention.
        hidden: width inside each perceptron.
        end: number of the token that ends a text.
    """

    length: int
    width: int
    depth: int
    heads: int
    hidden: int
    end: int


class CausalLm(nn.Module):
    """Embeddings, blocks, a norm, and scores by the products with the embeddings (tied).

    Args:
        config: sizes.
        tokenizer: of its texts.
        name: of the part.
    """

    def __init__(self, config: CausalLmConfig, tokenizer: Tokenizer, name: str = "causal-lm") -> None:
        super().__init__()
        self._config, self.tokenizer, self.name = config, tokenizer, name
        self.words = nn.Embedding(tokenizer.vocabulary, config.width)
        self.positions = nn.Parameter(0.01 * torch.randn(config.length, config.width))
        nn.init.normal_(self.words.weight, std=0.02)
        sizes = (config.depth, config.width, config.heads, config.hidden)
        self.blocks = TransformerEncoder(*sizes, activation="gelu", epsilon=1e-5)
        self.norm = nn.LayerNorm(config.width)
        self.width, self.context_length = config.width, config.length

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "CausalLm", **dataclasses.asdict(self._config)}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L C"]:
        """Scores of the token behind each position; `mask` is true where a token is real."""
        return self.logits(self.states(self.embeddings(tokens), mask))

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """What the first block is given, before positions are added."""
        return self.words(tokens)

    def states(self, embeddings: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last block, after the norm.

        Args:
            embeddings: of words, or of what is to be read like words.
            mask: true where a position is real; others are seen by none.

        Raises:
            DeixisError: there are more positions than the model has.
        """
        length = embeddings.shape[1]
        if length > self.context_length:
            raise DeixisError(
                f"A text has {length} positions, and this language model has {self.context_length}.",
                "Shorten the text or the prefix.",
            )
        states = self.blocks(embeddings + self.positions[:length], mask[:, None, :], causal=True)
        return self.norm(states)

    def logits(self, states: Float[Tensor, "B L F"]) -> Float[Tensor, "B L C"]:
        """Scores of every token of the vocabulary as the next one."""
        return states @ self.words.weight.T

    @torch.no_grad()
    def generate(self, embeddings: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"], length: int) -> list[str]:
        """Continues each row with the likeliest tokens.

        Args:
            embeddings: what stands before, padded behind.
            mask: true where it is real; each row has one real position or more.
            length: new tokens at the most; the positions of the model are a limit, too.
        """
        rows = torch.arange(len(mask), device=mask.device)
        place = mask.sum(dim=1)
        room = min(length, self.context_length - int(place.max()))
        embeddings = nn.functional.pad(embeddings, (0, 0, 0, room))
        mask = nn.functional.pad(mask, (0, room))
        written: list[list[int]] = [[] for _ in rows]
        going = torch.ones_like(rows, dtype=torch.bool)
        for _ in range(room):
            longest = int(place.max())
            states = self.states(embeddings[:, :longest], mask[:, :longest])
            chosen = self.logits(states[rows, place - 1][:, None])[:, 0].argmax(dim=-1)
            going = going & (chosen != self._config.end)
            if not bool(going.any()):
                break
            for row in going.nonzero()[:, 0].tolist():
                written[row].append(int(chosen[row]))
            embeddings[rows[going], place[going]] = self.words(chosen[going])
            mask[rows[going], place[going]] = True
            place = place + going
        return [self.tokenizer.decode(numbers) for numbers in written]
