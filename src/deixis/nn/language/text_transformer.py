"""A transformer over tokens that reads a text at one of its positions: the text tower of CLIP, and of SigLIP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.layers.transformer import Activation, KeysAndValues, TransformerBlock, TransformerEncoder
from deixis.types.outputs import TokenStates

__all__ = ["TextConfig", "TextTransformer"]


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Sizes and layout of a text tower; the defaults are CLIP's but for the activation (its is `quick_gelu`).

    Attributes:
        vocabulary: different tokens.
        length: positions, hence the longest text in tokens.
        width: of the states.
        depth: blocks.
        heads: of each attention.
        hidden: width inside each perceptron.
        out: width of the shared space (D); None: the pooled state is the embedding and there is no projection.
        activation: `gelu`, `quick_gelu` or `gelu_tanh`.
        causal: whether a token sees only itself and those before it.
        pool: where a text is read: `argmax` (at its first highest token number, which is CLIP's end of text), `eos` (at
            its first token `end`) or `last` (at the last position).
        end: number of the token that ends a text, for `eos`.
        fill: texts are filled up to `length` with this token in place of padding and the filling is read like any
            token (SigLIP, and towers without a causal mask in open_clip); None: they are taken as they come.
        projection_bias: whether the projection has a bias.
        epsilon: of the layer norms.
    """

    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    hidden: int
    out: int | None
    activation: Activation = "gelu"
    causal: bool = True
    pool: Literal["argmax", "eos", "last"] = "argmax"
    end: int | None = None
    fill: int | None = None
    projection_bias: bool = False
    epsilon: float = 1e-5


class TextTransformer(nn.Module):
    """A text tower: words, positions, blocks, norm, one position, projection.

    A causal tower never sees what follows the position it reads, so padding is nothing to it. Its tokens may include
    number 0 (in CLIP's vocabulary that is "!"); what is real is said by the mask and by where the text ends.
    A `last` tower reads its padding: it needs `fill`, or texts of full length.

    New weights are drawn as in the authors' code.

    Args:
        config: sizes and layout.

    Raises:
        ValueError: the layout contradicts itself.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        if (config.pool == "eos") != (config.end is not None):
            raise ValueError(f"`end` belongs to pool='eos': got pool={config.pool!r} and end={config.end}")
        if config.fill is not None and config.causal and config.pool != "last":
            raise ValueError(f"a causal tower that reads at {config.pool!r} never sees what `fill` puts there")
        self._config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Parameter(torch.empty(config.length, config.width))
        sizes = (config.depth, config.width, config.heads, config.hidden)
        self.blocks = TransformerEncoder(*sizes, activation=config.activation, epsilon=config.epsilon)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        bias = config.projection_bias
        self.projection = nn.Linear(config.width, config.out, bias=bias) if config.out else nn.Identity()
        self.width, self.token_width = config.out or config.width, config.width
        self._initialise()

    def _initialise(self) -> None:
        width, depth = self._config.width, self._config.depth
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            inner, wide = block.attention, block.perceptron
            for part in (inner.query, inner.key, inner.value):
                nn.init.normal_(part.weight, std=width**-0.5)
                nn.init.zeros_(part.bias)
            nn.init.zeros_(inner.out.bias)
            for last in (inner.out, wide.narrow):
                nn.init.normal_(last.weight, std=(width * 2 * depth) ** -0.5)
            nn.init.normal_(wide.widen.weight, std=(2 * width) ** -0.5)
        if isinstance(self.projection, nn.Linear):
            nn.init.normal_(self.projection.weight, std=width**-0.5)
            if self.projection.bias is not None:
                nn.init.zeros_(self.projection.bias)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "TextTransformer", **dataclasses.asdict(self._config)}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text.

        Args:
            tokens: token numbers.
            mask: true where a token is real; the others are not attended to, or, with `fill`, give way to it. By
                default all are real.
        """
        ends = self.ends(tokens, mask)
        tokens, mask = self._filled(tokens, mask)
        if self._config.causal and not torch.compiler.is_compiling() and len(tokens):  # a graph has no such branch
            longest = int(ends.max()) + 1
            tokens, mask = tokens[:, :longest], None if mask is None else mask[:, :longest]
            if mask is not None and bool((mask | (torch.arange(longest, device=ends.device) > ends[:, None])).all()):
                mask = None  # what is read sees no padding, and attention without a mask is faster
        return F.normalize(self.embed(self.words(tokens), ends, mask), dim=-1)

    def ends(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Int64[Tensor, " B"]:
        """The position at which each text is read.

        Args:
            tokens: token numbers.
            mask: true where a token is real; by default all are.

        Raises:
            DeixisError: a text that is not empty has no token `end`.
        """
        if self._config.pool == "last":
            length = tokens.shape[1] if self._config.fill is None else max(self._config.length, tokens.shape[1])
            return torch.full_like(tokens[:, 0], length - 1)
        if self._config.pool == "argmax":
            return tokens.argmax(dim=1)
        found = tokens.eq(cast(int, self._config.end))
        real = torch.ones_like(found) if mask is None else mask
        if not torch.compiler.is_compiling() and bool((~found.any(dim=1) & real.any(dim=1)).any()):
            raise DeixisError(
                f"A text has no token {self._config.end}, at which this tower reads it.",
                "Use the tokenizer that belongs to the model, and let it end cut texts, too.",
            )
        return found.int().argmax(dim=1)

    def embed(
        self, words: Float[Tensor, "B L F"], ends: Int64[Tensor, " B"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Embeddings as they come, not scaled to length 1.

        Args:
            words: word embeddings (before positions are added) that may come from anywhere, say from a learned prompt.
            ends: the position at which each text is read.
            mask: true where a token may be looked at; by default everywhere.
        """
        states = self.blocks(*self._enter(words, mask), causal=self._config.causal)
        rows = torch.arange(states.shape[0], device=states.device)
        return self.projection(self.norm(states[rows, ends]))

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and those before it."""
        return self._config.causal

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word embeddings, before positions are added."""
        return self.words(tokens)

    def kv_cache(self, words: Float[Tensor, "G P F"]) -> list[KeysAndValues]:
        """Keys and values of the first P words of texts, for `from_embeddings`; causal towers only."""
        return self.blocks.kv_cache(words + self.positions[: words.shape[1]])

    def from_embeddings(
        self,
        words: Float[Tensor, "B L F"],
        mask: Bool[Tensor, "B L"],
        kv_cache: Sequence[KeysAndValues] | None = None,
    ) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text, from word embeddings that may come from anywhere.

        Args:
            words: before positions are added; what they hold behind the end of a text is read as padding is.
            mask: true from the first word of a text to its end.
            kv_cache: of what comes before all these words, as the method of that name gives it; one of its G rows
                serves B / G rows.
        """
        ends = mask.sum(dim=1) - 1
        if kv_cache is not None:
            length = kv_cache[0][0].shape[2]
            states = self.blocks.forward_cached(words + self.positions[length : length + words.shape[1]], kv_cache)
            states = self.projection(self.norm(states[torch.arange(len(states), device=states.device), ends]))
            return F.normalize(states, dim=-1)
        words = self._filled_words(words, mask)
        if self._config.pool == "last":
            ends = torch.full_like(ends, words.shape[1] - 1)
        return F.normalize(self.embed(words, ends, self._seen(mask)), dim=-1)

    def hidden(
        self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[Float[Tensor, "B L F"]]:
        """The states before the first block and after each; `norm` has not been applied."""
        return self.blocks.each(*self._enter(words, mask), causal=self._config.causal)

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last block after the norm, from word embeddings that may come from anywhere.

        Args:
            words: before positions are added.
            mask: true from the first word of a text to its end.
        """
        length = words.shape[1]
        return self.norm(self.hidden(self._filled_words(words, mask), self._seen(mask))[-1])[:, :length]

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """Every token in the shared space, through what the one that is read goes through. Not normalised.

        Real are the tokens that the mask says (by default all), up to the end of a text where the tower knows one.
        """
        length = tokens.shape[1]
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        whole, seen = self._filled(tokens, None if self._config.causal else mask)
        states = self.projection(self.norm(self.hidden(self.words(whole), seen)[-1]))[:, :length]
        if self._config.pool != "last":
            real = real & (torch.arange(length, device=tokens.device) <= self.ends(tokens, mask)[:, None])
        return TokenStates(states, real)

    def _seen(self, mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"] | None:
        """The mask, where attention needs it: a causal tower sees no padding, and another may read its filling."""
        return mask if self._config.fill is None and not self._config.causal else None

    def _filled_words(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B M F"]:
        """Texts of full length, where the tower wants that; what is not `mask` is filling."""
        fill, missing = self._config.fill, self._config.length - words.shape[1]
        if fill is None:
            return words
        words = torch.where(mask[..., None], words, self.words.weight[fill])
        return torch.cat([words, self.words.weight[fill].expand(len(words), max(0, missing), -1)], dim=1)

    def _filled(
        self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None
    ) -> tuple[Int64[Tensor, "B M"], Bool[Tensor, "B M"] | None]:
        """Texts of full length without padding, where the tower wants that."""
        fill, missing = self._config.fill, self._config.length - tokens.shape[1]
        if fill is None or missing < 0:
            return tokens, mask
        return F.pad(tokens if mask is None else tokens.masked_fill(~mask, fill), (0, missing), value=fill), None

    def _enter(
        self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"] | None
    ) -> tuple[Float[Tensor, "B L F"], Bool[Tensor, "B 1 L"] | None]:
        """What the first block is given: states, and who may be looked at."""
        length = words.shape[1]
        if length > self._config.length:
            raise DeixisError(
                f"A text has {length} tokens, and this tower has positions for {self._config.length}.",
                "Cut the texts, or load the model with another context length.",
            )
        return words + self.positions[:length], None if mask is None else mask[:, None, :]
