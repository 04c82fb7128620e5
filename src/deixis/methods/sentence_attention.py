"""Sentence Attention Blocks: a sentence alone says which channels of an image's maps count, and where its answer lies.

    gate(t) = softmax over channels of  P relu(LN(E t)),     map' = map * gate(t)          t: the sentence, one vector

Squeeze-and-excitation whose squeeze is the sentence in place of the pooled image. Each map of a tower has a block of
its own; from the coarsest on, maps are joined:

    low = up(BN(conv 1x1 of the coarser map)),    map = relu(low + map)           up: bilinear, to the finer map's size

and a linear map of the finest, upsampled to the image, gives each pixel's logits of "no answer" and "answer"
(Khoshsirat and Kambhamettu, 2023; equations as in the authors' model file). Images are first normalised one by one, by
running statistics when they are only looked at.

What is ours: the loss, as none is published, is the cross-entropy of pixels, with `dice` a share of dice as well; the
channels are asked of the tower (the authors' table of them is wrong for EfficientNet-B0 to B2); maps are brought to the
size of the finer one whatever their sizes. The softmax divides a map by about its channels, and only coarser maps have
a norm behind them: the first loss tells how little the finest says at the start.

`conditioning` takes something else in place of the gates, with as many weights: `film` (scale and shift), `squeeze` (an
ordinary gate, sigmoid, of the pooled map and the sentence), `tiled` (the sentence beside each cell of the last map), or
`none`. Batches go through whole, since batch norms mix their samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.vision.any_size import parameters_before
from deixis.ops.collective import mean_count, total
from deixis.ops.precision import to_float32
from deixis.ops.regions.dense import dice_loss
from deixis.types import (
    Arm,
    Batch,
    Card,
    Claim,
    FieldSpec,
    Losses,
    Made,
    OptimGroup,
    OptimSpec,
    Part,
    Progress,
    SampleSpec,
    Stage,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder, TextEncoder

__all__ = ["CARD", "CLAIMS", "AnswerPyramid", "Config", "InputNorm", "MergeBlock", "Method"]
__all__ += ["SentenceFilm", "SentenceGate", "SqueezeGate", "TiledSentence", "Ungated", "hidden_width"]

CARD = Card(
    title="Sentence Attention Blocks for Answer Grounding",
    year=2023,
    kind="trained",
    needs=(
        FieldSpec("images", "B 3 H W"),
        FieldSpec("sentence", "B D", values="unit", made=Made("text", "forward", of=("text",))),
        FieldSpec("masks", "B T H W", "bool", ragged="T"),
    ),
    parts=(Part("tower", "image_tower"), Part("text", "text_encoder", frozen=True)),
    capabilities=("answer_mask",),
    min_batch=2,
    venue="ICCV",
    arxiv="2309.11593",
    code="khoshsirat/embedding-attention-blocks",
    tags=("grounding", "questions", "segmentation", "channel attention"),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of Sentence Attention Blocks.

    Attributes:
        tower: the image tower, which is trained.
        text: the text encoder, which rests; a sentence is one vector of it.
        conditioning: how the sentence acts on maps: `gate`, or `film`, `squeeze`, `tiled`, `none`, see above.
        maps: which maps it acts on: `all`, or the `last`, the coarsest.
        expansion: hidden units of a gate for each number of the sentence.
        activation: of a gate: `softmax` over channels, or `sigmoid`.
        norm: whether hidden units of a gate are normalised.
        dropout: in front of the classifier.
        dice: weight of the dice loss beside the cross-entropy.
        optim: how it is optimised.
        view: of the images; None: as the tower has them.
        sample: how many tokens of a sentence are read.
    """

    tower: str = "starter"
    text: str = "minilm"
    conditioning: Literal["gate", "film", "squeeze", "tiled", "none"] = "gate"
    maps: Literal["all", "last"] = "all"
    expansion: int = 4
    activation: Literal["softmax", "sigmoid"] = "softmax"
    norm: bool = True
    dropout: float = 0.5
    dice: float = 0.0
    optim: OptimSpec = OptimSpec(
        learning_rate=1e-3,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=0.05,
        groups=(OptimGroup("tower", scale=0.1),),
    )
    view: ViewSpec | None = None
    sample: SampleSpec = SampleSpec(tokenizer="text", length=64)

    @classmethod
    def tiny(cls) -> Config:
        """For tests."""
        return cls(
            tower="tiny",
            text="tiny",
            expansion=2,
            dice=0.5,
            optim=OptimSpec(learning_rate=1e-2),
            sample=SampleSpec(tokenizer="text", length=12),
        )

    @classmethod
    def desk(cls) -> Config:
        """For two cores: the starter's tower, at a tenth of the rate of what is new, and sentences of MiniLM."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The published network; optimiser, rate and size of the images are not published, and are ours."""
        return cls(tower="timm:efficientnet_b7")


def hidden_width(kind: str, sentence: int, channels: int, weights: int) -> int:
    """Hidden units with which a way to act on a map has about so many weights.

    Args:
        kind: which way.
        sentence: width of the sentence.
        channels: of the map.
        weights: how many there are to be.
    """
    enter = sentence + channels * (kind in ("squeeze", "tiled"))
    leave = channels * (2 if kind == "film" else 1)
    norm = 0 if kind == "tiled" else 2
    return max(1, round((weights - leave) / (enter + 1 + norm + leave)))


class SentenceGate(nn.Module):
    """Which channels of a map count, by the sentence alone.

    Args:
        sentence: width of the sentence.
        channels: of the map.
        hidden: units between.
        activation: `softmax` over channels, or `sigmoid`.
        norm: whether hidden units are normalised.
    """

    def __init__(
        self,
        sentence: int,
        channels: int,
        hidden: int,
        activation: Literal["softmax", "sigmoid"] = "softmax",
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.expand = nn.Linear(sentence, hidden)
        self.norm: nn.Module = nn.LayerNorm(hidden) if norm else nn.Identity()
        self.project = nn.Linear(hidden, channels)
        self.activation = activation

    def gate(self, sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C"]:
        """A factor for each channel; those of a softmax sum to 1."""
        scores = self.project(F.relu(self.norm(self.expand(sentence))))
        return scores.sigmoid() if self.activation == "sigmoid" else to_float32(scores).softmax(-1).to(scores)

    def forward(self, cells: Float[Tensor, "B C h w"], sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C h w"]:
        """The map, each channel times its factor."""
        return cells * self.gate(sentence)[:, :, None, None]


class SentenceFilm(SentenceGate):
    """A scale and a shift for each channel, by the sentence alone (Perez et al., 2018).

    Args:
        sentence: width of the sentence.
        channels: of the map.
        hidden: units between.
    """

    def __init__(self, sentence: int, channels: int, hidden: int) -> None:
        super().__init__(sentence, 2 * channels, hidden)

    def forward(self, cells: Float[Tensor, "B C h w"], sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C h w"]:
        """The map times 1 + scale, plus shift."""
        scale, shift = self.project(F.relu(self.norm(self.expand(sentence))))[:, :, None, None].chunk(2, dim=1)
        return cells * (1 + scale) + shift


class SqueezeGate(SentenceGate):
    """A factor between 0 and 1 for each channel, by the pooled map and the sentence (squeeze-and-excitation).

    Args:
        sentence: width of the sentence.
        channels: of the map.
        hidden: units between.
    """

    def __init__(self, sentence: int, channels: int, hidden: int) -> None:
        super().__init__(sentence + channels, channels, hidden, "sigmoid")

    def forward(self, cells: Float[Tensor, "B C h w"], sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C h w"]:
        """The map, each channel times its factor."""
        return super().forward(cells, torch.cat([cells.mean((2, 3)), sentence], dim=-1))


class TiledSentence(nn.Module):
    """The sentence beside each cell of a map, and two linear maps of both.

    Args:
        sentence: width of the sentence.
        channels: of the map.
        hidden: units between.
    """

    def __init__(self, sentence: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(sentence + channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, cells: Float[Tensor, "B C h w"], sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C h w"]:
        """As many channels as before."""
        tiled = sentence[:, :, None, None].expand(-1, -1, *cells.shape[2:])
        return self.leave(F.relu(self.enter(torch.cat([cells, tiled], dim=1))))


class Ungated(nn.Module):
    """The map as it is."""

    def forward(self, cells: Float[Tensor, "B C h w"], sentence: Float[Tensor, "B S"]) -> Float[Tensor, "B C h w"]:
        """The same."""
        return cells


class MergeBlock(nn.Module):
    """A coarser map joined to a finer one: normed before it is upsampled.

    Args:
        coarse: channels of the coarser map.
        fine: channels of the finer one.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(coarse, fine, 1, bias=False)
        self.norm = nn.BatchNorm2d(fine)

    def forward(self, coarse: Float[Tensor, "B C h w"], fine: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """At the finer map's size, whatever it is."""
        return F.relu(_upsampled(self.norm(self.conv(coarse)), fine.shape[-2:]) + fine)


def _upsampled(cells: Float[Tensor, "B C h w"], size: Sequence[int]) -> Float[Tensor, "B C H W"]:
    return F.interpolate(cells, tuple(size), mode="bilinear", align_corners=False)


class AnswerPyramid(nn.Module):
    """Maps that the sentence acts on, joined from the coarsest to the finest, and a classifier of the pixels.

    Args:
        channels: of the maps, the finest first.
        sentence: width of the sentence.
        config: how it acts on them.
    """

    def __init__(self, channels: Sequence[int], sentence: int, config: Config) -> None:
        super().__init__()
        self.gate = nn.ModuleList(_blocks(channels, sentence, config))
        self.merge = nn.ModuleList(MergeBlock(coarse, fine) for fine, coarse in itertools.pairwise(channels))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Conv2d(channels[0], 2, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "B _ _ _"]], sentence: Float[Tensor, "B S"], size: Sequence[int]
    ) -> Float[Tensor, "B 2 H W"]:
        """Logits of "no answer" and "answer".

        Args:
            maps: of the tower, the finest first.
            sentence: one vector each.
            size: height and width of the images.
        """
        gated = [gate(cells, sentence) for gate, cells in zip(self.gate, maps, strict=True)]
        joined = gated[-1]
        for merge, finer in zip(reversed(self.merge), reversed(gated[:-1]), strict=True):
            joined = merge(joined, finer)
        return _upsampled(self.classifier(self.dropout(joined)), size)


def _blocks(channels: Sequence[int], sentence: int, config: Config) -> list[nn.Module]:
    """What acts on each map: as many weights in all, whatever it is."""
    hidden, last = config.expansion * sentence, len(channels) - 1
    acts = [config.maps == "all" or level == last for level in range(len(channels))]
    weights = [(sentence + 1 + 2 * config.norm) * hidden + (hidden + 1) * each for each in channels]
    if config.conditioning == "tiled":
        whole = sum(weight for weight, act in zip(weights, acts, strict=True) if act)
        width = hidden_width("tiled", sentence, channels[last], whole)
        return [*(Ungated() for _ in channels[:-1]), TiledSentence(sentence, channels[last], width)]
    return [
        _block(config, sentence, each, weight) if act else Ungated()
        for each, weight, act in zip(channels, weights, acts, strict=True)
    ]


def _block(config: Config, sentence: int, channels: int, weights: int) -> nn.Module:
    kind = config.conditioning
    if kind == "none":
        return Ungated()
    if kind == "gate":
        return SentenceGate(sentence, channels, config.expansion * sentence, config.activation, config.norm)
    width = hidden_width(kind, sentence, channels, weights)
    return (SentenceFilm if kind == "film" else SqueezeGate)(sentence, channels, width)


class InputNorm(nn.InstanceNorm2d):
    """Each image normalised by itself in training, by running statistics of all ranks else; nothing to learn.

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels, track_running_stats=True)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The images, normalised colour by colour."""
        if not self.training:
            return super().forward(images)
        self._follow(images)
        return F.instance_norm(images, eps=self.eps)

    @torch.no_grad()
    def _follow(self, images: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        variance, mean = torch.var_mean(to_float32(images), dim=(2, 3))
        count = total(torch.tensor(float(len(images)), device=images.device))
        self.running_mean.lerp_((total(mean.sum(0)) / count).to(self.running_mean), self.momentum or 0.0)
        self.running_var.lerp_((total(variance.sum(0)) / count).to(self.running_var), self.momentum or 0.0)


class Method(nn.Module):
    """Input norm, tower and pyramid; the text encoder rests."""

    def __init__(self, config: Config, *, tower: ImageEncoder, text: TextEncoder) -> None:
        super().__init__()
        assert isinstance(tower, nn.Module)
        self.config, self.text = config, text
        self.tower: Any = share_batch_norms(tower)
        self.input_norm = InputNorm()
        self.pyramid = share_batch_norms(AnswerPyramid(tower.channels, text.width, config))
        self._trained = parameters_before(tower, _every_map)

    def stages(self) -> tuple[Stage, ...]:
        """One, in which what of the tower lies behind its maps rests."""
        return (Stage(trainable=(*(f"tower.{name}" for name in self._trained), "pyramid.")),)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """Parts `pixels` and, where the config asks for it, `dice`."""
        assert batch.images is not None
        assert batch.masks is not None
        logits = to_float32(self._logits(batch.images, batch.extra["sentence"]))
        wanted = answer_pixels(batch.masks, batch.valid["T"])
        count = mean_count(float(len(wanted))).to(logits)
        entropy = F.cross_entropy(logits, wanted.long(), reduction="none").flatten(1).mean(1)
        parts = {"pixels": entropy.sum() / count}
        if self.config.dice:
            parts["dice"] = self.config.dice * dice_loss(logits[:, 1] - logits[:, 0], wanted).sum() / count
        return Losses(parts)

    def _logits(self, images: Tensor, sentence: Tensor) -> Float[Tensor, "B 2 H W"]:
        return self.pyramid(self.tower.feature_maps(self.input_norm(images)), sentence, images.shape[-2:])

    @torch.no_grad()
    def answer_mask(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B H W"]:
        """How likely each pixel is one that the answer rests on.

        Args:
            images: as the tower takes them.
            tokens: of a question each.
            mask: which are real; all by default.
        """
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        return to_float32(self._logits(images, self.text(tokens, real))).softmax(1)[:, 1]


def answer_pixels(masks: Bool[Tensor, "B T H W"], valid: Bool[Tensor, "B T"]) -> Bool[Tensor, "B H W"]:
    """The pixels of all things that an answer rests on; none where it rests on nothing.

    Args:
        masks: of these things.
        valid: which of them are no padding.
    """
    return (masks & valid[..., None, None]).any(1)


def _every_map(tower: Any, images: Tensor) -> Tensor:
    return torch.cat([cells.flatten() for cells in tower.feature_maps(images)])


_GRID = {"optim.learning_rate": (1e-3, 3e-3)}
_NEW = {"optim.groups": ()}  # the tower is new and trains at the rate of the rest
_GATE = Arm("sentence_attention", _NEW, {}, _GRID)
_FILM = Arm("sentence_attention", {**_NEW, "conditioning": "film"}, {}, _GRID)
_NONE = Arm("sentence_attention", {**_NEW, "conditioning": "none"}, {}, _GRID)

# The paper's ablations could not be read. All rivals have as many weights as the gates. A gate holds no place, so that
# questions of how one thing lies to another are expected to stay hard for all.
CLAIMS = (
    Claim(
        "A gate made of the sentence alone shows where an answer lies better than a scale and a shift of as many "
        "weights, a squeeze gate of image and sentence, the sentence beside each cell, and no sentence.",
        arms={
            "sentence gate": _GATE,
            "scale and shift": _FILM,
            "squeeze gate": Arm("sentence_attention", {**_NEW, "conditioning": "squeeze"}, {}, _GRID),
            "tiled sentence": Arm("sentence_attention", {**_NEW, "conditioning": "tiled"}, {}, _GRID),
            "no sentence": _NONE,
        },
        metric="answer_iou",
        minimum_effect=0.02,
        cheap="scale and shift",
        statistic="final",
        data="answers",
        budget=19_200,
        trial=0.5,
        seeds=5,
        first_seed=1,
    ),
    Claim(
        "It does so where a colour or a size is asked of a thing.",
        arms={"sentence gate": _GATE, "scale and shift": _FILM, "no sentence": _NONE},
        metric="attribute",
        minimum_effect=0.02,
        primary=False,
        cheap="scale and shift",
        statistic="final",
        data="answers",
        budget=19_200,
        trial=0.5,
        seeds=5,
        first_seed=1,
    ),
    Claim(
        "It does so where it is asked how one thing lies to another.",
        arms={"sentence gate": _GATE, "scale and shift": _FILM, "no sentence": _NONE},
        metric="relation",
        minimum_effect=0.02,
        primary=False,
        cheap="scale and shift",
        statistic="final",
        data="answers",
        budget=19_200,
        trial=0.5,
        seeds=5,
        first_seed=1,
    ),
    Claim(
        "A softmax over channels shows it better than a sigmoid of each.",
        arms={
            "softmax": _GATE,
            "sigmoid": Arm("sentence_attention", {**_NEW, "activation": "sigmoid"}, {}, _GRID),
        },
        metric="answer_iou",
        minimum_effect=0.02,
        primary=False,
        cheap="sigmoid",
        statistic="final",
        data="answers",
        budget=19_200,
        trial=0.5,
        seeds=5,
        first_seed=1,
    ),
    Claim(
        "Gates of all maps show it better than one of the last.",
        arms={"all maps": _GATE, "last map": Arm("sentence_attention", {**_NEW, "maps": "last"}, {}, _GRID)},
        metric="answer_iou",
        minimum_effect=0.02,
        primary=False,
        cheap="last map",
        statistic="final",
        data="answers",
        budget=19_200,
        trial=0.5,
        seeds=5,
        first_seed=1,
    ),
)
