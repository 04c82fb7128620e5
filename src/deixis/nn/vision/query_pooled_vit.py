"""A vision transformer that learned queries pool: each looks at all states, and the first one's answer is the image."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.layers.attention import attend
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types.outputs import TokenStates

__all__ = ["QueryPool", "QueryPooledVit", "QueryPooledVitConfig"]


@dataclasses.dataclass(frozen=True)
class QueryPooledVitConfig:
    """Sizes and layout.

    Attributes:
        vit: of the transformer; its `out` is the width of queries and embeddings.
        queries: how many there are.
        heads: of their attention.
    """

    vit: VitConfig
    queries: int = 256
    heads: int = 8


class QueryPool(nn.Module):
    """Queries, normalised, that attend to normalised states of another width (Yu et al. 2022, section 3.2).

    Args:
        width: of the states (F).
        out: of the queries and of what comes out (D).
        queries: how many; the first gives the result, the others belong to a decoder.
        heads: into how many parts the queries are cut.
    """

    def __init__(self, width: int, out: int, queries: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or out % heads:
            raise ValueError(f"a width of {out} cannot be cut into {heads} equal heads")
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(queries, out))
        self.query_norm, self.state_norm = nn.LayerNorm(out), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(out, out), nn.Linear(out, out)
        self.key, self.value = nn.Linear(width, out), nn.Linear(width, out)

    def forward(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B D"]:
        """One state an image."""
        states = self.state_norm(states)
        query = self.query(self.query_norm(self.queries[:1])).expand(len(states), 1, -1)
        found = attend(self._cut(query), self._cut(self.key(states)), self._cut(self.value(states)))
        return self.out(found.transpose(1, 2).flatten(2))[:, 0]

    def alone(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B N D"]:
        """What `forward` would give for each state if it were the only one."""
        return self.out(self.value(self.state_norm(states)))

    def _cut(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N d"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class QueryPooledVit(Vit):
    """`Vit` with a `QueryPool` in place of its pooling; norm and projection follow it.

    Args:
        config: sizes and layout.
    """

    def __init__(self, config: QueryPooledVitConfig) -> None:
        super().__init__(config.vit)
        self._settings, out = config, self.width
        self.query_pool = QueryPool(config.vit.width, out, config.queries, config.heads)
        self.post_norm = nn.LayerNorm(out, eps=config.vit.epsilon)
        self.projection = nn.Linear(out, out, bias=False)
        self.feature_width = out

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "QueryPooledVit", **dataclasses.asdict(self._settings)}

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The patches in the shared space, not normalised: each through what the pooled state goes through, as if it
        were alone in the picture."""
        states = self.projection(self.post_norm(self.query_pool.alone(self._patches(images))))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, self._config.grid)

    def _patches(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N F"]:
        return self.blocks(self._enter(images, whole=True))[:, self._before :]

    def _pool(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B D"]:
        return self.post_norm(self.query_pool(states))
