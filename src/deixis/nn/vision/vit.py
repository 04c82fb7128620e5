"""Vision transformers in the layouts of CLIP, open_clip and SigLIP (Dosovitskiy et al. 2021; Radford et al. 2021)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention
from deixis.nn.layers.positions import require_side
from deixis.nn.layers.transformer import Activation, Mlp, TransformerBlock, TransformerEncoder
from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["AttentionMapPool", "Vit", "VitConfig"]


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Sizes and layout of a vision transformer; the defaults are CLIP's but for the activation (its is `quick_gelu`).

    Attributes:
        image_size: side of the square images.
        patch_size: side of a patch; what is left at the right and the bottom is not seen.
        width: of the states.
        depth: blocks.
        heads: of each attention.
        hidden: width inside each perceptron.
        out: width of the shared space (D); None: the pooled state is the embedding and there is no projection.
        activation: `gelu`, `quick_gelu` or `gelu_tanh`.
        pool: `class` (the class token), `mean` (of the patches) or `map` (SigLIP's attention head).
        class_token: whether there is one.
        pre_norm: whether a layer norm stands before the first block.
        norm_after_pool: whether the last layer norm follows the pooling (for `class` it is the same).
        patch_bias: whether the patch convolution has a bias.
        projection_bias: whether the projection has a bias.
        epsilon: of the layer norms.
        patch_dropout: share of the patches left out in training.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    hidden: int
    out: int | None
    activation: Activation = "gelu"
    pool: Literal["class", "mean", "map"] = "class"
    class_token: bool = True
    pre_norm: bool = True
    norm_after_pool: bool = False
    patch_bias: bool = False
    projection_bias: bool = False
    epsilon: float = 1e-5
    patch_dropout: float = 0.0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size // self.patch_size, self.image_size // self.patch_size


class AttentionMapPool(nn.Module):
    """SigLIP's head: one learned query looks at all states; then a perceptron with a residual (Zhai et al. 2022).

    Args:
        width: of the states.
        heads: of the attention.
        hidden: width inside the perceptron.
        activation: one of `ACTIVATIONS`.
        epsilon: of the layer norm.
    """

    def __init__(self, width: int, heads: int, hidden: int, activation: Activation, epsilon: float) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(width))
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.perceptron = Mlp(width, hidden, activation)
        nn.init.trunc_normal_(self.probe, std=width**-0.5)

    def forward(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B F"]:
        """One state an image."""
        return self._end(self.attention(self.probe.expand(states.shape[0], 1, -1), memory=states))[:, 0]

    def alone(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B N F"]:
        """What `forward` would give for each state if it were the only one."""
        return self._end(self.attention.out(self.attention.value(states)))

    def _end(self, found: Float[Tensor, "B N F"]) -> Float[Tensor, "B N F"]:
        return found + self.perceptron(self.norm(found))


class Vit(nn.Module):
    """An image tower: patches, positions, blocks, pooling, projection.

    New weights are drawn as in the authors' code: class token, positions and projection normal with deviation
    1 / sqrt(width), the blocks as torch draws an attention and its linear maps.

    Args:
        config: sizes and layout.

    Raises:
        ValueError: the layout contradicts itself.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        if config.pool == "class" and not config.class_token:
            raise ValueError("pool='class' needs class_token=True")
        if config.image_size < config.patch_size:
            raise ValueError(f"no patch of {config.patch_size} pixels fits into an image of {config.image_size}")
        if not 0 <= config.patch_dropout < 1:
            raise ValueError(f"patch_dropout is a share from 0 to below 1, not {config.patch_dropout}")
        width, deviation = config.width, config.width**-0.5
        self._config, self.dropout = config, config.patch_dropout
        self.patches = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size, bias=config.patch_bias)
        self.class_token = nn.Parameter(deviation * torch.randn(width)) if config.class_token else None
        count = math.prod(config.grid) + config.class_token
        self.positions = nn.Parameter(deviation * torch.randn(count, width))
        self.pre_norm = nn.LayerNorm(width, eps=config.epsilon) if config.pre_norm else nn.Identity()
        sizes = (width, config.heads, config.hidden)
        self.blocks = TransformerEncoder(config.depth, *sizes, activation=config.activation, epsilon=config.epsilon)
        self.post_norm = nn.LayerNorm(width, eps=config.epsilon)
        self.head = AttentionMapPool(*sizes, config.activation, config.epsilon) if config.pool == "map" else None
        self.projection = nn.Linear(width, config.out, bias=config.projection_bias) if config.out else nn.Identity()
        self.width, self.feature_width = config.out or width, width
        self._initialise()

    def _initialise(self) -> None:
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            for part in (block.attention.query, block.attention.key, block.attention.value):
                nn.init.uniform_(part.weight, -((1.5 / self._config.width) ** 0.5), (1.5 / self._config.width) ** 0.5)
                nn.init.zeros_(part.bias)
            nn.init.zeros_(block.attention.out.bias)
        if isinstance(self.projection, nn.Linear):
            nn.init.normal_(self.projection.weight, std=self._config.width**-0.5)
            if self.projection.bias is not None:
                nn.init.zeros_(self.projection.bias)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "Vit", **dataclasses.asdict(self._config)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, pooled states before the projection, and doubt 1, which the tower can't estimate."""
        embedding, features = self.embed(images)
        return ImageStates(F.normalize(embedding, dim=-1), features, torch.ones_like(features[:, 0]))

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B F"]]:
        """Embeddings as they come, not scaled to length 1, and the pooled states they are projected from."""
        features = self._pool(self.blocks(self._enter(images)))
        return self.projection(features), features

    def hidden(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B N F"]]:
        """The states before the first block and after each; the class token, where there is one, is the first."""
        return self.blocks.each(self._enter(images))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The patches in the shared space, not normalised: each through what the pooled state goes through, as if it
        were alone in the picture. No patch is dropped."""
        states = self._patches(images)
        states = self.projection(states if self.head is None else self.head.alone(states))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, self._config.grid)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the one map that `feature_maps` gives."""
        return (Level(self._config.width, self._config.patch_size),)

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The patches after the last norm, where they lie; no patch is dropped."""
        return self._patches(images).transpose(1, 2).unflatten(2, self._config.grid)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B F h w"]]:
        """The cells, as there is one stride."""
        return [self.cells(images)]

    def _patches(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N F"]:
        return self.post_norm(self.blocks(self._enter(images, whole=True))[:, self._before :])

    @property
    def _before(self) -> int:
        """Positions before the first patch."""
        return int(self._config.class_token)

    def _enter(self, images: Float[Tensor, "B 3 H W"], whole: bool = False) -> Float[Tensor, "B N F"]:
        """What the first block is given."""
        require_side(images, self._config.image_size)
        states = self.patches(images).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            states = torch.cat([self.class_token.expand(states.shape[0], 1, -1), states], dim=1)
        states = states + self.positions
        return self.pre_norm(states if whole else self._drop(states))

    def _drop(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B M F"]:
        """Leaves out patches, others for each image, in training (Li et al. 2023, arXiv 2212.00794)."""
        if not self.training or not self.dropout:
            return states
        first, rest = states[:, : self._before], states[:, self._before :]
        count = max(1, int(rest.shape[1] * (1 - self.dropout)))
        kept = torch.rand(rest.shape[:2], device=rest.device).topk(count, dim=1).indices
        return torch.cat([first, rest.gather(1, kept[..., None].expand(-1, -1, rest.shape[-1]))], dim=1)

    def _pool(self, states: Float[Tensor, "B N F"]) -> Float[Tensor, "B F"]:
        if self._config.pool == "class":
            return self.post_norm(states[:, 0])
        after = self._config.norm_after_pool
        states = states if after else self.post_norm(states)
        pooled = states[:, self._before :].mean(dim=1) if self.head is None else self.head(states)
        return self.post_norm(pooled) if after else pooled
