"""PixPro: features that know where: the same place in two crops of an image must look alike, cell by cell.

Of two crops, mirrored or not, an online network gives projections x [D, h, w], and a key network, its moving average,
projections x' of length 1. Cells are where they lie in the image, by the boxes of the crops:

    A_ij = 1 where |centre_i - centre_j| / (the larger of both crops' cell diagonals) < 0.7, else 0
    y_i  = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j) / |g(x_j)|        pixel propagation, then scaled to length 1
    L    = - 2 mean over images of [ sum_ij A_ij y_i x'_j / sum_ij A_ij ]     of crop 1 with 2, and of 2 with 1; added

y is what the cells of a crop that look alike say together (Xie et al., 2021, section 3). With `instance` a second
branch compares whole crops in the way of BYOL. L lies between -4, which a network that gives one and the same vector
everywhere reaches at once, and 4: a lower loss is no better network.

What differs from the paper, as in the authors' code:
* g(x_j) is scaled to length 1 before the sum.
* The mean is over positive pairs of an image and not over cells; an image without any counts as 0.
* Distances are in shares of the image's width and height: across a wide photo a share is longer than down it, so that
  its positives spread further along the long side.
* The average moves before the key network is used, hence here in `after_step`, by the momentum of the step that
  follows.

Ours: `pixel_contrast` is the paper's first task (section 3.1), which the authors' code does not have; its temperature
is that of a reimplementation. Any tower and any of its layers gives the cells. Batches go through whole, since batch
norms mix their samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.collapse import collapse_warnings, copies_found, unit_deviation
from deixis.nn.ema import MovingAverage, momentum_at
from deixis.nn.layers.heads import ProjectionHead
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import feature_map, parameters_before, tokens
from deixis.ops.collective import mean_count
from deixis.ops.effective_rank import effective_rank
from deixis.ops.precision import to_float32
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
    "Config",
    "Method",
    "PixelPropagation",
    "cell_centres",
    "pixel_consistency",
    "pixel_contrast",
    "positive_mask",
]

CARD = Card(
    title="Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning",
    year=2021,
    kind="trained",
    needs=(FieldSpec("views", "B V 3 H W"), FieldSpec("view_boxes", "B V 4", values="boxes")),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image", "image_tokens"),
    min_batch=2,
    non_gradient_state=("key_encoder", "key_projector", "key_instance"),
    zero_gradient=(
        *("attention.key.bias", "projector.linears.0.bias", "instance_predictor.linears.0.bias"),
        *("instance_projector.linears.0.bias", "instance_projector.linears.1.bias", "value.linears.0.bias"),
    ),
    venue="CVPR",
    arxiv="2011.10043",
    code="zdaxie/PixPro",
    tags=("self-supervised", "images without text", "dense features", "segmentation", "detection"),
)


@dataclass(frozen=True)
class Config:
    """Settings of PixPro.

    Attributes:
        encoder: the image tower that is trained.
        layer: of the tower, by name, that gives the cells; empty: the map that is pooled.
        layers: which of the tower's weights train: `all`, or `last` (the last block and what lies behind it).
        statistics: batch norms of the tower take the statistics of the batch and go on learning the running ones.
        hidden: width of the hidden layer of each head.
        width: of the projections that are compared (D).
        objective: of cells: `consistency` (L above), or `contrast` (with the other cells as negatives).
        predictor: of cells, in front of `consistency`: `propagation`, or `mlp` in its place.
        gamma: sharpness of the propagation.
        clamp: cosines below it count as it.
        transform: g of the propagation: `identity`, `conv1` (a linear map of each cell), or `conv2` (two, with a batch
            norm and ReLU between).
        ratio: distance of cells, in diagonals of the larger, below which they are the same place.
        temperature: of `contrast`.
        pixels: weight of the loss of cells; 0: the instance branch alone.
        instance: weight of the instance branch; 0: there is none.
        momentum: of the key network at the start; it rises to 1 by half a cosine.
        optim: how it is optimised.
        view: two groups of one crop each, which may differ in how they are varied.
    """

    encoder: str = "starter"
    layer: str = ""
    layers: Literal["all", "last"] = "all"
    statistics: bool = True
    hidden: int = 4096
    width: int = 256
    objective: Literal["consistency", "contrast"] = "consistency"
    predictor: Literal["propagation", "mlp"] = "propagation"
    gamma: float = 2.0
    clamp: float = 0.0
    transform: Literal["identity", "conv1", "conv2"] = "conv1"
    ratio: float = 0.7
    temperature: float = 0.3
    pixels: float = 1.0
    instance: float = 0.0
    momentum: float = 0.99
    optim: OptimSpec = OptimSpec(
        "lars", learning_rate=4.0, weight_decay=1e-5, schedule="cosine", warmup=0.05, floor=1e-6 / 4
    )
    view: ViewSpec = ViewSpec(
        size=0,
        boxes=True,
        crops=(
            Crop(1, 224, Augment(jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=1.0)),
            Crop(1, 224, Augment(jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.1, solarise=0.2)),
        ),
    )

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower, both branches."""
        return cls(
            encoder="tiny",
            hidden=16,
            width=8,
            instance=1.0,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=0, boxes=True, crops=(Crop(1, 32), Crop(1, 32))),
        )

    @classmethod
    def desk(cls) -> Config:
        """For some hundred to thousand photos on two cores: the last blocks of a trained tower, small crops."""
        return cls(
            layers="last",
            statistics=False,
            hidden=512,
            width=128,
            optim=OptimSpec(learning_rate=5e-4, weight_decay=1e-4, schedule="cosine", warmup=0.05),
            view=ViewSpec(
                size=0,
                boxes=True,
                crops=(
                    Crop(1, 160, Augment(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
                    Crop(
                        1, 160, Augment(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.1, solarise=0.2)
                    ),
                ),
            ),
        )

    @classmethod
    def paper(cls) -> Config:
        """As published: ResNet-50, batches of 1,024, 100 epochs of ImageNet, of which 5 warm up."""
        return cls(encoder="timm:resnet50:untrained")


def cell_centres(boxes: Float[Tensor, "B 4"], grid: tuple[int, int]) -> Float[Tensor, "B N 2"]:
    """Where the centres of a crop's cells lie in the image, row by row, as x and y.

    Args:
        boxes: x0 y0 x1 y1 of the crops in shares of the image; x0 > x1 of a mirrored one.
        grid: rows and columns of cells.
    """
    rows, columns = grid
    across = (torch.arange(columns, dtype=boxes.dtype, device=boxes.device) + 0.5) / columns
    down = (torch.arange(rows, dtype=boxes.dtype, device=boxes.device) + 0.5) / rows
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    x, y = x0 + (x1 - x0) * across, y0 + (y1 - y0) * down
    return torch.stack([x[:, None, :].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, columns)], dim=-1).flatten(
        1, 2
    )


def positive_mask(
    first: Float[Tensor, "B 4"], second: Float[Tensor, "B 4"], grid: tuple[int, int], ratio: float
) -> Bool[Tensor, "B N N"]:
    """Which cells of one crop (rows) are the same place as which of the other (columns).

    Args:
        first: boxes of one crop of each image, see `cell_centres`.
        second: of the other.
        grid: rows and columns of cells, of both.
        ratio: distance below which they are, in diagonals of a cell of the crop whose cells are larger.
    """
    distance = torch.cdist(cell_centres(first, grid), cell_centres(second, grid))
    diagonals = [
        torch.hypot((box[:, 2] - box[:, 0]) / grid[1], (box[:, 3] - box[:, 1]) / grid[0]) for box in (first, second)
    ]
    return distance / torch.maximum(*diagonals)[:, None, None] < ratio


def _rows(cells: Float[Tensor, "B D h w"]) -> Float[Tensor, "B N D"]:
    return cells.flatten(2).transpose(1, 2)


class PixelPropagation(nn.Module):
    """Each cell becomes the sum of what all cells say, weighed by how much they look like it.

    Args:
        width: of a cell (D).
        gamma: power of the cosine.
        clamp: the least cosine.
        transform: g: `identity`, `conv1` or `conv2`.
        hidden: width inside of `conv2`.
    """

    def __init__(
        self, width: int, *, gamma: float = 2.0, clamp: float = 0.0, transform: str = "conv1", hidden: int = 4096
    ) -> None:
        super().__init__()
        self.gamma, self.clamp = gamma, clamp
        widths = {"identity": (), "conv1": (width, width), "conv2": (width, hidden, width)}[transform]
        self.value = ProjectionHead(widths, norm=True, cells=True) if widths else nn.Identity()

    def forward(self, cells: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """Not normalised."""
        unit = F.normalize(_rows(cells), dim=2)
        similarity = (unit @ unit.transpose(1, 2)).clamp(min=self.clamp)
        if self.gamma < 1:
            similarity = similarity + 1e-6  # at 0 the slope of the power would be infinite
        values = F.normalize(_rows(self.value(cells)), dim=2)
        return (similarity**self.gamma @ values).transpose(1, 2).unflatten(2, cells.shape[2:])


def pixel_consistency(
    cells: Float[Tensor, "B D h w"], keys: Float[Tensor, "B D h w"], mask: Bool[Tensor, "B N N"]
) -> Float[Tensor, ""]:
    """-2 times the mean cosine of cells that are the same place: the mean over an image's pairs, then over the images
    of all ranks; an image without any counts as 0.

    Args:
        cells: of one crop of each image of this rank, of length 1.
        keys: of the other crop, of length 1.
        mask: see `positive_mask`.
    """
    pairs = mask.to(cells.dtype)
    cosines = torch.einsum("bdi,bij,bdj->b", cells.flatten(2), pairs, keys.flatten(2))
    total = -2 * (cosines / (pairs.sum(dim=(1, 2)) + 1e-6)).sum()
    return total / mean_count(float(len(cells))).to(total)


def pixel_contrast(
    cells: Float[Tensor, "B D h w"], keys: Float[Tensor, "B D h w"], mask: Bool[Tensor, "B N N"], temperature: float
) -> Float[Tensor, ""]:
    """- log of the share that cells of the same place have among all cells of the other crop, by the exponential of
    their cosines; the mean over all cells, of all ranks, that have such a one.

    Args:
        cells: as for `pixel_consistency`, and so are `keys` and `mask`.
        keys: see there.
        mask: see there.
        temperature: that cosines are divided by.
    """
    logits = to_float32(_rows(cells) @ keys.flatten(2)) / temperature
    some = mask.any(dim=2)
    # A cell without a positive would be log 0, whose gradient is none even where it is left out of the sum.
    positive = logits.masked_fill(~(mask | ~some[:, :, None]), -torch.inf).logsumexp(dim=2)
    total = ((logits.logsumexp(dim=2) - positive) * some).sum()
    return total / mean_count(float(some.sum())).clamp(min=1e-6).to(total)


_OVERLAP = 0.5
"""Share of the images below which crops that do not meet are warned of."""


def _check(config: Config) -> None:
    crops = [(crop.count, crop.size) for crop in config.view.crops]
    if len(crops) != 2 or any(count != 1 for count, _ in crops) or crops[0][1] != crops[1][1]:
        raise DeixisError(
            f"The crops are {crops}, as (count, size).", "Give two groups (view.crops) of one crop each, of one size."
        )
    if config.pixels <= 0 >= config.instance:
        raise DeixisError("Neither cells nor whole crops are compared.", "Give pixels or instance a weight above 0.")


class Method(nn.Module):
    """A tower and a head of cells, their averages, and perhaps a branch of whole crops."""

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        _check(config)
        self.config, self.encoder = config, share_batch_norms(encoder)
        channels = self._map_width(encoder)
        head = partial(ProjectionHead, norm=True, cells=True)
        if config.pixels:
            self.projector = head((channels, config.hidden, config.width))
            self.key_projector = MovingAverage(self.projector)
            self.predictor = self._predictor(config)
        if config.instance:
            self.instance_projector = head((channels, config.hidden, config.width))
            self.key_instance_projector = MovingAverage(self.instance_projector)
            self.instance_predictor = head((config.width, config.hidden, config.width))
        self.key_encoder = MovingAverage(encoder)
        self._trained = parameters_before(encoder, partial(feature_map, layer=config.layer), config.layers)

    @staticmethod
    def _predictor(config: Config) -> nn.Module:
        if config.objective == "contrast":
            return nn.Identity()
        if config.predictor == "mlp":
            return ProjectionHead((config.width, config.hidden, config.width), norm=True, cells=True)
        return PixelPropagation(
            config.width, gamma=config.gamma, clamp=config.clamp, transform=config.transform, hidden=config.hidden
        )

    def _map_width(self, encoder: ImageEncoder) -> int:
        if not self.config.layer:
            return encoder.token_width
        first, side = next(iter(self.encoder.parameters())), encoder.preprocess.size
        with torch.no_grad(), evaluating(self.encoder):
            return feature_map(encoder, torch.zeros(1, 3, side, side, device=first.device), self.config.layer).shape[1]

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the cells rests."""
        own = ("projector.", "predictor.", "instance_projector.", "instance_predictor.")
        rest = () if self.config.statistics else ("encoder", "key_encoder")
        return (Stage(trainable=(*(f"encoder.{name}" for name in self._trained), *own), evaluate=rest),)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """Online passes of both crops, then key passes, then the losses. Batch norms mix the samples of a batch, so
        there is no `encode` of a part of it."""
        views = [group[:, 0] for group in batch.views]
        boxes = [group[:, 0] for group in batch.view_boxes]
        online = self._maps(self.encoder, views)
        cells, whole = self._cells(online), self._whole(online)
        with torch.no_grad():
            seen = self._maps(self.key_encoder.module, views)
            keys = [F.normalize(self.key_projector(each), dim=1) for each in seen] if cells else []
            targets = [_mean(self.key_instance_projector(each)) for each in seen] if whole else []
        mask = positive_mask(boxes[0], boxes[1], (online[0].shape[2], online[0].shape[3]), self.config.ratio)
        parts = {}
        if cells:
            parts["pixels"] = self.config.pixels * self._compared(cells, keys, mask)
        if whole:
            cosines = (whole[0] * targets[1]).sum() + (whole[1] * targets[0]).sum()
            parts["instance"] = -2 * self.config.instance * cosines / mean_count(float(len(batch))).to(cosines)
        return Losses(parts, self._gauges([each.detach() for each in online], mask))

    def _maps(self, tower: nn.Module, views: list[Tensor]) -> list[Tensor]:
        """Of both crops; in one pass, where batch norms do not take the statistics of a crop."""
        if tower.training:
            return [feature_map(tower, each, self.config.layer) for each in views]
        return list(feature_map(tower, torch.cat(views), self.config.layer).chunk(len(views)))

    def _cells(self, maps: list[Tensor]) -> list[Tensor]:
        if not self.config.pixels:
            return []
        return [F.normalize(self.predictor(self.projector(each)), dim=1) for each in maps]

    def _whole(self, maps: list[Tensor]) -> list[Tensor]:
        if not self.config.instance:
            return []
        return [_mean(self.instance_predictor(self.instance_projector(each))) for each in maps]

    def _compared(self, cells: list[Tensor], keys: list[Tensor], mask: Tensor) -> Tensor:
        ways = ((cells[0], keys[1], mask), (cells[1], keys[0], mask.transpose(1, 2)))
        if self.config.objective == "contrast":
            return torch.stack([pixel_contrast(*way, self.config.temperature) for way in ways]).mean()
        return torch.stack([pixel_consistency(*way) for way in ways]).sum()

    def _gauges(self, maps: list[Tensor], mask: Bool[Tensor, "B N N"]) -> dict[str, Tensor | float]:
        """What shows a collapse, and crops that do not overlap."""
        config, (first, second) = self.config, (_mean(each) for each in maps)
        pixels = math.log(mask.shape[2]) if config.objective == "contrast" else -4.0
        return {
            "trivial_loss": (pixels if config.pixels else 0.0) * config.pixels - 4.0 * config.instance,
            "deviation": unit_deviation(_rows(maps[0]).flatten(0, 1)),
            "effective_rank": effective_rank(first),
            "copies_found": copies_found(first, second),
            "images_with_pairs": mask.any(dim=2).any(dim=1).float().mean(),
            "cells_with_pairs": mask.any(dim=2).float().mean(),
        }

    @torch.no_grad()
    def after_step(self, progress: Progress, losses: Losses) -> None:
        """The averages move, by the momentum of the step that follows."""
        momentum = momentum_at(progress.step, progress.total, self.config.momentum)
        self.key_encoder.update(self.encoder, momentum)
        if self.config.pixels:
            self.key_projector.update(self.projector, momentum)
        if self.config.instance:
            self.key_instance_projector.update(self.instance_projector, momentum)

    def warnings(self, values: Mapping[str, float], progress: Progress) -> dict[str, str]:
        """Of a collapse, and of crops that do not overlap."""
        found = collapse_warnings(values)
        if values["images_with_pairs"] < _OVERLAP:
            found["no overlap"] = (
                f"In {values['images_with_pairs']:.0%} of the images any cells of both crops are the same place: the "
                "others teach nothing. Cut larger crops out (view.crops: scale)."
            )
        return found

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The mean of the cells, rows of length 1."""
        return _mean(feature_map(self.encoder, images, self.config.layer))

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells before the heads, of images of any size."""
        return tokens(self.encoder, images, self.config.layer)


def _mean(cells: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D"]:
    """Over the places, scaled to length 1."""
    return F.normalize(cells.mean(dim=(2, 3)), dim=1)


_FIRST = Augment(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5, sigma=(0.1, 1.0))
_SECOND = Augment(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.1, sigma=(0.1, 1.0), solarise=0.2)
_VIEWS = {"view.crops": (Crop(1, 48, _FIRST), Crop(1, 48, _SECOND))}
_NEW = {**_VIEWS, "layers": "all", "statistics": True, "hidden": 512, "width": 64}
_INSTANCE = {**_NEW, "pixels": 0.0, "instance": 1.0}
_GRID = {"learning_rate": (1e-3, 2e-3), "momentum": (0.97, 0.99)}
_SHAPES = (
    *("arrow", "bar", "circle", "cross", "diamond", "heart", "hexagon", "moon", "oval", "ring", "square", "star"),
    "triangle",
)

CLAIMS = (
    Claim(
        "Cells that are trained to look like the same place in another crop tell a linear classifier more of what is "
        "where than whole crops that are trained to look alike.",
        arms={
            "propagation": Arm("pixpro", _NEW, grid=_GRID),
            "instance": Arm("pixpro", _INSTANCE, grid=_GRID),
        },
        metric="dense",
        statistic="final",
        minimum_effect=0.02,
        data="segments",
        budget=20_480,
        trial=0.5,
        cheap="instance",
    ),
    Claim(
        "It takes the propagation: cells behind a small network in its place, cells with negatives, labels of whole "
        "scenes, and the colours of cells tell less.",
        arms={
            "propagation": Arm("pixpro", _NEW),
            "network in its place": Arm("pixpro", {**_NEW, "predictor": "mlp"}),
            "contrast": Arm("pixpro", {**_NEW, "objective": "contrast"}),
            "supervised": Arm("supervised", {**_VIEWS, "names": _SHAPES}),
            "colours": Arm("pixpro", _NEW, metric="dense_colours"),
        },
        metric="dense",
        statistic="final",
        minimum_effect=0.02,
        data="segments",
        budget=20_480,
        primary=False,
        cheap="colours",
    ),
    Claim(
        "Of which things are in a scene, whole crops tell more.",
        arms={
            "instance": Arm("pixpro", _INSTANCE),
            "propagation": Arm("pixpro", _NEW),
        },
        metric="labels",
        statistic="final",
        minimum_effect=0.02,
        data="segments",
        budget=20_480,
        primary=False,
        cheap="propagation",
    ),
    Claim(
        "A detector on frozen cells finds more where cells were trained to look like the same place in another crop "
        "than where whole crops were trained to look alike.",
        arms={
            # rate and momentum are those that the first claim chose for both of its arms
            "propagation": Arm("pixpro", {**_NEW, "learning_rate": 2e-3, "momentum": 0.99}),
            "instance": Arm("pixpro", {**_INSTANCE, "learning_rate": 2e-3, "momentum": 0.99}),
            "contrast": Arm("pixpro", {**_NEW, "learning_rate": 2e-3, "momentum": 0.99, "objective": "contrast"}),
        },
        metric="ap50",
        statistic="final",
        minimum_effect=0.02,
        data="scene_boxes",
        budget=20_480,
        primary=False,
        cheap="instance",
    ),
)
"""The paper holds network and epochs and changes the task: instance discrimination, PixContrast, PixPro; detection on
VOC gains 2.6 points of AP over the best instance method. Here a linear classifier of frozen cells stands for detection
and segmentation. The third claim is expected to hold, too: it is what the authors' instance branch is for."""
