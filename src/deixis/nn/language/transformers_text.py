"""Text encoders of the transformers package as text towers: its network, a pooling of its states, and a projection."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.layers.pooling import masked_mean
from deixis.nn.transformers_networks import create, settings_of
from deixis.types.outputs import TokenStates

__all__ = ["TransformersText", "TransformersTextConfig"]


@dataclasses.dataclass(frozen=True)
class TransformersTextConfig:
    """Layout of a text tower from transformers.

    Attributes:
        network: what the network's config says, `model_type` among it.
        length: tokens of a text at the most.
        out: width of the shared space (D).
        pool: `mean` of the real tokens, `class` (the first), `pooler` (the network's own layer on the first), `max`.
        projection: widths of the linear maps behind the pooling, with GELU between; none: there is no projection.
        projection_bias: whether they have biases.
        width: of the network's states, where it is not that of its word embeddings.
    """

    network: dict[str, Any]
    length: int
    out: int
    pool: Literal["mean", "class", "pooler", "max"] = "mean"
    projection: tuple[int, ...] = ()
    projection_bias: bool = False
    width: int | None = None


class TransformersText(nn.Module):
    """A text encoder of transformers that ends in a space shared with images.

    What is padding is masked, and stands as the network's own padding token. The weights have no values before they are
    read from a file.

    Args:
        config: layout.

    Raises:
        DeixisError: transformers is not installed, or knows no such network.
    """

    causal = False

    def __init__(self, config: TransformersTextConfig) -> None:
        super().__init__()
        self._config = config
        self.transformer = create(config.network, pooler=config.pool == "pooler")
        inside: Any = self.transformer
        self._padding = int(inside.config.pad_token_id or 0)
        self.token_width = config.width or int(inside.get_input_embeddings().weight.shape[1])
        widths = (self.token_width, *config.projection)
        maps: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            maps += [nn.GELU()] * bool(maps) + [nn.Linear(before, after, bias=config.projection_bias)]
        self.projection = nn.Sequential(*maps)
        self.width = widths[-1]
        if self.width != config.out:
            raise DeixisError(
                f"The text encoder gives vectors of {self.width} numbers, and the shared space has {config.out}.",
                "Take the config that came with the weights.",
            )

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        told = {**dataclasses.asdict(self._config), "network": settings_of(self.transformer)}
        return {"kind": "TransformersText", **told}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real (by default everywhere)."""
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        return self._embed(self._run(mask, input_ids=tokens.masked_fill(~mask, self._padding)), mask)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """The states of the last layer, each through the projection; not normalised."""
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        states = self._run(mask, input_ids=tokens.masked_fill(~mask, self._padding)).last_hidden_state
        return TokenStates(self.projection(states), mask)

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word embeddings, before positions are added."""
        inside: Any = self.transformer
        words: Tensor = inside.get_input_embeddings()(tokens)
        return words

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last layer, from word embeddings that may come from anywhere."""
        states: Tensor = self._run(mask, inputs_embeds=words).last_hidden_state
        return states

    def from_embeddings(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text, from word embeddings that may come from anywhere."""
        return self._embed(self._run(mask, inputs_embeds=words), mask)

    def _run(self, mask: Bool[Tensor, "B L"], **inputs: Tensor) -> Any:
        if mask.shape[1] > self._config.length:
            raise DeixisError(
                f"A text has {mask.shape[1]} tokens, and this tower takes {self._config.length}.", "Cut the texts."
            )
        return self.transformer(attention_mask=mask.long(), **inputs)

    def _embed(self, output: Any, mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        return F.normalize(self.projection(self._pool(output, mask)), dim=-1)

    def _pool(self, output: Any, mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B F"]:
        states: Tensor = output.last_hidden_state
        if self._config.pool == "pooler":
            pooled: Tensor = output.pooler_output
            return pooled
        if self._config.pool == "class":
            return states[:, 0]
        if self._config.pool == "max":
            return states.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        return masked_mean(states, mask)
