"""A decoder that predicts the characters of a text in any order: what is known of them, and what is to be predicted,
are two streams (Bautista and Atienza, Scene Text Recognition with Permuted Autoregressive Sequence Models, 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.layers.attention import Attention, attend
from deixis.nn.layers.transformer import Mlp
from deixis.nn.reading.orders import cloze_mask

__all__ = ["TwoStreamBlock", "TwoStreamDecoder"]

Keys = tuple[Float[Tensor, "B h M d"], Float[Tensor, "B h M d"]]
MemoryKeys = tuple[Float[Tensor, "B h S d"], Float[Tensor, "B h S d"]]


class TwoStreamBlock(nn.Module):
    """x + self-attention to the content, x + attention to the memory, x + MLP; both streams by the same weights.

    Args:
        width: of the states (D).
        heads: of each attention.
        hidden: width inside the MLP.
        dropout: of what is added to the states.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm, self.content_norm, self.cross_norm, self.norm = (nn.LayerNorm(width) for _ in range(4))
        self.self_attention, self.cross_attention = Attention(width, heads), Attention(width, heads)
        self.perceptron = Mlp(width, hidden, "gelu")
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        stream: Float[Tensor, "B N D"],
        normed: Float[Tensor, "B N D"],
        content: Keys,
        memory: MemoryKeys,
        mask: Bool[Tensor, "#B #N #M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """One stream, one block on.

        Args:
            stream: states of it.
            normed: the same through the norm of that stream.
            content: keys and values of what is known of the text, see `Attention.kv_cache`.
            memory: those of what is read.
            mask: true where a position (second axis) may look at one of the content (third axis).
        """
        stream = stream + self.drop(_attend(self.self_attention, normed, content, mask))
        stream = stream + self.drop(_attend(self.cross_attention, self.cross_norm(stream), memory))
        return stream + self.drop(self.perceptron(self.norm(stream)))


def _attend(
    attention: Attention, states: Float[Tensor, "B N D"], keys: Keys, mask: Bool[Tensor, "#B #N #M"] | None = None
) -> Float[Tensor, "B N D"]:
    """Attention of states to keys and values that were computed before."""
    query = attention.query(states).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    attended = attend(query, *keys, None if mask is None else mask[:, None])
    found: Tensor = attention.out(attended.transpose(1, 2).flatten(2))
    return found


class _Cached(NamedTuple):
    """What reading one character after the other keeps of a block."""

    content: list[Tensor]
    memory: MemoryKeys


class TwoStreamDecoder(nn.Module):
    """From a memory and what is known of a text to logits of each of its characters.

    Args:
        characters: that can be predicted; numbers are those of `deixis.nn.reading.alphabet.Alphabet`.
        longest: characters of a text at the most; one position more is for its end.
        width: of states and memory (D).
        heads: of each attention.
        depth: how many blocks.
        hidden: width inside each MLP.
        dropout: of embeddings, and of what each block adds.
    """

    def __init__(
        self,
        characters: int,
        longest: int,
        width: int,
        heads: int,
        depth: int,
        hidden: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.longest, self.start, self.padding = longest, characters + 1, characters + 2
        self.embedding = nn.Embedding(characters + 3, width)
        self.positions = nn.Parameter(torch.empty(longest + 1, width))
        self.blocks = nn.ModuleList(TwoStreamBlock(width, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters + 1)
        self.drop = nn.Dropout(dropout)
        self._initialise()

    def _initialise(self) -> None:
        """As in the authors' code: queries, keys and values of attention as torch's own draws them, all else normal."""
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.trunc_normal_(self.embedding.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        bound = (1.5 / self.embedding.embedding_dim) ** 0.5
        for module in self.modules():
            if isinstance(module, Attention):
                for part in (module.query, module.key, module.value):
                    nn.init.uniform_(part.weight, -bound, bound)

    def _blocks(self) -> Iterable[TwoStreamBlock]:
        return cast(Iterable[TwoStreamBlock], self.blocks)

    def _content(self, tokens: Int64[Tensor, "B L"], first: int = 0) -> Float[Tensor, "B L D"]:
        """Embeddings of what is known; the start, at position 0, has no position."""
        states = math.sqrt(self.embedding.embedding_dim) * self.embedding(tokens)
        places = nn.functional.pad(self.positions, (0, 0, 1, 0))[first : first + tokens.shape[1]]
        return self.drop(states + places)

    def states(
        self,
        tokens: Int64[Tensor, "B L"],
        memory: Float[Tensor, "B S D"],
        content_masks: Bool[Tensor, "P L L"],
        query_masks: Bool[Tensor, "P L L"],
        real: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B P L D"]:
        """States of the query stream after the last norm, in each of P orders; row n predicts what follows token n.

        Args:
            tokens: the start and what is known.
            memory: what is read.
            content_masks: of each order, true where a known position may look at another.
            query_masks: of each order, true where what predicts a position may look at a known one.
            real: true where a token may be looked at; by default all.
        """
        orders, length = query_masks.shape[:2]
        batch = len(tokens)
        if real is not None:
            content_masks, query_masks = (each & real[:, None, None] for each in (content_masks, query_masks))
        content_masks, query_masks = (each.expand(batch, -1, -1, -1) for each in (content_masks, query_masks))
        query = self.drop(self.positions[:length]).expand(batch, orders, -1, -1).flatten(1, 2)
        content = self._content(tokens)
        split = False  # all orders share their content until the first block has changed it
        for number, block in enumerate(self._blocks(), 1):
            keys = block.self_attention.kv_cache(block.content_norm(content))
            read = block.cross_attention.kv_cache(memory)
            if split:
                read_all = tuple(each.repeat_interleave(orders, 0) for each in read)
                rows = query.unflatten(1, (orders, length)).flatten(0, 1)
                rows = block(rows, block.query_norm(rows), keys, cast(MemoryKeys, read_all), query_masks.flatten(0, 1))
                query = rows.unflatten(0, (batch, orders)).flatten(1, 2)
            else:
                query = block(query, block.query_norm(query), keys, read, query_masks.flatten(1, 2))
            if number == len(self.blocks):
                break
            if not split:
                content = content.repeat_interleave(orders, 0)
                keys = cast(Keys, tuple(each.repeat_interleave(orders, 0) for each in keys))
                read_all = tuple(each.repeat_interleave(orders, 0) for each in read)
                split = True
            normed = block.content_norm(content)
            content = block(content, normed, keys, cast(MemoryKeys, read_all), content_masks.flatten(0, 1))
        return self.norm(query).unflatten(1, (orders, length))

    @torch.no_grad()
    def greedy(self, memory: Float[Tensor, "B S D"], *, whole: bool = False) -> Float[Tensor, "B L C"]:
        """Logits of one character after the other, each the likeliest after those before; keys and values are computed
        once.

        Args:
            memory: what is read.
            whole: all positions are read, also when all texts have ended.
        """
        cached = [_Cached([], block.cross_attention.kv_cache(memory)) for block in self._blocks()]
        tokens = torch.full((len(memory), 1), self.start, device=memory.device)
        ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        found = []
        for step in range(self.longest + 1):
            query = self.positions[step].expand(len(memory), 1, -1)
            content = self._content(tokens, step)
            for number, (block, kept) in enumerate(zip(self._blocks(), cached, strict=True), 1):
                normed = block.content_norm(content)
                new = block.self_attention.kv_cache(normed)
                kept.content[:] = (
                    [torch.cat(each, dim=2) for each in zip(kept.content, new, strict=True)]
                    if kept.content
                    else list(new)
                )
                keys = (kept.content[0], kept.content[1])
                query = block(query, block.query_norm(query), keys, kept.memory)
                if number < len(self.blocks):
                    content = block(content, normed, keys, kept.memory)
            found.append(self.head(self.norm(query)))
            tokens = found[-1].argmax(dim=-1)
            ended = ended | (tokens[:, 0] == 0)
            if bool(ended.all()) and not whole:
                break
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def refined(
        self, logits: Float[Tensor, "B L C"], memory: Float[Tensor, "B S D"], *, released: bool = False
    ) -> Float[Tensor, "B L C"]:
        """Logits of each character, given all others that were read before and are not behind the end.

        Args:
            logits: of an earlier reading.
            memory: what is read.
            released: the content stream sees what the query stream sees, as in the authors' code, in which both share a
                mask that is changed in place; else it is causal. Of one block it makes no difference.
        """
        length = logits.shape[1]
        before = logits[:, :-1].argmax(dim=-1)
        tokens = torch.cat([before.new_full((len(logits), 1), self.start), before], dim=1)
        real = (tokens == 0).cumsum(dim=1) == 0
        cloze = cloze_mask(length).to(memory.device)
        causal = torch.ones_like(cloze).tril()
        states = self.states(tokens, memory, (cloze if released else causal)[None], cloze[None], real)
        return self.head(states[:, 0])
