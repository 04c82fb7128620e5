"""DITO: the head of a detector learns from captions, by random boxes, before it learns from boxes of base classes.

    pairs:  image tower and text tower learn from captions
    head:   r_b = box head(RoI-Align(pyramid(map), b)) of random boxes b;  contrast(pool_b r_b; caption)
    base:   CE(cos(r, t) / (0.1 tau)) over background and base classes,  and where things are (centerness, sides)
    found:  e_k = p_k^(1-w) v_k^w, w = 0.35 of base classes and 0.65 of others, times objectness^3

with p the softmax of the detector and v that of the map itself in boxes 0.7 times as large, which keeps what the trunk
knew (Kim et al. 2023, and the authors' code). The trunk sees windows and is run on two shifts of its grid.

The head's pre-training was not published: whether regions are pooled by the maximum or the mean, each level by itself
or all together, and how boxes are drawn is unknown. Here they are settings (`pool`, `levels`, `area`, `ratio`), and the
values are ours. What else differs, or is our reading of it:
* The trunk rests in `head` and `base`: where it is never trained, its maps are computed once. The authors train it in
  the last stage at 0.6 of the rate, and keep a second one at rest.
* Regions to learn from are boxes of the data, moved ones, and random ones; theirs come from the proposals. Boxes are
  proposed and then no longer refined.
* A box of a level is of the size that is nearest to 14 cells there; centerness counts places in boxes as much as all
  others.
* What is asked for is compared with the background and the base classes; the background is a learned vector.
* Windows that do not divide the grid are refused; the authors' code has no padding either.

Relations: `mdetr` reads phrase and image together, and knows no class that it did not see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.inputs.names import ClassNames, region_classes
from deixis.nn.dense.window_trunk import WindowTrunk
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.nn.regions.centre_proposals import CentreProposals, place_targets
from deixis.nn.regions.framed_proposals import FramedProposals
from deixis.nn.regions.region_encoder import RegionEncoder, pooled_boxes
from deixis.ops.collective import mean_count
from deixis.ops.contrastive import info_nce
from deixis.ops.regions.boxes import box_clip, box_convert, pairwise_iou
from deixis.types import (
    Arm,
    Batch,
    Card,
    Claim,
    Features,
    FieldSpec,
    GroundOutput,
    Losses,
    Made,
    OptimSpec,
    Part,
    Progress,
    SampleSpec,
    Stage,
    Tokens,
)
from deixis.types.protocols import Proposals

__all__ = ["CARD", "CLAIMS", "Config", "Method"]
__all__ += ["class_logits", "ensemble_scores", "pooled_info_nce", "random_boxes", "scaled_boxes"]

IMAGES = FieldSpec("images", "B 3 H W")
TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")
PHRASES = FieldSpec("phrases", "B", "object")
BOXES = FieldSpec("boxes", "B T 4", ragged="T", values="boxes")
CELLS = FieldSpec("cells", "B F H W", made=Made("trunk", "forward"))
TEXT = FieldSpec("text_embedding", "B D", values="unit", made=Made("encoder", "encode_text", of=("text",)))

CARD = Card(
    title="Region-Centric Image-Language Pretraining for Open-Vocabulary Detection (DITO)",
    year=2023,
    kind="trained",
    needs=(IMAGES, TOKENS, PHRASES, BOXES),
    parts=(
        Part("encoder", "dual_encoder"),
        Part("proposals", "proposals", frozen=True, optional=True),
        Part("names", "names"),
    ),
    capabilities=("ground",),
    min_batch=2,
    zero_gradient=("key.bias",),
    venue="ECCV",
    arxiv="2310.00161",
    code="google-research/google-research",
    tags=("detection", "open vocabulary", "regions", "captions"),
)

_SCALE = 0.1
"""What the learned temperature of the detector is multiplied by."""


@dataclass(frozen=True)
class Config:
    """Settings of DITO.

    Attributes:
        encoder: the model whose image tower is the trunk and whose text tower reads the classes.
        proposals: a part that proposes boxes; empty: a network of its own does, which learns from the base classes.
        names: the base classes.
        shares: of the steps: of pairs, of the head, and of base classes; 0 leaves a stage out. Without pairs the trunk
            rests, and its maps are computed once.
        captions: the source that pairs and head draw captions from, as `--source NAME=PATH` calls it; empty: the run's
            own data.
        windows: windows a side in the trunk's blocks that are not whole; 0: all are whole.
        whole: blocks that attend to all cells, evenly spread.
        shift: cells by which the trunk is shifted for its second pass, about half a window; 0: there is one pass.
        scales: of the pyramid's levels against the trunk's map: 4, 2, 1 or 0.5.
        width: of the pyramid's levels.
        hidden: units of the box head.
        size: places a side that are read in a box.
        regions: random boxes of an image in the stage `head`.
        area: range of their areas, as shares of the image; the logarithm is drawn evenly.
        ratio: range of their width by height.
        pool: how regions become one vector: `max` or `mean`.
        levels: `each` level of the pyramid has a loss of its own, or all are pooled together, `joined`.
        scale: factor on the cosines of pairs and of pooled regions.
        moved: moved copies of each box that base classes are learned from.
        strays: random boxes of an image beside them.
        background: weight of regions that show nothing.
        overlap: IoU from which on a region is what a box shows.
        box_weight: of the loss of sides, 1 - IoU.
        template: what is said of a class, `{}` being its name.
        count: boxes that are proposed.
        nms: IoU beyond which a proposal removes a less certain one.
        vlm_size: places a side that the map itself is read at.
        vlm_scale: factor on the sides of boxes for that.
        vlm_temperature: of its cosines.
        base_weight: exponent of its chances for base classes.
        novel_weight: the same for others.
        power: of the objectness.
        optim: how it is optimised.
        sample: the captions and their length.
    """

    encoder: str = "starter"
    proposals: str = ""
    names: tuple[str, ...] = ()
    shares: tuple[float, float, float] = (0.0, 0.5, 0.5)
    captions: str = ""
    windows: int = 0
    whole: int = 4
    shift: int = 0
    scales: tuple[float, ...] = (2.0, 1.0, 0.5)
    width: int = 64
    hidden: int = 256
    size: int = 7
    regions: int = 16
    area: tuple[float, float] = (0.02, 0.5)
    ratio: tuple[float, float] = (0.5, 2.0)
    pool: Literal["max", "mean"] = "max"
    levels: Literal["each", "joined"] = "each"
    scale: float = 1 / 0.07
    moved: int = 3
    strays: int = 16
    background: float = 0.9
    overlap: float = 0.5
    box_weight: float = 8.0
    template: str = "a {}"
    count: int = 50
    nms: float = 0.7
    vlm_size: int = 14
    vlm_scale: float = 0.7
    vlm_temperature: float = 0.01
    base_weight: float = 0.35
    novel_weight: float = 0.65
    power: float = 3.0
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", warmup=0.05)
    sample: SampleSpec = SampleSpec()

    @classmethod
    def tiny(cls) -> Config:
        """For tests: all stages, few regions."""
        return cls(
            encoder="tiny",
            names=("a", "bee", "c d"),
            shares=(0.2, 0.4, 0.4),
            scales=(1.0, 0.5),
            width=8,
            hidden=16,
            size=2,
            regions=3,
            moved=1,
            strays=2,
            count=6,
            vlm_size=2,
            optim=OptimSpec(learning_rate=0.01, weight_decay=1e-4),
            sample=SampleSpec(length=12),
        )

    @classmethod
    def desk(cls) -> Config:
        """For some hundred pictures with boxes and some thousand captions: the trunk at rest, a narrow pyramid."""
        return cls(names=("cat", "dog"), captions="captions")

    @classmethod
    def paper(cls) -> Config:
        """As released for COCO: 1024 pixels, batches of 256, 46,100 steps of base classes; of the stages before nothing
        is known but that they are there. The encoder is to be replaced by a ViT-L/16 without a class token.
        """
        return cls(
            names=("cat", "dog"),
            captions="captions",
            shares=(1 / 3, 1 / 3, 1 / 3),
            windows=4,
            shift=8,
            scales=(4.0, 2.0, 1.0, 0.5),
            width=256,
            hidden=1024,
            count=300,
            optim=OptimSpec(
                "sgd",
                learning_rate=0.18,
                weight_decay=1e-4,
                no_decay=("temperature",),
                schedule="step",
                warmup=1000,
                milestones=(0.8, 0.9, 0.95),
            ),
        )


def random_boxes(
    numbers: Float[Tensor, "B R 4"], area: tuple[float, float], ratio: tuple[float, float]
) -> Float[Tensor, "B R 4"]:
    """Boxes inside of the image, from 0 to 1.

    Args:
        numbers: from 0 to 1: for area, shape, and two of place.
        area: range, as shares of the image's.
        ratio: range of width by height; where a box would not fit, it is as wide or as high as the image.
    """
    logs = [math.log(low) + (math.log(high) - math.log(low)) * each for (low, high), each in
            zip((area, ratio), (numbers[..., 0], numbers[..., 1]), strict=True)]  # fmt: skip
    width, height = (((logs[0] + sign * logs[1]) / 2).exp().clamp(max=1.0) for sign in (1, -1))
    x, y = numbers[..., 2] * (1 - width), numbers[..., 3] * (1 - height)
    return torch.stack([x, y, x + width, y + height], dim=-1)


def pooled_info_nce(
    regions: Float[Tensor, "B R D"],
    text: Float[Tensor, "B D"],
    *,
    scale: float,
    pool: Literal["max", "mean"] = "max",
) -> Float[Tensor, ""]:
    """The symmetric contrast of images, each pooled from its regions, with their captions.

    Args:
        regions: of any length.
        text: of length 1.
        scale: factor on the cosines.
        pool: over the regions.
    """
    pooled = regions.amax(dim=1) if pool == "max" else regions.mean(dim=1)
    return info_nce(F.normalize(pooled, dim=-1), text, scale=scale)


def class_logits(
    regions: Float[Tensor, "B R D"], texts: Float[Tensor, "C D"], temperature: float | Float[Tensor, ""]
) -> Float[Tensor, "B R C"]:
    """Cosines over a temperature; 0 where a vector has no length."""
    return F.normalize(regions, dim=-1) @ F.normalize(texts, dim=-1).T / temperature


def ensemble_scores(
    detector: Float[Tensor, "B R C"],
    vlm: Float[Tensor, "B R C"],
    base: Bool[Tensor, " C"] | None,
    base_weight: float,
    novel_weight: float,
) -> Float[Tensor, "B R C"]:
    """Chances of the classes by detector and map together; rows sum to 1. The first class is the background, whose
    chance is the detector's.

    Args:
        detector: logits.
        vlm: logits of the map itself.
        base: which classes were learned; none by default.
        base_weight: exponent of the map's chances for these.
        novel_weight: the same for others.
    """
    p, v = detector.softmax(dim=-1), vlm.softmax(dim=-1)
    known = torch.zeros(p.shape[-1], dtype=torch.bool, device=p.device) if base is None else base
    weight = torch.where(known, base_weight, novel_weight).to(p)
    weight = torch.cat([torch.zeros_like(weight[:1]), weight[1:]])
    found = p ** (1 - weight) * v**weight
    return found / found.sum(dim=-1, keepdim=True)


def scaled_boxes(boxes: Float[Tensor, "*B 4"], factor: float) -> Float[Tensor, "*B 4"]:
    """Boxes with the same middles and sides `factor` times as long."""
    centre, size = box_convert(boxes, "xyxy", "cxcywh").chunk(2, dim=-1)
    return box_convert(torch.cat([centre, size * factor], dim=-1), "cxcywh", "xyxy")


class Method(nn.Module):
    """The trunk, the pyramid with its box head, and what proposes boxes.

    Raises:
        DeixisError: all stages are left out, or windows do not fit the trunk.
    """

    def __init__(
        self, config: Config, *, encoder: DualEncoder, proposals: Proposals | None = None, names: Sequence[str]
    ) -> None:
        super().__init__()
        if min(config.shares) < 0 or not sum(config.shares):
            raise DeixisError(f"The shares of the stages are {config.shares}.", "Give three, one of them above 0.")
        self.config, self.encoder, self.names = config, encoder, ClassNames(names)
        trunk = WindowTrunk(encoder, config.windows, config.whole, config.shift)
        if not config.shares[0]:
            freeze(encoder)
            self.trunk = freeze(trunk)
        self.regions = RegionEncoder(
            trunk.width, config.width, config.hidden, encoder.width, scales=config.scales, size=config.size
        )
        self.temperature = nn.Parameter(torch.ones(()))
        self.nothing = nn.Parameter(torch.randn(encoder.width) * encoder.width**-0.5)
        self.rpn = CentreProposals(config.width) if proposals is None else None
        self.proposals = proposals
        self.framed = None if proposals is None else freeze(FramedProposals(proposals, encoder.preprocess))
        self._known: tuple[Any, Tensor] | None = None

    @property
    def _trunk(self) -> WindowTrunk:
        """At rest, or as the encoder is now."""
        config = self.config
        found = getattr(self, "trunk", None)
        return WindowTrunk(self.encoder, config.windows, config.whole, config.shift) if found is None else found

    @property
    def _rests(self) -> bool:
        """Whether the trunk is never trained."""
        return not self.config.shares[0]

    def stages(self) -> tuple[Stage, ...]:
        """Pairs, head, base classes: those that have a share of the steps."""
        config, rest = self.config, ("encoder",)
        cells, texts = (CELLS, TEXT) if self._rests else (IMAGES, TOKENS)
        base = ("regions.", "temperature", "nothing", *(("rpn.",) if self.rpn is not None else ()))
        found = (
            Stage("pairs", trainable=("encoder.",), needs=(IMAGES, TOKENS), data=config.captions),
            Stage("head", trainable=("regions.",), needs=(cells, texts), data=config.captions, evaluate=rest),
            Stage("base", trainable=base, needs=(cells, BOXES, PHRASES), evaluate=rest),
        )
        return tuple(
            Stage(each.name, each.kind, each.trainable, each.needs, share, evaluate=each.evaluate, data=each.data)
            for each, share in zip(found, config.shares, strict=True)
            if share
        )

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `image` [B, D] and `text`; of the head `regions` [B, levels, R, D] and `text`; of base classes `logits`
        [B, R, C], `boxes` [B, R, 4] and what the proposals say, `centerness` [B, N] and `sides` [B, N, 4]."""
        if progress.stage == "pairs":
            assert batch.images is not None
            return Features({"image": self._whole(batch.images), "text": self._text(batch)})
        levels = self.regions.levels(self._cells(batch))
        if progress.stage == "head":
            numbers = progress.uniform("boxes", batch.ids, 4 * self.config.regions).unflatten(1, (-1, 4))
            boxes = random_boxes(numbers.to(levels[0]), self.config.area, self.config.ratio)
            found = torch.stack([self.regions(levels, boxes, level) for level in range(len(levels))], dim=1)
            return Features({"regions": found, "text": self._text(batch)})
        boxes = self._examples(batch, progress).to(levels[0])
        logits = class_logits(self.regions(levels, boxes), self._classes(), _SCALE * self.temperature)
        rows = {"logits": logits, "boxes": boxes}
        if self.rpn is not None:
            rows["centerness"], rows["sides"] = self.rpn(levels)
        return Features(rows, {"sizes": torch.tensor([each.shape[2:] for each in levels])})

    def _whole(self, images: Tensor) -> Tensor:
        """The image as pairs compare it: as the encoder does, or behind windows and shifts the mean of all cells."""
        if self._trunk.plain:
            found: Tensor = self.encoder.image_states(images).embedding
            return found
        return F.normalize(self._trunk.projected(images).mean(dim=(2, 3)), dim=-1)

    def _cells(self, batch: Batch) -> Float[Tensor, "B F h w"]:
        if self._rests:
            return batch.extra["cells"]
        assert batch.images is not None
        with torch.no_grad():  # trained in pairs alone
            return self._trunk(batch.images)

    def _text(self, batch: Batch) -> Float[Tensor, "B D"]:
        return batch.extra["text_embedding"] if self._rests else self._encoded(batch.caption())

    def _encoded(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        return self.encoder.encode_text(tokens)

    def _classes(self) -> Float[Tensor, "C D"]:
        """The background and the base classes, of length 1; the texts are computed again when the encoder changes."""
        first = next(self.encoder.text_tower.parameters())
        key = (first.data_ptr(), first._version, first.device)
        if self._known is None or self._known[0] != key:
            with torch.no_grad():
                texts = [self.config.template.replace("{}", name) for name in self.names]
                self._known = (key, self._encoded(self.encoder.tokenize(texts)))
        return torch.cat([F.normalize(self.nothing, dim=0)[None], self._known[1]])

    def _examples(self, batch: Batch, progress: Progress) -> Float[Tensor, "B R 4"]:
        """The boxes of the data, moved copies of each, and random ones."""
        assert batch.boxes is not None
        config = self.config
        stray = progress.uniform("strays", batch.ids, 4 * config.strays).unflatten(1, (-1, 4))
        boxes = [random_boxes(stray.to(batch.boxes), config.area, config.ratio), batch.boxes]
        for place in range(batch.boxes.shape[1]):
            chance = progress.uniform(f"moved {place}", batch.ids, 4 * config.moved).unflatten(1, (-1, 4))
            centre, size = box_convert(batch.boxes[:, place : place + 1], "xyxy", "cxcywh").chunk(2, dim=-1)
            noise = (2 * chance - 1).to(batch.boxes) * _MOST
            moved = torch.cat([centre + noise[..., :2] * size, size * noise[..., 2:].exp()], dim=-1)
            boxes.append(box_clip(box_convert(moved, "cxcywh", "xyxy")))
        return torch.cat(boxes, dim=1)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The part `contrast` of pairs and head; `classes`, `centerness` and `sides` of base classes."""
        rows, config = features.rows, self.config
        if progress.stage == "pairs":
            return Losses({"contrast": info_nce(rows["image"], rows["text"], scale=config.scale)})
        if progress.stage == "head":
            regions = rows["regions"]
            groups = regions.unbind(1) if config.levels == "each" else (regions.flatten(1, 2),)
            losses = [pooled_info_nce(each, rows["text"], scale=config.scale, pool=config.pool) for each in groups]
            return Losses({"contrast": torch.stack(losses).mean()})
        parts, metrics = self._class_loss(rows["logits"], rows["boxes"], batch)
        if self.rpn is not None:
            parts |= self._place_losses(rows, [tuple(each) for each in features.shared["sizes"].tolist()], batch)
        return Losses(parts, metrics)

    def _class_loss(
        self, logits: Tensor, boxes: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Of regions that show a base class or nothing; those of another class, and of padding, are left out."""
        assert batch.boxes is not None
        overlap = pairwise_iou(boxes, batch.boxes).masked_fill(~batch.valid["T"][:, None], -1.0)
        own = F.pad(overlap, (0, 1), value=-1.0)  # an image without a box shows nothing anywhere
        best, place = own.max(dim=-1)
        numbers = F.pad(self._numbers(batch), (0, 1), value=-1).gather(1, place)
        shows = best >= self.config.overlap
        target = torch.where(shows, numbers + 1, 0)  # 0 of another class, too: its weight is 0
        weight = torch.where(shows, (numbers >= 0).to(logits), self.config.background) * (_areas(boxes) > 0)
        entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").unflatten(0, target.shape)
        total = mean_count(weight.sum().detach()).clamp(min=1).to(logits)
        right = ((logits.detach().argmax(dim=-1) == target) * (weight > 0)).sum() / (weight > 0).sum().clamp(min=1)
        return {"classes": (entropy * weight).sum() / total}, {"accuracy": right}

    def _numbers(self, batch: Batch) -> Int64[Tensor, "B T"]:
        assert batch.phrases is not None
        valid = batch.valid["T"]
        return region_classes(self.names, batch.phrases, valid.shape[1]).to(valid.device).where(valid, -1)

    def _place_losses(self, rows: Any, sizes: Sequence[tuple[int, int]], batch: Batch) -> dict[str, Tensor]:
        """Of what proposes boxes: whatever the data calls a thing is one."""
        assert batch.boxes is not None
        targets = place_targets(batch.boxes, batch.valid["T"], sizes)
        apart, overlap, counts = CentreProposals.losses(rows["centerness"], rows["sides"], targets)
        shares = [mean_count(each).clamp(min=1).to(apart) for each in counts.sum(dim=0)]
        centerness = apart[:, 0].sum() / shares[0] + apart[:, 1].sum() / shares[1]
        return {"centerness": centerness, "sides": self.config.box_weight * overlap.sum() / shares[0]}

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Int64[Tensor, "B T S 2"] | None = None,
    ) -> GroundOutput:
        """The proposed boxes, and how likely each is what a phrase says, among the background and the base classes.

        Args:
            images: as the encoder has them.
            tokens: of a sentence each.
            mask: true where a token is real.
            spans: of the phrases; by default the sentence is the phrase.
        """
        levels = self.regions.levels(self._trunk(images))
        boxes, objectness, valid = self._proposed(images, levels)
        own, seen = self.regions(levels, boxes), self._seen(images, boxes)
        hot, cold = _SCALE * self.temperature, self.config.vlm_temperature
        detector, vlm = (class_logits(each, self._classes(), by) for each, by in ((own, hot), (seen, cold)))
        own, seen = F.normalize(own, dim=-1), F.normalize(seen, dim=-1)
        scores = []
        for row, phrases in enumerate(self._phrases(tokens, mask, spans)):
            for text in phrases:
                more = own[row : row + 1] @ text / hot, seen[row : row + 1] @ text / cold
                chance = self._chance(detector[row : row + 1], vlm[row : row + 1], more, text)
                scores.append(objectness[row] ** self.config.power * chance)
        return GroundOutput(boxes, torch.stack(scores).unflatten(0, (len(images), -1)), valid)

    def _chance(
        self, detector: Tensor, vlm: Tensor, more: tuple[Tensor, Tensor], text: Float[Tensor, " D"]
    ) -> Float[Tensor, " Q"]:
        """Of a phrase beside all classes, of which one that says the same gives way to it."""
        same = F.pad(self._classes()[1:] @ text > _SAME, (1, 0))
        base = torch.cat([~same, same.any()[None]])  # a base class by another name is one
        p, v = (
            torch.cat([each.masked_fill(same, -torch.inf), one[..., None]], dim=-1)
            for each, one in zip((detector, vlm), more, strict=True)
        )
        return ensemble_scores(p, v, base, self.config.base_weight, self.config.novel_weight)[0, :, -1]

    def _proposed(self, images: Tensor, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, how sure each is a thing, and which are real."""
        if self.framed is not None:
            found = self.framed.of_frame(images)
            return found.boxes.to(images), found.scores.to(images), found.valid
        assert self.rpn is not None
        logits, boxes = self.rpn(levels)
        return CentreProposals.chosen(logits, boxes, self.config.count, self.config.nms)

    def _seen(self, images: Tensor, boxes: Tensor) -> Float[Tensor, "B Q D"]:
        """What the map itself says of the middle of each box."""
        inner = scaled_boxes(boxes, self.config.vlm_scale)
        return pooled_boxes(self._trunk.projected(images), inner, self.config.vlm_size).mean(dim=(3, 4))

    def _phrases(self, tokens: Tensor, mask: Tensor, spans: Tensor | None) -> list[Float[Tensor, "T D"]]:
        """The phrases of each sentence, each read as a text of its own."""
        if spans is None:
            return list(self._encoded(Tokens(tokens, mask))[:, None])
        with torch.device("cpu"):
            place = self.encoder.tokenizer.encode_spans("a", [(0, 1)], self.encoder.context_length)[0]
        before = 0 if place is None else place[0]
        behind = self.encoder.tokenizer.around - before
        found = []
        for row, real, phrases in zip(tokens, mask, spans, strict=True):
            whole, texts = row[real], []
            for pieces in phrases:
                inner = [whole[start:end] for start, end in pieces.tolist() if end > start]
                ids = torch.cat([whole[:before], *inner, whole[len(whole) - behind :]])
                texts.append(self._encoded(Tokens(ids[None], torch.ones_like(ids[None], dtype=torch.bool)))[0])
            found.append(torch.stack(texts))
        return found


_MOST = 0.25
"""How far boxes are moved and stretched, as shares of their sides."""

_SAME = 0.999
"""Cosine from which on two texts say the same."""


def _areas(boxes: Float[Tensor, "B R 4"]) -> Float[Tensor, "B R"]:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


_BASE = (
    *("orange arrow", "yellow arrow", "blue arrow", "purple arrow", "pink arrow", "grey arrow"),
    *("red circle", "orange circle", "green circle", "blue circle", "pink circle", "grey circle"),
    *("red cross", "orange cross", "yellow cross", "green cross", "purple cross", "pink cross"),
    *("red heart", "yellow heart", "green heart", "blue heart", "purple heart", "grey heart"),
    *("orange ring", "yellow ring", "blue ring", "purple ring", "pink ring", "grey ring"),
    *("red star", "orange star", "green star", "blue star", "pink star", "grey star"),
)
"""The base pairs of the task `novel_pairs`, whose test compares them."""

_HEAD = {"names": _BASE, "shares": (0.0, 0.5, 0.5)}
_ALONE = {"names": _BASE, "shares": (0.0, 0.0, 0.5)}
_TRUNK = {"names": _BASE, "shares": (0.5, 0.0, 0.5)}
_MAP = {**_ALONE, "base_weight": 1.0, "novel_weight": 1.0}
_GRID = {"learning_rate": (5e-4, 2e-3), "novel_weight": (0.35, 0.65)}
_WINDOWS = {**_TRUNK, "windows": 2, "whole": 1}
_RATES = {"learning_rate": (5e-4, 2e-3), "novel_weight": (0.35, 0.65)}

CLAIMS = (
    Claim(
        "A detector's head that learned from captions by random boxes finds pairs of noun and colour that it never had "
        "a box for better than one that did not, than the same steps spent on the trunk, and than the trunk's own map "
        "in the boxes.",
        arms={
            "head": Arm("dito", _HEAD, grid=_GRID),
            "no captions": Arm("dito", _ALONE, grid=_GRID),
            "trunk": Arm("dito", _TRUNK, grid=_GRID),
            "map in boxes": Arm("dito", _MAP, grid={"learning_rate": (5e-4, 2e-3), "vlm_temperature": (0.01, 0.1)}),
        },
        metric="novel_ap50",
        statistic="final",
        minimum_effect=0.03,
        data="novel_pairs",
        budget=6_400,
        trial=0.5,
        cheap="map in boxes",
    ),
    Claim(
        "A trunk that sees windows, run on two shifts of its grid, lets a detector find more such pairs than windows "
        "alone and than attention to the whole image.",
        arms={
            "shifted windows": Arm("dito", {**_WINDOWS, "shift": 2}, grid=_RATES),
            "windows": Arm("dito", _WINDOWS, grid=_RATES),
            "whole image": Arm("dito", _TRUNK, grid=_RATES),
        },
        metric="novel_ap50",
        statistic="final",
        minimum_effect=0.02,
        data="novel_pairs",
        budget=6_400,
        trial=0.5,
        primary=False,
        options={"image": "vit-mean", "steps": 0},
        cheap="whole image",
    ),
)
"""Novel pairs are in captions, and in no box of the training scenes; small things in clutter. The trunk learned names
from the same captions before, so that its own map in the boxes is a strong rival. A step of two shifts costs about two
of the others: seconds stand beside. The trunk of the second claim is new, and learns in the stage `pairs`."""
