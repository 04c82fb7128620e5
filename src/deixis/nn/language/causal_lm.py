"""A causal language model: each position sees itself and what stands before it.

Of two shapes: `gpt2` (Radford et al. 2019) has learned positions, layer norms and biases; `llama` (Touvron et al. 2023)
has rotary positions, RMS norms and a gated perceptron. Where a row has no token makes no difference: places are counted
over the real ones, so padding may stand before, behind or between them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.language.causal_blocks import BlockConfig, CausalBlock, ReadContext, rotary
from deixis.nn.language.kv_cache import KvCache

__all__ = ["CausalLm", "CausalLmConfig"]


@dataclasses.dataclass(frozen=True)
class CausalLmConfig:
    """Shape and sizes of a causal language model.

    Attributes:
        shape: `gpt2` or `llama`.
        vocabulary: rows of the table of embeddings; at least as many as the tokenizer has tokens.
        length: positions at the most, those of prefixes included.
        width: of the states (F).
        depth: blocks.
        heads: of each attention.
        hidden: width inside each perceptron.
        end: number of the token that ends a text.
        start: of the one that a text begins with; where it has none, the model reads `end` in its place.
        key_heads: of keys and values; 0: as many as of queries.
        biases: of the attention, in the shape `llama`: `none`, `inputs` (Qwen2) or `all`. GPT-2 has all.
        tied: whether the scores are products with the embeddings, or with a table of their own.
        rotary_base: of the wave lengths of rotary positions.
        epsilon: of the norms.
    """

    shape: Literal["gpt2", "llama"]
    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    hidden: int
    end: int
    start: int | None = None
    key_heads: int = 0
    biases: Literal["none", "inputs", "all"] = "none"
    tied: bool = True
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def block(self) -> BlockConfig:
        """Of each block."""
        gated = self.shape == "llama"
        return BlockConfig(
            self.width,
            self.heads,
            self.key_heads or self.heads,
            self.hidden,
            gated,
            not gated or self.biases != "none",
            not gated or self.biases == "all",
            self.epsilon,
        )


class CausalLm(nn.Module):
    """Embeddings, blocks, a norm, and scores of the next token.

    Attributes:
        chat_template: how a conversation is put into words, in Jinja's language, for `deixis.nn.language.chat`; empty
            where the model has learned from none.

    Args:
        config: shape and sizes.
        tokenizer: of its texts.
        name: of the part.
        licence: of the weights.

    Raises:
        DeixisError: the tokenizer has more tokens than the model has embeddings, or a text ends with none of them.
    """

    def __init__(
        self, config: CausalLmConfig, tokenizer: Tokenizer, name: str = "causal-lm", licence: str = ""
    ) -> None:
        super().__init__()
        _require_fit(config, tokenizer, name)
        self._config, self.tokenizer, self.name, self.licence = config, tokenizer, name, licence
        self.words = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.words.weight, std=0.02)
        gpt2 = config.shape == "gpt2"
        self.positions = nn.Embedding(config.length, config.width) if gpt2 else None
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.01)
        self.blocks = nn.ModuleList(CausalBlock(config.block) for _ in range(config.depth))
        norm = nn.LayerNorm if gpt2 else nn.RMSNorm
        self.norm = norm(config.width, eps=config.epsilon)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.width, self.context_length, self.end = config.width, config.length, config.end
        self.start = config.end if config.start is None else config.start
        self.chat_template = ""
        self.marks = tuple(dict.fromkeys((*tokenizer.marks, self.start, self.end)))

    @property
    def config(self) -> dict[str, Any]:
        """What weights and tokenizer do not determine, as plain values."""
        return {"kind": "CausalLm", **dataclasses.asdict(self._config)}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L C"]:
        """Scores of the token behind each position; `mask` is true where a token is real."""
        return self.logits(self.states(self.embed(tokens), mask))

    def embed(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """What the first block is given, before positions are added."""
        return self.words(tokens)

    def states(
        self, inputs: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"], past: KvCache | None = None
    ) -> Float[Tensor, "B L F"]:
        """States of the last block, after the norm.

        Args:
            inputs: embeddings of words, or of what is to be read like words.
            mask: true where a position is real; others are seen by none, and what stands there means nothing.
            past: what the rows have read before; it grows by the inputs.

        Raises:
            DeixisError: a row has more positions than the model.
        """
        counts = 0 if past is None else past.counts()
        places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        places = places + (counts[:, None] if isinstance(counts, Tensor) else counts)
        self._require_room(places, mask)
        seen = mask if past is None else past.extend_mask(mask)
        states, turns = inputs, None
        if self.positions is not None:
            states = states + self.positions(places.clamp(max=self.context_length - 1))
        else:
            turns = rotary(places, self.width // self._config.heads, self._config.rotary_base, inputs.dtype)
        context = ReadContext(_visible(seen, inputs.shape[1]), turns, past)
        for number, block in enumerate(self.blocks):
            states = block(states, number, context)
        return self.norm(states)

    def logits(self, states: Float[Tensor, "*B F"]) -> Float[Tensor, "*B C"]:
        """Scores of every token of the vocabulary as the next one."""
        return F.linear(states, self.words.weight) if self.head is None else self.head(states)

    def token_loss(
        self, states: Float[Tensor, "B L F"], targets: Int64[Tensor, "B L"], real: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L"]:
        """-log p of each target, given what its state has seen; 0 where `real` is false. Only the real ones are scored.

        Args:
            states: as `states` gives them.
            targets: the token that follows each state: those of a text are shifted by one.
            real: true where there is one.
        """
        rows = F.cross_entropy(self.logits(states[real]).float(), targets[real], reduction="none")
        return rows.new_zeros(real.shape).masked_scatter(real, rows)

    def _require_room(self, places: Tensor, mask: Tensor) -> None:
        needed = int(torch.where(mask, places, -1).max()) + 1 if mask.numel() else 0
        if needed > self.context_length:
            raise DeixisError(
                f"A text has {needed} positions, and this language model has {self.context_length}.",
                "Shorten the text or the prefix.",
            )


def _visible(seen: Bool[Tensor, "B M"], length: int) -> Bool[Tensor, "B 1 L M"] | None:
    """Which positions each of the last `length` may attend to; None where these are simply all before it."""
    whole = seen.shape[1]
    if bool(seen.all()) and length in (1, whole):
        return None
    causal = torch.ones(length, whole, dtype=torch.bool, device=seen.device).tril(whole - length)
    return causal & seen[:, None, None, :]


def _require_fit(config: CausalLmConfig, tokenizer: Tokenizer, name: str) -> None:
    if tokenizer.vocabulary > config.vocabulary:
        raise DeixisError(
            f"{name}: the tokenizer has {tokenizer.vocabulary} tokens, and the language model embeddings of "
            f"{config.vocabulary}.",
            "It is the tokenizer of another model; take the one that came with the weights.",
        )
    for number in (config.end, config.start):
        if number is not None and not 0 <= number < config.vocabulary:
            raise DeixisError(
                f"{name}: token {number} is to begin or end a text, and there are {config.vocabulary} tokens.",
                "Take the config that came with the weights.",
            )
