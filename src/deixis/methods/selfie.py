"""Selfie: a tower learns from images alone which of the masked patches belongs to which place.

An image is cut into a grid of patches, each of which passes through the patch network alone:

    h_i = mean of the map of patch i
    u = transformer([u0; h_i (+ e_pos(i)) for the patches that are given])[0]
    L = mean over masked places m of - log softmax over the masked patches m' of (u + e_pos(m)) . h_m'

with e_pos(i) the sum of a row's and a column's embedding. The other masked patches of the same image are all that a
patch can be mistaken for; nothing is divided by a temperature, nothing scaled to length 1, and targets get their
gradient, too (arXiv 1906.02940, section 3). The trivial level of L is ln M.

There is no code of the authors. What is our reading of the paper:
* `positions`: whether the patches that are given carry their places into the transformer. The paper is silent on it as
  far as we could find out; the public reimplementation leaves them out. Ours are with places.
* A quarter of the patches is masked, as in that reimplementation; the paper's share could not be confirmed, and neither
  could its three layers of 32 heads.
* Patches pass through a whole tower, or all of it but its last groups (`behind`); the paper takes the first three
  groups of a ResNet-50, whose fourth is new when labels come: `transplant` renews what lies behind.
* `target="pixels"` is no part of the paper but its control: with everything else as it is, a linear layer on
  u + e_pos(m) gives the pixels of the patch that is masked there.
* Norms over a batch of patches learn other statistics than those of whole images: take a tower with group norms, or
  renew them before use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.collapse import collapse_warnings, unit_deviation
from deixis.nn.layers.attention import Attention
from deixis.nn.layers.class_attention import heads_within
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import feature_map, parameters_before
from deixis.ops.collective import mean_count
from deixis.types import (
    Arm,
    Augment,
    Batch,
    Card,
    Claim,
    Crop,
    FieldSpec,
    Losses,
    OptimSpec,
    Part,
    Progress,
    Stage,
    TokenStates,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder

__all__ = [
    "CARD",
    "CLAIMS",
    "AttentionPooling",
    "Config",
    "GridPositions",
    "Method",
    "group_map",
    "patch_selection",
    "patchify",
    "random_patch_split",
    "transplant",
]

CARD = Card(
    title="Selfie: Self-supervised Pretraining for Image Embedding",
    year=2019,
    kind="trained",
    needs=(FieldSpec("images", "B 3 H W"),),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image", "image_tokens"),
    zero_gradient=("attention.key.bias",),
    arxiv="1906.02940",
    tags=("self-supervised", "images without text", "few labels"),
)

_PATIENCE, _CHANCE = 200, 1.2
"""Steps after which patches should be found so many times as often as by chance."""


@dataclass(frozen=True)
class Config:
    """Settings of Selfie.

    Attributes:
        encoder: the image tower that is trained, patch by patch.
        behind: strides at the end of the tower that patches do not pass through; a tower of one stride is taken whole.
        patch: side of a patch, in pixels; the images' sides are multiples of it.
        masked: share of the patches that is hidden.
        positions: whether the patches that are given carry their places.
        target: what is looked for at a masked place: its `patch` among the masked ones, or its `pixels`.
        depth: layers of the transformer.
        heads: of its attention, at the most: the largest number up to it that divides the width of the features.
        hidden: width inside its perceptrons.
        dropout: in it.
        optim: how it is optimised.
        view: size of the images, and how they are varied.
    """

    encoder: str = "scratch:resnet:base:128"
    behind: int = 0
    patch: int = 32
    masked: float = 0.25
    positions: bool = True
    target: Literal["patch", "pixels"] = "patch"
    depth: int = 3
    heads: int = 8
    hidden: int = 640
    dropout: float = 0.1
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.05, schedule="cosine", warmup=0.05)
    view: ViewSpec = ViewSpec(size=128, augment=Augment(scale=(0.5, 1.0)))

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower on nine patches, of which three are masked."""
        return cls(
            encoder="tiny",
            patch=8,
            masked=1 / 3,
            depth=1,
            heads=2,
            hidden=16,
            dropout=0.0,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=24, augment=Augment(scale=(1.0, 1.0), flip=0.0)),
        )

    @classmethod
    def desk(cls) -> Config:
        """All of a new ResNet for 128 pixels, sixteen patches, four of them masked."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """224 pixels in 49 patches of 32 through ResNet-50's first three groups; what is not known is the public
        reimplementation's."""
        return cls(
            encoder="timm:resnet50:untrained",
            behind=1,
            patch=32,
            heads=32,
            optim=OptimSpec(
                "sgd", learning_rate=0.4, weight_decay=1e-4, momentum=0.9, nesterov=True, schedule="cosine", warmup=0.05
            ),
            view=ViewSpec(size=224, augment=Augment()),
        )


def patchify(images: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B N C P P"]:
    """The patches of a grid, row by row.

    Args:
        images: whose sides are multiples of `side`.
        side: of a patch.

    Raises:
        DeixisError: they are not.
    """
    height, width = images.shape[2:]
    if height % side or width % side:
        raise DeixisError(
            f"Images of {height} x {width} can't be cut into patches of {side} pixels.",
            "Choose a patch that divides both sides.",
        )
    return images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def random_patch_split(draws: Float[Tensor, "B N"], masked: int) -> tuple[Int64[Tensor, "B K"], Int64[Tensor, "B M"]]:
    """Which patches are given, and which are masked, in ascending order.

    Args:
        draws: a random number a patch.
        masked: M: those with the smallest numbers.
    """
    order = draws.argsort(dim=1)
    return order[:, masked:].sort(1).values, order[:, :masked].sort(1).values


class GridPositions(nn.Module):
    """An embedding a row and one a column, added.

    Args:
        grid: rows and columns.
        width: of the embeddings.
    """

    def __init__(self, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.row, self.column = (nn.Parameter(0.02 * torch.randn(count, width)) for count in grid)

    def forward(self, places: Int64[Tensor, "B M"]) -> Float[Tensor, "B M D"]:
        """Of places that are counted row by row."""
        columns = len(self.column)
        return self.row[places // columns] + self.column[places % columns]


class _Layer(nn.Module):
    """norm(x + attention(x)), then norm(x + perceptron(x))."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(width, heads), nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        states = self.attention_norm(states + self.drop(self.attention(states)))
        return self.norm(states + self.drop(self.perceptron(states)))


class AttentionPooling(nn.Module):
    """A learned vector that reads a set: what a post-norm transformer makes of it.

    Args:
        width: of the set's vectors (D).
        heads: of the attention.
        hidden: width inside the perceptrons.
        depth: layers.
        dropout: of what is added in each layer.
    """

    def __init__(self, width: int, heads: int, hidden: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(_Layer(width, heads, hidden, dropout) for _ in range(depth))

    def forward(self, states: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
        """One vector a set, whatever the order of its members."""
        states = torch.cat([self.query.expand(len(states), 1, -1), states], dim=1)
        for layer in self.layers:
            states = layer(states)
        return states[:, 0]


def patch_selection(
    queries: Float[Tensor, "B M D"], targets: Float[Tensor, "B M D"]
) -> tuple[Float[Tensor, "B M M"], Float[Tensor, " B"]]:
    """Scores of each masked place (rows) with each masked patch of the same image, and the cross-entropy of images.

    Args:
        queries: u + e_pos(m).
        targets: h_m, in the same order.
    """
    logits = queries @ targets.transpose(1, 2)
    wanted = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return logits, F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none").mean(1)


def group_map(tower: Any, images: Float[Tensor, "B 3 H W"], behind: int) -> Float[Tensor, "B D h w"]:
    """The map of a tower, or of its groups but the last ones.

    Args:
        tower: an `ImageEncoder`.
        images: of any size.
        behind: how many of its maps come after the one that is wanted; the first where it has fewer.
    """
    if not behind or len(tower.strides) == 1:
        return feature_map(tower, images)
    maps: list[Tensor] = tower.feature_maps(images)
    return maps[max(0, len(maps) - 1 - behind)]


def transplant(tower: Any, behind: int, seed: int = 0) -> tuple[str, ...]:
    """Renews what lies behind the groups of a tower that were pre-trained.

    Args:
        tower: an `ImageEncoder`; it is changed.
        behind: see `group_map`.
        seed: of the new weights.

    Returns:
        The names of the modules that were renewed.
    """
    kept = set(parameters_before(tower, partial(group_map, behind=behind)))
    renewed = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in tower.named_modules():
            own = [f"{name}.{each}" for each, _ in module.named_parameters(recurse=False)]
            if own and kept.isdisjoint(own) and hasattr(module, "reset_parameters"):
                module.reset_parameters()
                renewed.append(name)
    return tuple(renewed)


class Method(nn.Module):
    """A patch network, positions, and a transformer that pools what is given."""

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.config, self.encoder = config, share_batch_norms(encoder)
        size = config.view.size or encoder.preprocess.size
        grid = (size // config.patch, size // config.patch)
        self._masked = round(config.masked * grid[0] * grid[1])
        if size % config.patch or not 2 <= self._masked < grid[0] * grid[1]:
            raise DeixisError(
                f"Of {size} x {size} pixels in patches of {config.patch}, {self._masked} patches would be masked.",
                "Choose a patch that divides the side, and a share that masks two or more and leaves some.",
            )
        width = self._width(encoder)
        heads = heads_within(width, config.heads)
        self.positions = GridPositions(grid, width)
        self.pooling = AttentionPooling(width, heads, config.hidden, config.depth, config.dropout)
        if config.target not in ("patch", "pixels"):  # an override on the command line is not checked by its type
            raise DeixisError(f"target is {config.target!r}.", "It is patch or pixels.")
        if config.target == "pixels":
            self.pixels = nn.Linear(width, 3 * config.patch**2)
        self._trained = parameters_before(encoder, partial(group_map, behind=config.behind))

    def _width(self, encoder: ImageEncoder) -> int:
        first, side = next(iter(self.encoder.parameters())), self.config.patch
        stride = encoder.strides[max(0, len(encoder.strides) - 1 - self.config.behind)]
        if side < stride:
            raise DeixisError(
                f"A patch of {side} pixels is smaller than a cell of the tower, which is {stride} pixels wide.",
                f"Set patch={stride} or more.",
            )
        with torch.no_grad(), evaluating(self.encoder):
            return group_map(encoder, torch.zeros(1, 3, side, side, device=first.device), self.config.behind).shape[1]

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind rests."""
        own = ("positions.", "pooling.", *("pixels." for _ in range(self.config.target == "pixels")))
        return (Stage(trainable=(*(f"encoder.{name}" for name in self._trained), *own)),)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """h: one vector a patch, row by row."""
        patches = patchify(images, self.config.patch)
        cells = group_map(self.encoder, patches.flatten(0, 1), self.config.behind)
        return cells.mean(dim=(2, 3)).unflatten(0, patches.shape[:2])

    def queries(
        self, features: Float[Tensor, "B N D"], given: Int64[Tensor, "B K"], masked: Int64[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B M D"]]:
        """u, and u + e_pos(m) of each masked place.

        Args:
            features: of all patches.
            given: which of them are read.
            masked: which are looked for.
        """
        context = _chosen(features, given)
        if self.config.positions:
            context = context + self.positions(given)
        pooled = self.pooling(context)
        return pooled, pooled[:, None] + self.positions(masked)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """Batch norms mix the samples of a batch, so there is no `encode` of a part of it."""
        assert batch.images is not None
        features = self.features(batch.images)
        draws = progress.uniform("patches", batch.ids, features.shape[1]).to(features.device)
        given, masked = random_patch_split(draws, self._masked)
        _, queries = self.queries(features, given, masked)
        metrics = {"deviation": unit_deviation(features.detach().flatten(0, 1))}
        count = mean_count(float(len(batch))).to(features)
        if self.config.target == "pixels":
            wanted = _chosen(patchify(batch.images, self.config.patch).flatten(2), masked)
            errors = (self.pixels(queries) - wanted).square().mean(dim=(1, 2))
            return Losses({"pixels": errors.sum() / count}, metrics)
        logits, losses = patch_selection(queries, _chosen(features, masked))
        right = (logits.detach().argmax(2) == torch.arange(self._masked, device=logits.device)).float()
        return Losses(
            {"selection": losses.sum() / count},
            {"trivial_loss": math.log(self._masked), "patches_found": right.mean(), **metrics},
        )

    def warnings(self, values: Mapping[str, float], progress: Progress) -> dict[str, str]:
        """Of a collapse, and of a loss that stays at its trivial level."""
        found = collapse_warnings(values)
        right = values.get("patches_found", 1.0)
        if progress.step >= _PATIENCE and right < _CHANCE / self._masked:
            found["stuck at ln M"] = (
                f"The right patch is found in {right:.2f}, about as often as by chance: raise the "
                "learning rate, or give larger patches or more images."
            )
        return found

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The mean of the map of the whole image, rows of length 1."""
        return F.normalize(group_map(self.encoder, images, self.config.behind).mean(dim=(2, 3)), dim=1)

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells of the whole image."""
        cells = group_map(self.encoder, images, self.config.behind)
        states = cells.flatten(2).transpose(1, 2)
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))


def _chosen(features: Float[Tensor, "B N D"], places: Int64[Tensor, "B M"]) -> Float[Tensor, "B M D"]:
    return features.gather(1, places[..., None].expand(-1, -1, features.shape[2]))


_GARMENTS = (*("ankle boot", "bag", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "t-shirt", "trousers"),)
_NEW = {"view": ViewSpec(size=32, augment=Augment(scale=(0.6, 1.0))), "patch": 8, "depth": 2, "hidden": 128}
_CROP = ViewSpec(size=0, crops=(Crop(1, 32, Augment(scale=(0.6, 1.0))),))
_LABELS = {"names": _GARMENTS, "view": _CROP}
_GRID = {"optim.learning_rate": (1e-3, 2e-3), "data.rate": (1e-3, 2e-3)}

CLAIMS = (
    Claim(
        "A tower that learned to put patches into their places names garments by 20 labels of each kind better than "
        "one that learned from the labels alone, and than one that learned to give the patches' pixels.",
        arms={
            "patches": Arm("selfie", _NEW, grid=_GRID),
            "labels alone": Arm("supervised", _LABELS, {"pictures": "labelled"}, _GRID),
            "pixels": Arm("selfie", {**_NEW, "target": "pixels"}, grid=_GRID),
        },
        metric="fine_tuned",
        statistic="final",
        minimum_effect=0.02,
        data="few_labels",
        budget=60_000,
        trial=0.5,
        cheap="labels alone",
    ),
    Claim(
        "Patches that are given with their places teach a tower more than patches whose places are not known.",
        arms={
            "with places": Arm("selfie", _NEW),
            "without places": Arm("selfie", {**_NEW, "positions": False}),
        },
        metric="fine_tuned",
        statistic="final",
        minimum_effect=0.02,
        data="few_labels",
        budget=60_000,
        primary=False,
        cheap="without places",
    ),
)
"""The paper reports gains where few labels are left, most at 5 %, over training from labels alone. Labels alone train
as long here as the pretext task and the same fine-tuning follows, and pixels are the same network's other task."""
