"""DenseCLIP: pixels are matched with texts that read the image, and the scores guide a head that names pixels.

    z_0, z = pooled vector and vectors of all cells of the image tower, in the space shared with text
    t_k    = text tower([start] p_1 .. p_M name_k [end]),    M vectors p, shared by all classes and learned
    t'_k   = t_k + gamma * decoder(t; [z_0, z])_k            each class reads the image ("after" the text tower)
    s_k    = cos(z, t'_k)                                    one map a class, joined to a map of the tower
    loss   = CE(head(pyramid(maps, s)), y) + 0.4 CE(s / 0.07, y)

(Rao et al. 2022, section 3, and the authors' code). Without masks, from boxes, the second term is the one that they
train detectors with: the binary cross-entropy of s / 0.07 with targets in which boxes are filled, inside of boxes.

What differs from the authors' code, or is our reading of it:
* Names may have any length that the text tower reads; the released encoder takes 5 tokens and fails on longer names.
* `where="before"` is described in the paper alone: queries that read the image stand in place of p. How they are led to
  the width of words is ours, a linear map.
* The pyramid's norms are group norms and the tower's batch norms rest, so that no image depends on its batch; the
  decoder has no dropout.
* `encoder_tower` is "any backbone", whose code was not released: a new attention pool stands behind its last map.
* `supervision="boxes"` without a detector is ours: the head learns from filled boxes, the smallest on top, and what no
  box covers is background.
* With `background` it is a class with a text of its own, and has the pixels that no mask covers; without, these are
  ignored. A region without a mask has its box ignored. Ignored pixels are counted by `aux_mean="all"`, as released.
* `classes` other than `text` are controls: `random` vectors that rest, in place of the texts; `head`, a 1 x 1
  convolution of the map in place of the scores, joined and trained likewise, which needs no text; `none`, no scores.

Relations: `mutual_prompt` reads images by the same decoder; `coop` learns vectors for whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.inputs.names import ClassNames, region_classes
from deixis.inputs.preprocess import Preprocess
from deixis.nn.adaptation.prompts import embedding_tower
from deixis.nn.dense.class_contexts import ClassContexts
from deixis.nn.dense.dense_tower import DenseStates, DenseTower
from deixis.nn.dense.feature_pyramid import SCALES, FeaturePyramid, RescaledMaps
from deixis.nn.dense.semantic_head import SemanticHead
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf
from deixis.nn.frozen import freeze
from deixis.nn.layers.context_decoder import ContextDecoder
from deixis.ops.collective import mean_count
from deixis.ops.maps import resize
from deixis.types import (
    Arm,
    Augment,
    Batch,
    Card,
    Claim,
    Features,
    FieldSpec,
    Losses,
    OptimGroup,
    OptimSpec,
    Part,
    Progress,
    Stage,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder

__all__ = ["CARD", "CLAIMS", "Config", "Method"]
__all__ += ["auxiliary_loss", "box_loss", "box_targets", "label_map", "poly_rate", "score_map"]

IMAGES = FieldSpec("images", "B 3 H W")
PHRASES = FieldSpec("phrases", "B", "object")
BOXES = FieldSpec("boxes", "B T 4", ragged="T", values="boxes")
MASKS = FieldSpec("masks", "B T H W", "bool", ragged="T")

CARD = Card(
    title="DenseCLIP: Language-Guided Dense Prediction with Context-Aware Prompting",
    year=2021,
    kind="trained",
    needs=(IMAGES, PHRASES, BOXES, MASKS),
    parts=(
        Part("encoder", "dual_encoder"),
        Part("encoder_tower", "image_tower", optional=True),
        Part("names", "names"),
    ),
    capabilities=("segment",),
    zero_gradient=("key.bias",),
    venue="CVPR",
    arxiv="2112.01518",
    code="raoyongming/DenseCLIP",
    tags=("segmentation", "prompts", "masks", "boxes"),
)

IGNORED = -1
"""The class of pixels that no loss counts."""


@dataclass(frozen=True)
class Config:
    """Settings of DenseCLIP.

    Attributes:
        encoder: the model whose image tower is tuned and whose text tower, at rest, reads the classes.
        encoder_tower: an image tower in place of the encoder's own; empty: none.
        names: the classes; one that is called as the background is not counted among them.
        background: what pixels of no class are called, which then are a class; empty: they are ignored.
        supervision: whether pixels are known (`masks`) or only `boxes`.
        classes: what the scores are of, see above: `text`, `random`, `head` or `none`.
        where: whether classes read the image `after` the text tower, `before` it, or nowhere (`off`).
        vectors: learned vectors before each name (M).
        words: what they start from, one for each of its tokens; empty: at random.
        learned: whether they are learned.
        spread: scale of the random start.
        inner: width of the decoder's blocks.
        heads: of its attention.
        depth: how many blocks it has.
        gamma: of what is added to the texts, at the start.
        temperature: that scores are divided by in their loss.
        aux_weight: of the loss of the scores, from masks.
        aux_mean: whether losses of pixels are divided by the number of `all` pixels or of those that are not ignored
            (`valid`).
        box_weight: of the loss of the scores, from boxes.
        width: of the pyramid's maps, and of the head's.
        layers: of a vision transformer, the blocks whose states are the maps; empty: the ends of its quarters.
        positions: how those of another grid are made: `resize`, or `cut`, as released for detection.
        class_twice: whether a vision transformer adds its class token twice, as released.
        warmup: steps over which the learning rate rises; below 1, their share of all.
        warmup_ratio: share of the peak at which it begins.
        power: of its fall.
        floor: share of the peak that it ends at.
        optim: how it is optimised; the tower at a tenth of the rate of the rest.
        view: of the images; its size 0: as the encoder has them.
    """

    encoder: str = "starter"
    encoder_tower: str = ""
    names: tuple[str, ...] = ()
    background: str = "background"
    supervision: Literal["masks", "boxes"] = "masks"
    classes: Literal["text", "random", "head", "none"] = "text"
    where: Literal["after", "before", "off"] = "after"
    vectors: int = 8
    words: str = ""
    learned: bool = True
    spread: float = 1.0
    inner: int = 256
    heads: int = 4
    depth: int = 3
    gamma: float = 1e-4
    temperature: float = 0.07
    aux_weight: float = 0.4
    aux_mean: Literal["all", "valid"] = "all"
    box_weight: float = 1.0
    width: int = 256
    layers: tuple[int, ...] = ()
    positions: Literal["resize", "cut"] = "resize"
    class_twice: bool = False
    warmup: int | float = 0.05
    warmup_ratio: float = 1e-6
    power: float = 0.9
    floor: float = 0.01
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=1e-4, groups=(OptimGroup("encoder", scale=0.1),))
    view: ViewSpec | None = None

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, five classes, one block, and a gate that is open."""
        return cls(
            encoder="tiny",
            names=("a", "bee", "c d", "deer", "e"),
            vectors=2,
            inner=8,
            heads=2,
            depth=1,
            gamma=0.5,
            width=8,
            optim=OptimSpec(learning_rate=0.01, weight_decay=1e-4, groups=(OptimGroup("encoder", scale=0.1),)),
        )

    @classmethod
    def desk(cls) -> Config:
        """For some hundred pictures on two cores: a narrow pyramid, a decoder of one block behind a gate that opens
        within some hundred steps, which 1e-4 does not, and vectors of the size of words."""
        return cls(
            names=("cat", "dog"),
            spread=0.02,
            inner=64,
            depth=1,
            gamma=0.1,
            width=64,
            aux_mean="valid",
            view=ViewSpec(size=0, augment=Augment(scale=(0.4, 1.0))),
        )

    @classmethod
    def paper(cls) -> Config:
        """As released for ADE20K: batches of 32, 80,000 steps. Crops of a resized image stand for resizing by 0.5 to 2
        and cropping. The encoder is to be replaced by CLIP's RN50, and the names by the 150 classes. For CLIP's
        ViT-B/16: 640 pixels, `layers` 3, 5, 7, 11 and `class_twice`.
        """
        return cls(
            names=("cat", "dog"),
            background="",
            warmup=1500,
            optim=OptimSpec(learning_rate=1e-4, weight_decay=1e-4, groups=(OptimGroup("encoder", scale=0.1),)),
            view=ViewSpec(size=512, augment=Augment(scale=(0.25, 1.0), jitter=(0.125, 0.5, 0.5, 0.05))),
        )


def score_map(cells: Float[Tensor, "B D h w"], texts: Float[Tensor, "B C D"]) -> Float[Tensor, "B C h w"]:
    """The cosine of each cell with each class.

    Args:
        cells: of the image, of any length.
        texts: of the classes, as they are for each image.
    """
    return torch.einsum("bdhw,bcd->bchw", F.normalize(cells, dim=1), F.normalize(texts, dim=-1))


def auxiliary_loss(
    logits: Float[Tensor, "B C h w"], labels: Int64[Tensor, "B H W"], mean: Literal["all", "valid"] = "all"
) -> Float[Tensor, ""]:
    """Cross-entropy of pixels, the logits resized to the labels; over the images of all ranks.

    Args:
        logits: scores over the temperature.
        labels: classes, `IGNORED` ones without a loss.
        mean: over all pixels, ignored ones included, or over the others.
    """
    fine = resize(logits, (labels.shape[1], labels.shape[2]))
    total = F.cross_entropy(fine, labels, ignore_index=IGNORED, reduction="sum")
    count = labels.numel() if mean == "all" else int((labels != IGNORED).sum())
    return total / mean_count(float(count)).clamp(min=1)


def box_targets(
    boxes: Float[Tensor, "B T 4"], classes: Int64[Tensor, "B T"], count: int, size: tuple[int, int], stride: int = 4
) -> tuple[Bool[Tensor, "B C h w"], Bool[Tensor, "B 1 h w"]]:
    """Boxes filled, class by class, and where any box is.

    As released: corners over the stride are cut to whole numbers and to the last row and column, before which a box
    ends, so that these are never filled.

    Args:
        boxes: in pixels.
        classes: of each box, from 0; a negative one is no box.
        count: of classes (C).
        size: rows and columns of the target.
        stride: pixels a cell.
    """
    height, width = size
    cells = (boxes / stride).trunc().long().clamp(min=0)
    (x0, x1), (y0, y1) = (
        cells[..., 0::2].clamp(max=width - 1).unbind(-1),
        cells[..., 1::2].clamp(max=height - 1).unbind(-1),
    )
    column, row = (torch.arange(side, device=boxes.device) for side in (width, height))
    inside = ((column >= x0[..., None]) & (column < x1[..., None]))[:, :, None]
    inside = inside & ((row >= y0[..., None]) & (row < y1[..., None]))[..., None]
    inside = inside & (classes >= 0)[..., None, None]
    own = classes[..., None] == torch.arange(count, device=boxes.device)
    target = (own[..., None, None] & inside[:, :, None]).any(dim=1)
    return target, inside.any(dim=1, keepdim=True)


def box_loss(
    logits: Float[Tensor, "B C h w"], target: Bool[Tensor, "B C H W"], mask: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class inside of boxes, the logits resized; over the images of all ranks.

    Args:
        logits: scores over the temperature.
        target: as `box_targets` gives them.
        mask: likewise.
    """
    fine = resize(logits, (target.shape[2], target.shape[3]))
    entropy = F.binary_cross_entropy_with_logits(fine, target.to(fine.dtype), reduction="none")
    count = mean_count(float(target.shape[1] * int(mask.sum())))
    return (entropy * mask).sum() / count.clamp(min=1)


def label_map(masks: Bool[Tensor, "B T H W"], classes: Int64[Tensor, "B T"], rest: int) -> Int64[Tensor, "B H W"]:
    """The class of each pixel: of things that lie on one another, the smallest.

    Args:
        masks: of the things; an empty one is none.
        classes: of each, or `IGNORED`.
        rest: the class of what no mask covers, or `IGNORED`.
    """
    labels = torch.full_like(masks[:, 0] if masks.shape[1] else masks.any(dim=1), rest, dtype=torch.long)
    order = masks.flatten(2).sum(dim=2).argsort(dim=1, descending=True, stable=True)
    rows = torch.arange(len(masks), device=masks.device)
    for place in order.T:
        labels = torch.where(masks[rows, place], classes[rows, place, None, None], labels)
    return labels


def poly_rate(step: int, total: int, warmup: int, ratio: float, power: float, floor: float) -> float:
    """The released schedule, as a factor on the peak: a fall by a power, which a linear rise cuts off at the start.

    Args:
        step: from 0.
        total: steps of the run.
        warmup: steps of the rise.
        ratio: share of the fall's value at which the rise begins.
        power: of the fall.
        floor: what it ends at.
    """
    fall = floor + (1 - floor) * (1 - min(1.0, step / max(1, total))) ** power
    return fall * (1 - (1 - step / warmup) * (1 - ratio)) if step < warmup else fall


class Method(nn.Module):
    """The encoder, the vectors of the classes, the decoder, and pyramid and head.

    Attributes:
        names: of the classes, without the background.
        classes: names of what pixels are distinguished by: the background, where there is one, and the classes.

    Raises:
        DeixisError: fewer than two classes, or the encoder's image tower gives no maps.
    """

    random: Tensor

    def __init__(
        self,
        config: Config,
        *,
        encoder: DualEncoder,
        encoder_tower: ImageEncoder | None = None,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.names = ClassNames(name for name in names if name != config.background)
        self.classes = (config.background, *self.names) if config.background else tuple(self.names)
        if len(self.classes) < 2:
            raise DeixisError(
                f"There is {len(self.classes)} class, and pixels have to be classified.", "Name two classes or more."
            )
        same = encoder_tower is None or _is_own(encoder_tower, encoder)
        self.encoder_tower: Any = None if same else encoder_tower
        # Made once, since making it looks at an image; in a tuple, so that the tower's weights are not held twice.
        self._half: tuple[ImageHalf, ...] = (ImageHalf.of(encoder),) if same else ()
        freeze(encoder.text_tower if same else encoder)
        read = config.classes in ("text", "random")
        self.dense = DenseTower(
            self.tower,
            encoder.width,
            own=same,
            vectors=read,
            layers=config.layers,
            rule=config.positions,
            class_twice=config.class_twice,
        )
        self._build_classes()
        self._build_head()

    def _build_classes(self) -> None:
        """What the scores come from."""
        config, encoder, count = self.config, self.encoder, len(self.classes)
        width = encoder.width
        if config.classes == "random":
            self.register_buffer("random", F.normalize(torch.randn(count, width), dim=-1))
        if config.classes == "head":
            self.auxiliary = nn.Conv2d(self.dense.channels[self._joined], count, 1)
        if config.classes == "text":
            tower = embedding_tower(encoder.text_tower, encoder.name)
            self.contexts = ClassContexts.of(
                tower,
                encoder.tokenizer,
                self.classes,
                config.words or config.vectors,
                spread=config.spread,
                longest=encoder.context_length,
            )
        if config.classes in ("text", "random") and config.where != "off":
            self.decoder = ContextDecoder(width, config.inner, config.heads, config.depth)
        if config.classes == "text" and config.where == "before":
            queries = self.contexts.vectors.shape
            self.queries = nn.Parameter(torch.randn(queries[0], width) * width**-0.5)
            self.widen = nn.Linear(width, queries[1])
        elif hasattr(self, "decoder"):
            self.gamma = nn.Parameter(torch.full((width,), float(config.gamma)))
        self._known: tuple[Any, Tensor] | None = None

    def _build_head(self) -> None:
        config, count, dense = self.config, len(self.classes), self.dense
        self.rescaled = RescaledMaps(dense.channels[0]) if dense.single else None
        strides = [1 / scale for scale in SCALES] if dense.single else dense.strides
        channels = list(dense.channels)
        if config.classes != "none":
            channels[self._joined] += count
        if self.rescaled is not None and config.classes != "none":
            self.rescaled.levels[self._joined] = nn.Identity()
        self.pyramid = FeaturePyramid(channels, config.width)
        self.head = SemanticHead(config.width, config.width, [each / strides[0] for each in strides], count)

    @property
    def tower(self) -> Any:
        """The image tower that is read."""
        return self._half[0] if self.encoder_tower is None else self.encoder_tower

    @property
    def _joined(self) -> int:
        """The level to which the scores are joined: the last, or of maps of one size the one that keeps it."""
        return SCALES.index(1.0) if self.dense.single else len(self.dense.channels) - 1

    def stages(self) -> tuple[Stage, ...]:
        """One, in which the tower's batch norms rest."""
        tower = self.dense.trained(self.tower)
        if self.encoder_tower is None:
            names = [name.replace("network.", "encoder.image_tower.", 1) for name in tower]
        else:
            names = [f"encoder_tower.{name}" for name in tower]
        own = ("dense.", "decoder.", "gamma", "queries", "widen.", "auxiliary.", "rescaled.", "pyramid.", "head.")
        contexts = self.config.learned and self.config.where != "before"
        fields = (BOXES,) if self.config.supervision == "boxes" else (BOXES, MASKS)
        return (
            Stage(
                trainable=(*names, *own, *(("contexts.",) if contexts else ())),
                needs=(IMAGES, PHRASES, *fields),
                evaluate=("encoder",),
            ),
        )

    def rate(self, progress: Progress) -> float:
        """Factor on the learning rate."""
        config = self.config
        warmup = round(config.warmup * progress.total) if config.warmup < 1 else int(config.warmup)
        return poly_rate(progress.step, progress.total, warmup, config.warmup_ratio, config.power, config.floor)

    def texts(self, states: DenseStates | None = None) -> Float[Tensor, "B C D"]:
        """The classes before they read the image, one row for all images, or with `where="before"` one for each.

        Args:
            states: of the images, for `where="before"`.
        """
        if self.config.classes == "random":
            return self.random[None]
        tower = embedding_tower(self.encoder.text_tower)
        if self.config.where == "before":
            assert states is not None
            read = self.decoder(self.queries.expand(len(states.whole), -1, -1), _memory(states))
            return self.contexts(tower, self.widen(read))
        if torch.is_grad_enabled():
            return self.contexts(tower)
        vectors = self.contexts.vectors
        key = (vectors.data_ptr(), vectors._version, vectors.device)
        if self._known is None or self._known[0] != key:
            self._known = (key, self.contexts(tower))
        return self._known[1]

    def refined(self, states: DenseStates) -> Float[Tensor, "B C D"]:
        """The classes as they are for each image."""
        texts = self.texts(states).expand(len(states.whole), -1, -1)
        if not hasattr(self, "gamma"):
            return texts
        return texts + self.gamma * self.decoder(texts, _memory(states))

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `logits` [B, C, H, W] of the head and, where there are any, `scores` [B, C, h, w], over the temperature
        where these are cosines."""
        assert batch.images is not None
        logits, scores = self.predicted(batch.images)
        return Features({"logits": logits, **({} if scores is None else {"scores": scores})})

    def predicted(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B C _h _w"], Float[Tensor, "B C _i _j"] | None]:
        """Logits of the head, and the scores as their loss takes them.

        Args:
            images: preprocessed as the encoder has them.
        """
        images, config = self._entered(images), self.config
        joined: Tensor | None = None
        scores: Tensor | None = None
        if config.classes in ("text", "random"):
            states = self.dense(self.tower, images)
            maps, cosines = list(states.maps), score_map(states.cells, self.refined(states))
            scores = cosines / config.temperature
            joined = scores if config.supervision == "boxes" else cosines
        else:
            maps = list(self.dense.maps(self.tower, images))
            if config.classes == "head":
                joined = scores = self.auxiliary(maps[self._joined])
        if self.rescaled is not None:
            maps = self.rescaled(maps)
        if joined is not None:
            maps[self._joined] = torch.cat([maps[self._joined], joined], dim=1)
        return self.head(self.pyramid(maps)), scores

    def _entered(self, images: Tensor) -> Tensor:
        """The images with the values that the tower takes, which batches have as the encoder does."""
        if self.encoder_tower is None:
            return images
        given, taken = self.encoder.preprocess, self.encoder_tower.preprocess
        assert isinstance(taken, Preprocess)
        (mean, std), (other, wide) = (
            (images.new_tensor(each.mean)[:, None, None], images.new_tensor(each.std)[:, None, None])
            for each in (given, taken)
        )
        return (images * std + mean - other) / wide

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Parts `pixels` and, where there are scores, `scores`."""
        config, labels = self.config, self.labels(batch)
        logits, scores = features.rows["logits"], features.rows.get("scores")
        parts = {"pixels": auxiliary_loss(logits, labels, config.aux_mean)}
        fine = resize(logits.detach(), (labels.shape[1], labels.shape[2])).argmax(dim=1)
        known = labels != IGNORED
        metrics: dict[str, Tensor | float] = {"accuracy": ((fine == labels) & known).sum() / known.sum().clamp(min=1)}
        if scores is not None and config.supervision == "masks":
            parts["scores"] = config.aux_weight * auxiliary_loss(scores, labels, config.aux_mean)
        elif scores is not None:
            parts["scores"] = config.box_weight * self._box_loss(scores, batch)
        return Losses(parts, metrics)

    def _box_loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Of all classes that can have a box."""
        assert batch.boxes is not None
        assert batch.images is not None
        height, width = batch.images.shape[2:]
        boxes = batch.boxes * batch.boxes.new_tensor([width, height, width, height])
        target, mask = box_targets(boxes, self._numbers(batch), len(self.classes), (height // 4, width // 4))
        first = len(self.classes) - len(self.names)  # the background has no boxes
        return box_loss(scores[:, first:], target[:, first:], mask)

    def labels(self, batch: Batch) -> Int64[Tensor, "B H W"]:
        """The class of each pixel of the images, as masks or boxes say, or `IGNORED`."""
        assert batch.boxes is not None
        assert batch.images is not None
        filled, numbers = _filled(batch.boxes, (batch.images.shape[2], batch.images.shape[3])), self._numbers(batch)
        if self.config.supervision == "masks":
            assert batch.masks is not None
            known = batch.masks.flatten(2).any(dim=2)
            filled = torch.where(known[..., None, None], batch.masks, filled)
            numbers = numbers.where(known, IGNORED)
        filled = filled & batch.valid["T"][..., None, None]
        rest = self.classes.index(self.config.background) if self.config.background else IGNORED
        return label_map(filled, numbers, rest)

    def _numbers(self, batch: Batch) -> Int64[Tensor, "B T"]:
        """The class of each region, by what it is called; `IGNORED` where it has the name of no class."""
        assert batch.phrases is not None
        valid = batch.valid["T"]
        numbers = region_classes(self.names, batch.phrases, valid.shape[1]).to(valid.device)
        first = len(self.classes) - len(self.names)
        return torch.where(valid & (numbers >= 0), numbers + first, IGNORED)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """The chance of each class at each pixel; the background, where there is one, comes first."""
        logits, _ = self.predicted(images)
        return resize(logits, (images.shape[2], images.shape[3])).softmax(dim=1)


def _is_own(tower: Any, encoder: DualEncoder) -> bool:
    """Whether a tower is the encoder's own, which leads into the shared space itself."""
    own, given = encoder.image_tower.state_dict(), tower.network.state_dict()
    if own.keys() != given.keys() or any(own[name].shape != value.shape for name, value in given.items()):
        return False
    return all(value.is_meta or torch.equal(value, own[name]) for name, value in given.items())


def _memory(states: DenseStates) -> Float[Tensor, "B M D"]:
    return torch.cat([states.whole[:, None], states.cells.flatten(2).transpose(1, 2)], dim=1)


def _filled(boxes: Float[Tensor, "B T 4"], size: tuple[int, int]) -> Bool[Tensor, "B T H W"]:
    """The pixels whose middle lies in each box."""
    y, x = ((torch.arange(side, device=boxes.device) + 0.5) / side for side in size)
    x0, y0, x1, y1 = (each[..., None] for each in boxes.unbind(-1))
    return ((y0 <= y) & (y < y1))[..., None] & ((x0 <= x) & (x < x1))[:, :, None]


_NOUNS = ("arrow", "bar", "circle", "cross", "heart", "ring", "star", "triangle")
_TEXTS = {"names": _NOUNS}
_GRID = {"learning_rate": (5e-4, 2e-3), "gamma": (1e-4, 0.1)}
_WEIGHTS = {"learning_rate": (5e-4, 2e-3), "aux_weight": (0.4, 1.0)}

CLAIMS = (
    Claim(
        "From 100 pictures with masks, scores of pixels by texts that read the image lead to better classes of pixels "
        "than the same head without texts, than random vectors in place of the texts, than plain tuning, and than "
        "texts of fixed words.",
        arms={
            "texts": Arm("denseclip", _TEXTS, grid=_GRID),
            "head without texts": Arm("denseclip", {**_TEXTS, "classes": "head"}, grid=_WEIGHTS),
            "random vectors": Arm("denseclip", {**_TEXTS, "classes": "random"}, grid=_GRID),
            "plain": Arm(
                "denseclip",
                {**_TEXTS, "classes": "none"},
                grid={"learning_rate": (5e-4, 2e-3), "weight_decay": (1e-4, 1e-2)},
            ),
            "fixed words": Arm("denseclip", {**_TEXTS, "where": "off", "learned": False, "words": "a"}, grid=_WEIGHTS),
        },
        metric="miou",
        statistic="final",
        minimum_effect=0.02,
        data="masks",
        budget=4_800,
        trial=0.5,
        cheap="head without texts",
    ),
)
"""The paper compares the whole with plain tuning of the same weights and pyramid: 43.5 and 39.6 mIoU on ADE20K. A head
without texts that is joined and trained likewise, and vectors that say nothing, are what it leaves out."""
