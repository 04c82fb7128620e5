"""NormGrad: saliency from the weight gradients that a layer would have at each place.

A layer that changes nothing (a virtual identity) is thought in at any point of a network. The gradient of its weights
is a sum over the places u of the map; how large the summand of u is says how much u matters. With x_u the activation
and g_u = d score / d x_u, phase 1 takes the summands, phase 2 their size:

    bias g_u,   scaling g_u * x_u,   conv1x1 g_u x_u',   conv3x3 g_u unfold(x)_u',   conv3x3_depthwise
    sum,   max,   max_abs,   norm (L2),   filter_norm (L2 of what is positive)

    NormGrad  = conv1x1 + norm = ||g_u|| ||x_u||           selective = scaling + filter_norm = ||(g_u * x_u)+||
    gradient  = bias + max_abs     linear approximation = scaling + sum     Grad-CAM = that with the mean gradient, ReLU

(Rebuffi et al., 2020). Layers are combined by a weighted mean or geometric mean of their maps, each stretched to 0 ...
1. The meta step takes one step of gradient descent on the image itself before the map is made, down the cross-entropy
of the class that is explained: theta' = theta - rate * d CE / d theta.

What differs from the authors' code:
* No summand is ever held: each cell is a closed form over x and g, so that all cells of a layer come out of one
  forward and one backward pass. A 3x3 cell of 512 channels at 28 x 28 would hold 7 GB there.
* A constant map is 0, where theirs divides by 0.
* `max` is that of their script, with its sign; the gradient's map is the greatest absolute value, as in their library.
* The weights that they measure per network (the spread of features, a probe's accuracy) are given by the caller.
* What is explained is any score of the model's output; for a pair, the similarity of image and text. A pair has no
  other classes, hence no cross-entropy: there the step climbs the score itself.
* The text does not tell the meta step's size. 0.0025 is that of their experiments; by default there is no step, as a
  larger one makes maps hang more on the class and hit the object less often.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.blocks import blocks, default_layers
from deixis.nn.dual import DualEncoder
from deixis.nn.inner_step import inner_step
from deixis.nn.modified_backward import EXCITATION, GUIDED, Rewritten
from deixis.nn.relevance import text_gradients
from deixis.nn.taps import Tapped, eval_with_grad, is_transformer, taps, to_grid
from deixis.ops.maps import combine, depth_weights, resize, to_symmetric, to_unit
from deixis.ops.precision import to_float32
from deixis.types import Arm, Card, Claim, Maps, Part, Variant

__all__ = [
    "AGGREGATES",
    "AUTO",
    "CARD",
    "CELLS",
    "CLAIMS",
    "EXTRACTS",
    "Config",
    "Extract",
    "Method",
    "NormGradCell",
    "Score",
    "apply_cell",
    "cells",
    "saliency",
]

CARD = Card(
    title="There and Back Again: Revisiting Backpropagation Saliency Methods (NormGrad)",
    year=2020,
    kind="training-free",
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("attribute",),
    venue="CVPR",
    arxiv="2004.02866",
    code="srebuffi/revisiting_saliency",
    tags=("explanation", "saliency", "gradient"),
    variants={
        "normgrad": Variant({"layers": ("auto",)}),
        "grad_cam": Variant({"cell": "grad_cam"}, standard=True, layers=("each",)),
        "linear_approximation": Variant({"cell": "linear_approximation"}, standard=True, layers=("each",)),
        "norm_grad": Variant({"cell": "norm_grad"}, standard=True, layers=("each",)),
        "norm_grad_selective": Variant({"cell": "norm_grad_selective"}, standard=True, layers=("each", "all")),
        "norm_grad + step": Variant({"cell": "norm_grad", "rate": 0.0025}, standard=True, layers=("deepest",)),
        "norm_grad_3x3": Variant({"cell": "norm_grad_3x3"}, layers=("each",)),
        "gradient": Variant({"cell": "gradient"}, layers=("each",)),
        "guided_backprop": Variant({"cell": "guided_backprop"}, layers=("each",)),
        "excitation_backprop": Variant({"cell": "excitation_backprop"}, layers=("each",)),
        "*+*": Variant({"cell": "*"}, layers=("each",)),
    },
)

AUTO = ("auto",)
"""Layers that hang on the network: of a convolutional one the blocks at a quarter and at three fifths of its depth, as
the last one is too coarse; of a transformer the last."""


@dataclass(frozen=True)
class Config:
    """Settings of NormGrad.

    Attributes:
        encoder: the model that is explained.
        cell: one of `CELLS`, or an extract and an aggregate with a `+` between: `conv3x3+norm`.
        layers: names of the layers, from the first to the deepest; none: the last block; `auto`: see `AUTO`.
        combine: how maps of several layers become one.
        weights: one a layer; none: as `depth` says.
        depth: `uniform`, all layers alike; `linear`, in proportion to depth.
        rate: of the meta step; 0: none is taken. Below 0 it goes uphill.
        before: class and register tokens before the first patch; -1: found out.
    """

    encoder: str = "starter"
    cell: str = "norm_grad"
    layers: tuple[str, ...] = ()
    combine: Literal["sum", "product", "plain_product"] = "product"
    weights: tuple[float, ...] = ()
    depth: Literal["uniform", "linear"] = "uniform"
    rate: float = 0.0
    before: int = -1

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """The selective map, which also holds at the last layers."""
        return cls(cell="norm_grad_selective")

    @classmethod
    def paper(cls) -> Config:
        """The selective map with the meta step of the experiments; layers are the network's own."""
        return cls(cell="norm_grad_selective", rate=0.0025)


# Phase 1: the summands of a virtual layer's weight gradient. Each is a product of an entry of g and one of x.


@dataclass(frozen=True)
class Extract:
    """How the summands at a place are made: of g and the values of x in a window around it.

    Attributes:
        window: side of the window.
        outer: every entry of g with every channel of x; else each with its own channel.
        activation: whether x takes part at all.
    """

    window: int = 1
    outer: bool = False
    activation: bool = True


EXTRACTS = {
    "bias": Extract(activation=False),
    "scaling": Extract(),
    "conv1x1": Extract(outer=True),
    "conv3x3": Extract(3, outer=True),
    "conv3x3_depthwise": Extract(3),
}


def _products(g: Float[Tensor, "B D h w"], x: Float[Tensor, "B D h w"], extract: Extract) -> Float[Tensor, "B h w"]:
    """The sum over all summands of (entry of g) * (entry of x)."""
    if extract.outer:
        g, x = g.sum(1, keepdim=True), x.sum(1, keepdim=True)
    if extract.window > 1:  # zeros around, as the convolution pads
        x = F.avg_pool2d(x, extract.window, 1, extract.window // 2) * extract.window**2
    return (g * x).sum(1)


def _extremes(
    g: Float[Tensor, "B D h w"], x: Float[Tensor, "B D h w"], extract: Extract
) -> list[Float[Tensor, "B c h w"]]:
    """Products among which the greatest summand and the least are."""
    around = extract.window // 2
    x = F.pad(x, [around] * 4)
    greatest, least = (sign * F.max_pool2d(sign * x, extract.window, 1) for sign in (1, -1))
    if not extract.outer:
        return [g * greatest, g * least]
    ends = (greatest.amax(1, keepdim=True), least.amin(1, keepdim=True))
    return [each * end for each in (g.amax(1, keepdim=True), g.amin(1, keepdim=True)) for end in ends]


# Phase 2: one number out of the summands


def _sum(g: Tensor, x: Tensor, extract: Extract) -> Tensor:
    return _products(g, x, extract)


def _norm(g: Tensor, x: Tensor, extract: Extract) -> Tensor:
    return _products(g.square(), x.square(), extract).clamp(min=0).sqrt()


def _filter_norm(g: Tensor, x: Tensor, extract: Extract) -> Tensor:
    """A product is positive where both entries are, or neither."""
    both, neither = (
        _products((sign * g).clamp(min=0).square(), (sign * x).clamp(min=0).square(), extract) for sign in (1, -1)
    )
    return (both + neither).clamp(min=0).sqrt()


def _max(g: Tensor, x: Tensor, extract: Extract) -> Tensor:
    return torch.stack(_extremes(g, x, extract)).amax((0, 2))


def _max_abs(g: Tensor, x: Tensor, extract: Extract) -> Tensor:
    return torch.stack(_extremes(g, x, extract)).abs().amax((0, 2))


AGGREGATES: dict[str, Callable[[Tensor, Tensor, Extract], Tensor]] = {
    "sum": _sum,
    "max": _max,
    "max_abs": _max_abs,
    "norm": _norm,
    "filter_norm": _filter_norm,
}


@dataclass(frozen=True)
class NormGradCell:
    """A cell of the table: two phases, and what known methods change besides.

    Attributes:
        extract: phase 1, of `EXTRACTS`.
        aggregate: phase 2, of `AGGREGATES`.
        averaged: whether g is replaced by its mean over all places.
        rectified: whether what is negative in the map becomes 0.
        backward: which backward pass g comes from: `plain`, `guided` or `excitation`.
    """

    extract: str
    aggregate: str
    averaged: bool = False
    rectified: bool = False
    backward: Literal["plain", "guided", "excitation"] = "plain"

    @property
    def signed(self) -> bool:
        """Whether a map speaks for and against."""
        return self.aggregate in ("sum", "max") and not self.rectified and self.backward == "plain"


CELLS = {
    "gradient": NormGradCell("bias", "max_abs"),
    "linear_approximation": NormGradCell("scaling", "sum"),
    "grad_cam": NormGradCell("scaling", "sum", averaged=True, rectified=True),
    "norm_grad": NormGradCell("conv1x1", "norm"),
    "norm_grad_3x3": NormGradCell("conv3x3", "norm"),
    "norm_grad_selective": NormGradCell("scaling", "filter_norm"),
    "guided_backprop": NormGradCell("bias", "max_abs", backward="guided"),
    "excitation_backprop": NormGradCell("bias", "sum", backward="excitation"),
}
_BACKWARDS = {"guided": GUIDED, "excitation": EXCITATION}


def _cell(name: str) -> NormGradCell:
    if name in CELLS:
        return CELLS[name]
    extract, _, aggregate = name.partition("+")
    if extract not in EXTRACTS or aggregate not in AGGREGATES:
        raise DeixisError(
            f"There is no map called {name!r}.",
            f"Take one of {', '.join(CELLS)}; or one of {', '.join(EXTRACTS)}, a '+', and one of "
            f"{', '.join(AGGREGATES)}.",
        )
    return NormGradCell(extract, aggregate)


def apply_cell(
    cell: NormGradCell, activation: Float[Tensor, "B D h w"], gradient: Float[Tensor, "B D h w"]
) -> Float[Tensor, "B h w"]:
    """The map of one cell, at the resolution of the layer, as it comes.

    Args:
        cell: which.
        activation: x, in float32 at least.
        gradient: g, of the score.
    """
    extract = EXTRACTS[cell.extract]
    x = activation if extract.activation else torch.ones_like(gradient)
    g = gradient.mean((2, 3), keepdim=True).expand_as(gradient) if cell.averaged else gradient
    found = AGGREGATES[cell.aggregate](g, x, extract)
    return found.clamp(min=0) if cell.rectified else found


def cells(
    activation: Float[Tensor, "B D h w"], gradient: Float[Tensor, "B D h w"]
) -> dict[str, Float[Tensor, "B h w"]]:
    """The whole table for one layer, `extract+aggregate` -> map, from one activation and its gradient."""
    return {f"{e}+{a}": apply_cell(NormGradCell(e, a), activation, gradient) for e in EXTRACTS for a in AGGREGATES}


# What is explained

Score = Callable[[Any], Tensor]
"""The model's output -> one number a sample [B], or T of them [B, T]. One of classes may have a method `loss`: the
cross-entropies of the same classes among all, in the same shape."""


# The maps


def saliency(
    model: nn.Module,
    images: Shaped[Tensor, "..."],
    score: Score,
    config: Config | None = None,
    *,
    forward: Callable[[Tensor], Any] | None = None,
    loss: Score | None = None,
) -> Maps:
    """What in the images a score hangs on.

    Mode and weights of the model are afterwards as they were, bit for bit. T scores an image share the forward pass.

    Args:
        model: any module: it is tapped, and it is called unless `forward` is given.
        images: as the model wants them, [B, 3, H, W].
        score: output of the model -> [B] or [B, T]; each sample's from its own output alone.
        config: which map of which layers; `encoder` isn't read.
        forward: what calls the model on images.
        loss: what the meta step descends, of the score's shape; by default the score's own `loss`, the cross-entropy
            of a class, and minus the score of what has none.

    Returns:
        maps [B, H, W], or [B, T, H, W] of T scores.

    Raises:
        DeixisError: a layer is unknown, the model can't be tapped, or what is found is no number.
    """
    config, forward = config or Config(), forward or model
    loss = loss or getattr(score, "loss", None)
    if config.layers == AUTO:
        config = dataclasses.replace(config, layers=() if is_transformer(model) else default_layers(model))
    images = _ready(model, images)
    if config.rate:
        raw = _stepped(model, images, score, config, (forward, loss))
    else:
        raw = _raw(model, images, score, config, forward)
    for name, each in raw.items():
        if not each.isfinite().all():
            raise DeixisError(
                f"The map of the layer {name!r} holds values that are no numbers.",
                "Look for them in the images and weights; a model in float16 may overflow: try model.float().",
            )
    return Maps(_combined(raw, images.shape[-2:], config), raw)


def _ready(model: nn.Module, images: Tensor) -> Tensor:
    if images.dim() != 4 or not images.is_floating_point() or 0 in images.shape:
        raise DeixisError(
            f"Images of shape {list(images.shape)} and type {images.dtype} can't be explained.",
            "Preprocess them to [B, 3, H, W] in floating point; one image has B = 1.",
        )
    kinds = [value.dtype for value in model.parameters() if value.is_floating_point()]
    with torch.inference_mode(False):
        return images.detach().clone().to(kinds[0] if kinds else images.dtype)


def _raw(
    model: nn.Module, images: Tensor, score: Score, config: Config, forward: Callable[[Tensor], Any]
) -> dict[str, Tensor]:
    """Name of a layer -> map at its resolution, [B, h, w] or [B, T, h, w]."""
    last = () if config.layers else blocks(model)[-1:]
    cell = _cell(config.cell)
    with taps(model, (*config.layers, *last, *(f"{name}:in" for name in last))) as tapped:
        with contextlib.nullcontext() if cell.backward == "plain" else Rewritten(_BACKWARDS[cell.backward]):
            output = forward(images)
        scores = _checked(score(output), len(images))
        layers = config.layers or (_outlet(tapped),)
        columns = scores[:, None] if scores.dim() == 1 else scores
        found: dict[str, list[Tensor]] = {name: [] for name in layers}
        for place in range(columns.shape[1]):
            gradients = tapped.gradients(columns[:, place], layers, keep=place + 1 < columns.shape[1])
            for name, gradient in gradients.items():
                found[name].append(_map(cell, tapped.activation(name), gradient, images.shape[-2:], config.before))
    return {name: each[0] if scores.dim() == 1 else torch.stack(each, 1) for name, each in found.items()}


def _outlet(tapped: Tapped) -> str:
    """Of a last block of tokens what it is given, of any other what it gives: where a class token is read out, nothing
    that a transformer's last block gives for a patch counts."""
    outlet, inlet = tapped.layers
    return inlet if tapped.activation(inlet).dim() == 3 else outlet


def _map(cell: NormGradCell, activation: Tensor, gradient: Tensor, size: Sequence[int], before: int) -> Tensor:
    height, width = size
    x, g = (
        to_grid(to_float32(each.detach()), (height, width), None if before < 0 else before)[0]
        for each in (activation, gradient)
    )
    return apply_cell(cell, x, g)


def _checked(scores: Tensor, count: int) -> Tensor:
    if scores.dim() not in (1, 2) or len(scores) != count:
        raise DeixisError(
            f"The score of {count} images has the shape {list(scores.shape)}.",
            "It must give one number an image, [B], or T of them, [B, T].",
        )
    if not scores.isfinite().all():
        raise DeixisError(
            "The score is no number for some image.", "Look for such values in the images and in the model's weights."
        )
    return scores


def _combined(raw: Mapping[str, Tensor], size: Sequence[int], config: Config) -> Tensor:
    maps = [to_unit(resize(each, (size[0], size[1]))) for each in raw.values()]
    if len(maps) == 1:
        return maps[0]
    return combine(maps, config.combine, config.weights or depth_weights(len(maps), config.depth))


# The meta step


def _stepped(
    model: nn.Module,
    images: Tensor,
    score: Score,
    config: Config,
    calls: tuple[Callable[[Tensor], Any], Score | None],
) -> dict[str, Tensor]:
    """As `_raw`, each image and score after a step of its own."""
    forward, loss = calls
    with eval_with_grad(model, gradients=False), torch.no_grad():
        shape = _checked(score(forward(images)), len(images)).shape
    rows = []
    for row in range(len(images)):
        image, maps = images[row : row + 1], []
        for column in range(shape[1]) if len(shape) == 2 else [None]:
            own = _only(score, len(images), row, column)
            down = _only(loss, len(images), row, column) if loss else own
            step = config.rate if loss else -config.rate
            with inner_step(model, functools.partial(_total, forward, image, down), step):
                maps.append(_raw(model, image, own, config, forward))
        rows.append({name: torch.stack([each[name] for each in maps], 1) for name in maps[0]})
    joined = {name: torch.cat([each[name] for each in rows]) for name in rows[0]}
    return {name: each if len(shape) == 2 else each[:, 0] for name, each in joined.items()}


def _total(forward: Callable[[Tensor], Any], images: Tensor, score: Score) -> Tensor:
    return score(forward(images)).sum()


def _only(score: Score, count: int, row: int, column: int | None) -> Score:
    """The score of one image, where `score` speaks of all: the others are copies of it, whose scores are dropped."""

    def own(output: Tensor) -> Tensor:
        found = score(output.expand(count, *output.shape[1:]))[row : row + 1]
        return found if column is None else found[:, column]

    return own


class Method(nn.Module):
    """What is explained, and the settings of its maps.

    Args:
        config: the settings.
        encoder: a dual encoder, or any other network that takes images, such as a classifier.
    """

    def __init__(self, config: Config, *, encoder: nn.Module) -> None:
        super().__init__()
        _cell(config.cell)
        self.config = config
        self.encoder = encoder

    def attribute(self, images: Float[Tensor, "B 3 H W"], score: Score) -> Float[Tensor, "*B H W"]:
        """Maps at image size, between 0 and 1.

        Args:
            images: preprocessed.
            score: embeddings of length 1 [B, D] (of another network its output) -> [B], or [B, T] for T maps an image.
        """
        return self._found(images, score).image

    def maps(self, images: Shaped[Tensor, "..."], score: Score) -> Maps:
        """The same with the maps of the layers; between -1 and 1 where the cell speaks for and against.

        Args:
            images: preprocessed.
            score: as for `attribute`.
        """
        found, size = self._found(images, score), (images.shape[-2], images.shape[-1])
        if not _cell(self.config.cell).signed:
            return found
        signed = torch.stack([to_symmetric(resize(each, size)) for each in found.raw.values()]).mean(0)
        return Maps(signed, found.raw, signed=True)

    def _found(self, images: Tensor, score: Score) -> Maps:
        if isinstance(self.encoder, DualEncoder):
            tower = self.encoder.image_tower
            return saliency(tower, images, score, self.config, forward=self.encoder.encode_image)
        return saliency(self.encoder, images, score, self.config)

    def words(self, texts: Sequence[str], images: Float[Tensor, "T D"]) -> Float[Tensor, "T L"]:
        """How much each token of a text carries its similarity to an image, through the text tower.

        The map is that of the table of embeddings, where a token's state is still its own.

        Args:
            texts: T of them, none empty.
            images: embedding of length 1 of the image that belongs to each.

        Returns:
            one number a token, 1 for the largest of a text (-1, where it is negative), 0 for padding.
        """
        assert isinstance(self.encoder, DualEncoder)
        found = text_gradients(self.encoder, texts, images)
        x, g = (each.transpose(1, 2)[:, :, None] for each in (found.states, found.gradients))
        return to_symmetric(apply_cell(_cell(self.config.cell), x, g) * found.mask[:, None])[:, 0]


_BLOCKS = ("blocks.0", "blocks.1", "blocks.2", "blocks.3")
_SINGLE = (("blocks.0",), ("blocks.1",), ("blocks.2",), ("blocks.3",))
_NORM = Arm("normgrad", {"cell": "norm_grad"})
_STEP = Arm("normgrad", {"cell": "norm_grad", "rate": 0.0025})
_LAYERS = {
    "all layers": Arm(
        "normgrad",
        {"cell": "norm_grad_selective", "layers": _BLOCKS},
        grid={"combine": ("product", "sum"), "depth": ("uniform", "linear")},
    ),
    "best layer": Arm("normgrad", {"cell": "norm_grad_selective"}, grid={"layers": _SINGLE}),
}

CLAIMS = (
    Claim(
        "The norm of the summands points at the thing asked for at layers before the last, where Grad-CAM does not.",
        arms={"NormGrad": _NORM, "Grad-CAM": Arm("normgrad", {"cell": "grad_cam"})},
        metric="pointing_early",
        statistic="final",
        minimum_effect=0.1,
        data="explained",
        budget=200,
        cheap="Grad-CAM",
    ),
    Claim(
        "It is the norm that does so, not that the gradient is left unaveraged.",
        arms={"NormGrad": _NORM, "linear approximation": Arm("normgrad", {"cell": "linear_approximation"})},
        metric="pointing_early",
        statistic="final",
        minimum_effect=0.05,
        data="explained",
        budget=200,
        primary=False,
        cheap="linear approximation",
    ),
    Claim(
        "Maps of several layers combined point better than that of the best single layer.",
        arms=_LAYERS,
        metric="pointing_game",
        statistic="final",
        minimum_effect=0.02,
        data="explained",
        budget=200,
        primary=False,
        cheap="best layer",
    ),
    # Beside the one before: there the single layer was chosen on one network, and explained others.
    Claim(
        "Maps of several layers combined point better than that of the single layer that is best for each network.",
        arms=_LAYERS,
        metric="pointing_game",
        statistic="final",
        minimum_effect=0.02,
        data="explained",
        budget=200,
        primary=False,
        choose="each seed",
        again="Maps of several layers combined point better than that of the best single layer.",
        first_seed=5,
        cheap="best layer",
    ),
    Claim(
        "A step of gradient descent on the image itself makes maps hang more on the class that is asked for.",
        arms={"with the step": _STEP, "without": _NORM},
        metric="class_sensitivity",
        statistic="final",
        minimum_effect=0.025,
        data="explained",
        budget=200,
        primary=False,
        cheap="without",
    ),
    # The first claim by layers: at those of the first half, and at the one behind, where Grad-CAM may be as good.
    Claim(
        "At the first two of four layers, the norm of the summands points at the thing asked for, where Grad-CAM does "
        "not.",
        arms={"NormGrad": _NORM, "Grad-CAM": Arm("normgrad", {"cell": "grad_cam"})},
        metric="pointing_first_half",
        statistic="final",
        minimum_effect=0.1,
        data="explained",
        budget=200,
        primary=False,
        again="The norm of the summands points at the thing asked for at layers before the last, where Grad-CAM does "
        "not.",
        first_seed=5,
        cheap="Grad-CAM",
    ),
    Claim(
        "At the third of four layers, the norm of the summands points at the thing asked for better than Grad-CAM "
        "does.",
        arms={
            "NormGrad": Arm("normgrad", {"cell": "norm_grad", "layers": ("blocks.2",)}),
            "Grad-CAM": Arm("normgrad", {"cell": "grad_cam", "layers": ("blocks.2",)}),
        },
        metric="pointing_game",
        statistic="final",
        minimum_effect=0.1,
        data="explained",
        budget=200,
        primary=False,
        first_seed=5,
        cheap="Grad-CAM",
    ),
    # The step as the authors take it, down the cross-entropy of the class (in the claim above it climbs the score); and
    # what it costs.
    Claim(
        "A step down the cross-entropy of the class that is asked for, on the image itself, makes maps hang more on "
        "that class.",
        arms={"with the step": _STEP, "without": _NORM},
        metric="class_sensitivity",
        statistic="final",
        minimum_effect=0.025,
        data="explained",
        budget=200,
        primary=False,
        again="A step of gradient descent on the image itself makes maps hang more on the class that is asked for.",
        first_seed=5,
        cheap="without",
    ),
    Claim(
        "The step costs pointing: without it maps hit the thing asked for more often, on the mean over layers before "
        "the last.",
        arms={"without": _NORM, "with the step": _STEP},
        metric="pointing_early",
        statistic="final",
        minimum_effect=0.02,
        data="explained",
        budget=200,
        primary=False,
        first_seed=5,
        cheap="with the step",
    ),
)
"""In the authors' tables NormGrad is 18.3 to 31.1 points of pointing accuracy above Grad-CAM at layers before the last;
about half of the smallest gap is asked for. There the linear approximation is as good or better, so that the second
claim is the ablation, and may fail. Of the combination the text gives no number that could be read: two points are
asked for. The step is that of their experiments; 0.025 is a rank correlation lower by 0.05. What it costs in pointing
is the last claim; the larger the step is, the more hits are lost (`deixis eval --protocol saliency`)."""
