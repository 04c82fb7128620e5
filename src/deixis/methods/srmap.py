"""The Salient Relevance map: relevance of pixels, then the places of it that stand out, at several scales.

Step 1 is layer-wise relevance propagation under the paper's rules (x w / (z + 1e-9) for convolutions, z+ for linear
layers), its absolute value summed over colours. Step 2 is the context-aware saliency of Goferman, Zelnik-Manor and Tal
(CVPR 2010) of that map instead of a photo: at each scale, with p_i the patch around pixel i and q_k its K nearest among
patches on a grid at several relative scales,

    d(p_i, q) = |p_i - q| / (1 + 3 |place_i - place_q|)          S_i = 1 - exp(-(49 / side^2) mean_k d(p_i, q_k))

the mean S over the scales is weighted by nearness to its foci, the pixels above 0.8 of its greatest value:

    SR_i = S_i (1 - distance to the nearest focus / the greatest such distance)

(Li et al., 2019.) What differs from the authors' code and why:
* Their repository leaves step 2 to a binary; it is written here from the equations of Goferman et al.
* They may feed the saliency a colour picture of the map; here it is grey, which does better (and is the simpler).
* Maps are resized by interpolation with antialiasing that ends at the border, theirs (MATLAB's) mirrors there.
* Networks with skips, attention and what else `deixis.nn.relevance` has rules for, not only plain chains.
* The score is any function of the embedding; for a pair, the cosine.

`blurred` is the same relevance under a Gaussian blur: what step 2 must beat to be worth its time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.relevance import RULES, relevance
from deixis.ops.maps import blur, to_unit
from deixis.types import Arm, Card, Claim, Maps, Part, Variant

__all__ = [
    "CARD",
    "CLAIMS",
    "Config",
    "Method",
    "Salient",
    "blurred",
    "context_saliency",
    "foci_distance",
    "grey",
    "saliency_at",
    "salient",
]

CARD = Card(
    title="Beyond saliency: understanding convolutional neural networks from saliency prediction on layer-wise "
    "relevance propagation (SR map)",
    year=2019,
    kind="training-free",
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("attribute",),
    venue="Image and Vision Computing",
    arxiv="1712.08268",
    code="Hey1Li/Salient-Relevance-Propagation",
    tags=("explanation", "saliency", "relevance"),
    variants={
        # `relevance` alone is what `explain` offers beside all methods, with the rules and layers of choice.
        "srmap_relevance": Variant({"step": "none"}, standard=True),
        "blurred": Variant({"step": "blur", "sigma": 4.0}, standard=True),
        # A hundredth of the time at 250 pixels, and a comparison makes some hundred maps.
        "srmap": Variant({}, standard=True, compared={"longest": 64}),
    },
)


@dataclass(frozen=True)
class Config:
    """Settings of the SR map; the numbers of its second step are those of Goferman et al.

    Attributes:
        encoder: the model that is explained.
        rules: of the relevance, a name in `deixis.nn.relevance.RULES`.
        step: `salient`, the paper's second step; `blur`, a Gaussian in its place; `none`, the relevance as it is.
        sigma: deviation of that Gaussian, in pixels.
        scales: at which the map is looked at.
        half_sizes: of the patches at each scale: 3 is a patch of 7 x 7.
        relative_scales: at which patches are compared, in this order.
        min_scale: no patch is taken where scale times relative scale is less.
        nearest: K, of the patches that count.
        position_weight: how much a patch's distance in the image takes from its difference.
        foci: share of the greatest saliency above which a pixel is a focus.
        longest: side that the map is brought to, in pixels; 0: it stays as it is.
    """

    encoder: str = "starter"
    rules: str = "salient_relevance"
    step: Literal["salient", "blur", "none"] = "salient"
    sigma: float = 2.0
    scales: tuple[float, ...] = (1.0, 0.8, 0.5, 0.3)
    half_sizes: tuple[int, ...] = (3, 2, 1, 1)
    relative_scales: tuple[float, ...] = (1.0, 0.5, 0.25)
    min_scale: float = 0.2
    nearest: int = 64
    position_weight: float = 3.0
    foci: float = 0.8
    longest: int = 250

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, maps as they are."""
        return cls(encoder="tiny", nearest=16, longest=0)

    @classmethod
    def desk(cls) -> Config:
        """Maps of 128 pixels: a tenth of the time."""
        return cls(longest=128)

    @classmethod
    def paper(cls) -> Config:
        """As published."""
        return cls()


# Step 1: the map that is looked at


def grey(relevance: Float[Tensor, "*B 3 H W"]) -> Float[Tensor, "*B H W"]:
    """The sum over colours of the absolute relevance, each map stretched to 0 ... 1."""
    return to_unit(relevance.abs().sum(-3))


def blurred(relevance: Float[Tensor, "*B 3 H W"], sigma: float) -> Float[Tensor, "*B H W"]:
    """The baseline: the grey map under a Gaussian, stretched to 0 ... 1.

    Args:
        relevance: signed, of pixels.
        sigma: deviation in pixels; to be tuned.
    """
    return to_unit(blur(grey(relevance), sigma))


# Step 2: what stands out in it


def _scaled(maps: Float[Tensor, "B h w"], scale: float, mode: str = "bilinear") -> Float[Tensor, "B H W"]:
    """Maps at a multiple of their size, rounded up, antialiased."""
    size = [math.ceil(round(side * scale, 6)) for side in maps.shape[-2:]]
    return _to_size(maps, (size[0], size[1]), mode)


def _to_size(maps: Float[Tensor, "B h w"], size: tuple[int, int], mode: str = "bilinear") -> Float[Tensor, "B H W"]:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode=mode, antialias=True, align_corners=False)[:, 0]


def _patches(
    maps: Float[Tensor, "B h w"], half: int, stride: int
) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "N 2"]]:
    """Patches whose centres lie at least `half` from the border, and the centres as column and row, counted from 1."""
    side = 2 * half + 1
    if min(maps.shape[-2:]) < side:
        return maps.new_zeros(len(maps), 0, side * side), maps.new_zeros(0, 2)
    patches = F.unfold(maps[:, None], side, stride=stride).transpose(1, 2)
    rows, columns = (torch.arange(half, size - half, stride, device=maps.device) for size in maps.shape[-2:])
    places = torch.cartesian_prod(rows, columns).flip(1) + 1
    return patches, places.to(maps.dtype)


def _samples(
    maps: Float[Tensor, "B h w"], scale: float, half: int, config: Config
) -> tuple[Float[Tensor, "B M P"], Float[Tensor, "M 2"]]:
    """What each patch is compared with: patches on a grid, at all relative scales; places relative to the long side."""
    found, longest = [], max(maps.shape[-2:])
    for relative in config.relative_scales:
        if scale * relative < config.min_scale - 1e-9:
            break
        smaller = maps if relative == 1 else _scaled(maps, relative, "bicubic")
        patches, places = _patches(smaller, half, half)
        found.append((patches, places / (longest * relative)))
    return torch.cat([each for each, _ in found], dim=1), torch.cat([each for _, each in found])


def saliency_at(
    maps: Float[Tensor, "B h w"], scale: float, half: int, config: Config, chunk: int = 512
) -> Float[Tensor, "B h w"]:
    """How much each place differs from the patches most like it, at one scale; 0 at the border, where no patch fits.

    Args:
        maps: already at that scale, 0 ... 1.
        scale: which it is, as smaller relative scales are left out.
        half: of the patches' sides.
        config: the numbers.
        chunk: patches compared at a time.
    """
    height, width = maps.shape[-2:]
    patches, places = _patches(maps, half, 1)
    saliency = maps.new_zeros(maps.shape)
    if not patches.shape[1]:
        return saliency
    samples, where = _samples(maps, scale, half, config)
    nearest, factor = min(config.nearest, samples.shape[1]), 49 / (2 * half + 1) ** 2
    means = []
    for mine, here in zip(patches.split(chunk, dim=1), places.split(chunk), strict=True):
        apart = torch.cdist(here / max(height, width), where, compute_mode="donot_use_mm_for_euclid_dist")
        unlike = torch.cdist(mine, samples, compute_mode="donot_use_mm_for_euclid_dist")
        unlike /= apart.mul_(config.position_weight).add_(1)
        means.append(unlike.topk(nearest, dim=-1, largest=False, sorted=False).values.mean(-1))
    inside = 1 - torch.exp(-factor * torch.cat(means, dim=1))
    saliency[:, half : height - half, half : width - half] = inside.view(len(maps), height - 2 * half, -1)
    return saliency


def foci_distance(foci: Bool[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """Distance of each pixel to the nearest focus, divided by the greatest; 0 where all or no pixels are foci."""
    from scipy.ndimage import distance_transform_edt

    found = []
    for each in foci.cpu().numpy():
        apart = torch.from_numpy(distance_transform_edt(~each)) if each.any() else torch.zeros(each.shape).double()
        found.append(apart / apart.max().clamp(min=1))
    return torch.stack(found).to(foci.device)


@dataclass(frozen=True)
class Salient:
    """The second step, taken apart.

    Attributes:
        scales: saliency at each scale, at its own size.
        mean: over the scales.
        foci: where the mean stands out most.
        distance: to them, 0 ... 1.
        map: the mean, weighted by nearness to the foci.
    """

    scales: tuple[Float[Tensor, "B _h _w"], ...]
    mean: Float[Tensor, "B H W"]
    foci: Bool[Tensor, "B H W"]
    distance: Float[Tensor, "B H W"]
    map: Float[Tensor, "B H W"]


def context_saliency(maps: Float[Tensor, "B H W"], config: Config) -> Salient:
    """Context-aware saliency of maps between 0 and 1, in float64: foci are a threshold, and all after hangs on it.

    Args:
        maps: grey, at the size at which they are looked at.
        config: the numbers.
    """
    maps, (height, width) = maps.double(), maps.shape[-2:]
    pairs = zip(config.scales, config.half_sizes, strict=True)
    scales = tuple(saliency_at(_scaled(maps, scale), scale, half, config) for scale, half in pairs)
    mean = torch.stack([_to_size(each, (height, width)) for each in scales]).mean(0)
    foci = mean > config.foci * mean.amax((-2, -1), keepdim=True)
    distance = foci_distance(foci)
    return Salient(scales, mean, foci, distance, mean * (1 - distance))


def salient(relevance: Float[Tensor, "B 3 H W"], config: Config) -> Float[Tensor, "B H W"]:
    """The SR map of a relevance, 0 ... 1, at the relevance's size.

    Args:
        relevance: signed, of pixels.
        config: the numbers.
    """
    maps, (height, width) = grey(relevance.double()), relevance.shape[-2:]
    if config.longest:
        scale = config.longest / max(height, width)
        maps = to_unit(_scaled(maps, scale))
    return to_unit(_to_size(context_saliency(maps, config).map, (height, width)))


class Method(nn.Module):
    """What is explained, and the settings of its maps.

    Args:
        config: the settings.
        encoder: a dual encoder, or any other network that takes images, such as a classifier.
    """

    def __init__(self, config: Config, *, encoder: nn.Module) -> None:
        super().__init__()
        if config.rules not in RULES:
            raise DeixisError(f"There is no set of rules {config.rules!r}.", f"There are: {', '.join(RULES)}.")
        self.config, self.encoder = config, encoder

    def attribute(self, images: Float[Tensor, "B 3 H W"], score: Callable[[Any], Tensor]) -> Float[Tensor, "*B H W"]:
        """Maps at image size, between 0 and 1.

        Args:
            images: preprocessed.
            score: embeddings of length 1 [B, D] (of another network its output) -> [B], or [B, T] for T maps an image.
        """
        return self.maps(images, score).image

    def maps(self, images: Float[Tensor, "B 3 H W"], score: Callable[[Any], Tensor]) -> Maps:
        """The same with the relevance itself beside, as `input`.

        Args:
            images: preprocessed.
            score: as for `attribute`.
        """
        forward = self.encoder.encode_image if isinstance(self.encoder, DualEncoder) else None
        found = relevance(self.encoder, images, score, rules=self.config.rules, forward=forward).input
        flat = found.reshape(-1, *found.shape[-3:])
        if self.config.step == "salient":
            maps = salient(flat, self.config).to(found.dtype)
        else:
            maps = blurred(flat, self.config.sigma if self.config.step == "blur" else 0.0)
        shape = (*found.shape[:-3], *found.shape[-2:])
        return Maps(maps.reshape(shape), {"input": found.sum(-3)})


_PATCHES = {"half_sizes": ((3, 2, 1, 1), (4, 3, 2, 1), (2, 1, 1, 1), (1, 1, 1, 1))}

CLAIMS = (
    Claim(
        "What stands out in the relevance covers the thing asked for better than the relevance itself, blurred or not.",
        arms={
            "SR map": Arm("srmap", {"step": "salient", "longest": 0}, grid=_PATCHES),
            "relevance": Arm("srmap", {"step": "none"}, grid=_PATCHES),
            "blurred relevance": Arm("srmap", {"step": "blur"}, grid={"sigma": (1.0, 2.0, 4.0, 8.0)}),
        },
        metric="overlap",
        statistic="final",
        minimum_effect=0.03,
        data="explained",
        budget=50,
        cheap="blurred relevance",
    ),
)
"""The paper shows pictures and no number: overlap at equal area is the measure that its words come nearest to, and 0.03
of it what the eye would still see. All arms have the same relevance. Scenes of 64 pixels are looked at as they are, so
that patches made for 250 pixels are tuned; the relevance as it is has nothing to tune, and its trials are all alike."""
