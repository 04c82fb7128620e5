"""Image encoders of the transformers package as image towers: its network, a pooling, and a projection."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.positions import require_side
from deixis.nn.transformers_networks import create, settings_of
from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["TransformersImage", "TransformersImageConfig"]


@dataclasses.dataclass(frozen=True)
class TransformersImageConfig:
    """Layout of an image tower from transformers.

    Attributes:
        network: what the network's config says, `model_type` among it.
        image_size: side of the square images.
        width: of the network's states (F).
        stride: pixels of the image a cell of the last map, along each side.
        out: width of the shared space (D); None: the pooled state is the embedding.
        pool: `pooler` (what the network itself gives as pooled), `class` (the first state).
        projection_bias: whether the projection has a bias.
    """

    network: dict[str, Any]
    image_size: int
    width: int
    stride: int
    out: int | None
    pool: Literal["pooler", "class"] = "pooler"
    projection_bias: bool = False


class TransformersImage(nn.Module):
    """An image encoder of transformers that ends in a space shared with texts.

    The weights have no values before they are read from a file.

    Args:
        config: layout.

    Raises:
        DeixisError: transformers is not installed, or knows no such network.
    """

    def __init__(self, config: TransformersImageConfig) -> None:
        super().__init__()
        self._config = config
        self.network = create(config.network)
        bias = config.projection_bias
        self.projection = nn.Linear(config.width, config.out, bias=bias) if config.out else nn.Identity()
        self.width, self.feature_width = config.out or config.width, config.width

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        told = {**dataclasses.asdict(self._config), "network": settings_of(self.network)}
        return {"kind": "TransformersImage", **told}

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the one map that `feature_maps` gives."""
        return (Level(self._config.width, self._config.stride),)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, pooled states before the projection, and doubt 1, which the tower can't estimate."""
        output = self._run(images)
        features: Tensor = output.pooler_output if self._config.pool == "pooler" else output.last_hidden_state[:, 0]
        embedding = F.normalize(self.projection(features), dim=-1)
        return ImageStates(embedding, features, torch.ones_like(features[:, 0]))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells of the last map, each through the projection; not normalised."""
        cells = self.cells(images)
        states = self.projection(cells.flatten(2).transpose(1, 2))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The last states where they lie; the class token, where there is one, is left out."""
        states: Tensor = self._run(images).last_hidden_state
        if states.ndim == 4:
            return states
        side = self._config.image_size // self._config.stride
        return states[:, -(side * side) :].transpose(1, 2).unflatten(2, (side, side))

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B F h w"]]:
        """The cells, as there is one stride."""
        return [self.cells(images)]

    def _run(self, images: Float[Tensor, "B 3 H W"]) -> Any:
        require_side(images, self._config.image_size)
        return self.network(pixel_values=images)
