"""Networks of timm as image towers: the network, perhaps a pooling of its last map, and a projection."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.layers.positions import require_side
from deixis.nn.unfilled import Unfilled
from deixis.nn.vision.pyramid import Level, feature_maps, final_map, levels_of
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["TimmTower", "TimmTowerConfig"]


@dataclasses.dataclass(frozen=True)
class TimmTowerConfig:
    """Layout of an image tower from timm.

    Attributes:
        network: its name in timm.
        image_size: side of the square images.
        out: width of the shared space (D).
        pool: timm's name of the pooling of the last states (`token`, `avg`, `map`); empty: the network's own;
            `abs_attn` and `rot_attn`: one query over the last map, with learned or rotary positions.
        projection: `linear` or `mlp` behind the network; `classifier`: the network's own last layer; `none`.
        projection_bias: whether `linear` and the last layer of `mlp` have a bias.
    """

    network: str
    image_size: int
    out: int
    pool: str = "avg"
    projection: Literal["linear", "mlp", "classifier", "none"] = "linear"
    projection_bias: bool = False


class TimmTower(nn.Module):
    """A network of timm that ends in a space shared with texts.

    Names of tensors are timm's, below `trunk` and `head`. The weights have no values before they are read from a file.

    Args:
        config: layout.

    Raises:
        DeixisError: the installed timm has no such network.
    """

    def __init__(self, config: TimmTowerConfig) -> None:
        super().__init__()
        self._config = config
        self.trunk = _network(config)
        inside: Any = self.trunk
        self.token_width = int(inside.num_features)
        self.feature_width = int(getattr(inside, "head_hidden_size", self.token_width))
        with Unfilled():
            self.head = _head(self.trunk, config, self.feature_width)
        bare = config.projection == "none" and config.pool not in _QUERIES
        self.width = self.feature_width if bare else config.out
        if self.width != config.out:
            raise DeixisError(
                f"{config.network} gives vectors of {self.width} numbers, and the shared space has {config.out}.",
                "Take the config that came with the weights.",
            )
        self._levels = levels_of(self.trunk, self.token_width)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "TimmTower", **dataclasses.asdict(self._config)}

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the maps that `feature_maps` gives."""
        return self._levels

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, pooled states before the projection, and doubt 1, which the tower can't estimate."""
        require_side(images, self._config.image_size)
        embedding, features = self._pool(self._inside.forward_features(images))
        return ImageStates(F.normalize(embedding, dim=-1), features, torch.ones_like(features[:, 0]))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells of the last map in the shared space, not normalised: each through what the pooled state goes
        through, as if all cells were equal to it."""
        cells = self.cells(images)
        grid = (cells.shape[2], cells.shape[3])
        rows = cells.flatten(2).transpose(1, 2)
        embedding, _ = self._pool(self._alone(rows.flatten(0, 1), grid))
        states = embedding.unflatten(0, rows.shape[:2])
        return TokenStates(states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device), grid)

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The last map, before pooling; class and register tokens are left out."""
        require_side(images, self._config.image_size)
        return final_map(self.trunk, images)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B F h w"]]:
        """One map a stride, from the finest to the coarsest."""
        require_side(images, self._config.image_size)
        return feature_maps(self.trunk, images)

    @property
    def _inside(self) -> Any:
        return self.trunk

    def _pool(self, states: Float[Tensor, "B ..."]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B F"]]:
        """Embeddings and pooled features of what the network gives before its pooling."""
        if self._config.pool in _QUERIES:
            return self.head(states), states.mean(dim=(2, 3))
        pooled: Tensor = self._inside.forward_head(states, pre_logits=True)
        features = pooled.flatten(1)
        if self._config.projection == "classifier":
            return self._inside.forward_head(states), features
        return self.head(features), features

    def _alone(self, states: Float[Tensor, "N F"], grid: tuple[int, int]) -> Float[Tensor, "N ..."]:
        """States as the network would give them for images that are the same everywhere."""
        if self._config.pool == "abs_attn":  # has one position a cell
            return states[:, :, None, None].expand(-1, -1, *grid)
        if hasattr(self.trunk, "num_prefix_tokens"):
            return states[:, None].expand(-1, int(self._inside.num_prefix_tokens) + 1, -1)
        last = getattr(self.trunk, "output_fmt", "NCHW") == "NHWC"
        return states[:, None, None, :] if last else states[:, :, None, None]


_QUERIES = ("abs_attn", "rot_attn")


def _network(config: TimmTowerConfig) -> nn.Module:
    """The network of timm, with the classifier and the pooling that the config asks for."""
    import timm

    if not timm.is_model(config.network.partition(".")[0]):
        raise DeixisError(
            f"The installed timm {timm.__version__} has no network {config.network!r}.",
            "Upgrade it: pip install --upgrade timm (those of open_clip 3.3 are all in timm 1.0.31).",
        )
    if config.pool in _QUERIES:
        return _created(config.network, num_classes=0, global_pool="")
    if config.projection in ("classifier", "none"):
        classes = config.out if config.projection == "classifier" else 0
        return _created(config.network, num_classes=classes, global_pool=config.pool)
    return _created(config.network, num_classes=0, **({"global_pool": config.pool} if config.pool else {}))


def _created(name: str, **options: Any) -> nn.Module:
    """A network whose weights are to be read: on the meta device where that loses nothing, else without values."""
    import timm

    with Unfilled(), torch.device("meta"):
        network: nn.Module = timm.create_model(name, **options)
    stored = network.state_dict()
    if all(buffer in stored for buffer, _ in network.named_buffers()):
        return network
    with Unfilled():  # tables of positions that no file holds must be computed
        real: nn.Module = timm.create_model(name, **options)
    return real


def _head(network: nn.Module, config: TimmTowerConfig, width: int) -> nn.Sequential:
    """What follows the network; names as open_clip's."""
    from timm.layers.attention_pool2d import AttentionPool2d, RotAttentionPool2d
    from timm.layers.mlp import Mlp

    head = nn.Sequential()
    if config.pool == "abs_attn":
        size: Any = getattr(network, "default_cfg", {}).get("pool_size")
        head.add_module("pool", AttentionPool2d(width, feat_size=size, out_features=config.out))
    elif config.pool == "rot_attn":
        head.add_module("pool", RotAttentionPool2d(width, out_features=config.out))
    width = config.out if config.pool in _QUERIES else width
    if config.projection == "linear":
        head.add_module("proj", nn.Linear(width, config.out, bias=config.projection_bias))
    elif config.projection == "mlp":
        head.add_module("mlp", Mlp(width, 2 * config.out, config.out, bias=(True, config.projection_bias)))
    return head
