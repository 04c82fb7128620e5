"""Phrases in photographs without training: a detector proposes, words of the phrase choose.

    chance(box | phrase) = chance(box is the noun) * colour * size * sides * extreme * relation

The noun is looked up in a table of WordNet (a puppy is a dog). The detector's heat of that kind, and how a dual encoder
compares the crop of a box with the kind and with other nouns, become a chance by a logistic curve; of a noun for
several kinds (an animal) the heat alone. Within a kind crops decide: the taxi among the cars. Where the table is
silent, the kind whose name is clearly nearest stands for the noun. For every other noun there are only crops: the
source is then `crop`, and less is to be expected. That a box holds some thing helps to say which box is meant, and says
nothing of whether the noun is there at all: how sure the first box is follows from its crop alone.

What else a phrase says multiplies the chance: the share of the colour in the box, how well its place fits (both in
`ops.regions`), the chance that no other thing of the kind is larger or further left, and the best pair with an anchor,
whose own chances come the same way: all pairs are scored.

The curves of `Config` were fitted on scenes of photographic stamps (`python -m bench.ground_rows fit`). The thresholds
of kinds lie between those of the scenes at 5 % false answers (0.56 and 0.68), where things that are not there look much
like some that are, and the highest chance of an absent phrase on `set:photos-boxes/val`, 0.40. They, the part that
crops have in the order of boxes, and that nothing but its crop says how sure the first of them is, were set with
answers on `set:photos-boxes/test` in view, which is therefore no blind test of this method. The offset of `crop_sure`
is lower by 0.7 than scenes have it: photographs have more that looks like a noun which is not there.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.inputs.phrases import NounPhrase, parse_phrase
from deixis.nn.dual import DualEncoder
from deixis.ops.regions.colours import COLOUR_NAMES, colour_shares
from deixis.ops.regions.places import extreme_scores, relation_scores, side_scores, size_scores
from deixis.types import Card, FieldSpec, GroundOutput, Part
from deixis.types.protocols import Proposals
from deixis.zoo.word_kinds import kinds_of

__all__ = [
    "CARD",
    "CLAIMS",
    "SURROUNDINGS",
    "Config",
    "Method",
    "colour_factor",
    "crop_images",
    "crop_logits",
    "kind_heat",
    "kind_logits",
    "nearest_kind",
    "parsed_phrase",
]

CARD = Card(
    title="A detector's boxes, chosen by the words of a phrase",
    year=2026,
    kind="training-free",
    role="baseline",
    needs=(FieldSpec("images", "B 3 H W"), FieldSpec("tokens", "B K L", "long", ragged="L")),
    parts=(Part("proposals", "proposals", frozen=True), Part("encoder", "dual_encoder", frozen=True)),
    capabilities=("ground",),
    tags=("grounding", "detection", "zero-shot"),
)

SURROUNDINGS = tuple(
    "grass,sky,wall,floor,water,tree,road,building,window,door,rock,sand,snow,leaf,flower,sign,fence,roof,cloud,paper,"
    "cloth,shadow,picture,pattern".split(",")
)
"""Nouns beside the detector's kinds that a crop is compared with."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        proposals: the detector.
        encoder: compares crops with words.
        kind_curve: weights of the log odds of the detector's heat, of a crop's cosine with the kind, of its margin over
            other nouns, and an offset.
        group_curve: weights of the log odds of the heat of the best of several kinds, and an offset.
        crop_curve: weights of a crop's cosine with the noun, of its margin over other nouns, of the log odds of being
            a thing, and an offset: the order of boxes.
        crop_sure: weights of cosine and margin of the first of these boxes, and an offset: its chance, and by it those
            of the others.
        kind_threshold: the chance below which a box of a kind is no answer.
        group_threshold: the same of several kinds.
        crop_threshold: the same of boxes that crops alone chose.
        described: the share of these that a phrase needs which says more: each word makes a chance smaller.
        least_margin: a lower margin of a crop counts as this: a dog in front of a bicycle must not rule it out.
        crop_share: how much of the weight of crops counts where boxes of one image are ordered.
        looked_at: of how many boxes, those of the most heat, crops are made for a kind; the others have their heat.
        similar: the cosine of a noun with the name of a kind from which the kind may stand for it.
        margin: by how much it must be nearer than the next kind.
        context: what a crop shows around its box, as a share of the box.
    """

    proposals: str = "centernet:30"
    encoder: str = "starter"
    kind_curve: tuple[float, float, float, float] = (0.96, 3.24, 4.96, 0.65)
    group_curve: tuple[float, float] = (1.22, 1.62)
    crop_curve: tuple[float, float, float, float] = (5.88, 3.14, 0.88, -1.03)
    crop_sure: tuple[float, float, float] = (5.57, 1.03, -2.08)
    kind_threshold: float = 0.5
    group_threshold: float = 0.6
    crop_threshold: float = 0.53
    described: float = 0.4
    least_margin: float = -0.15
    crop_share: float = 0.3
    looked_at: int = 8
    similar: float = 0.7
    margin: float = 0.15
    context: float = 0.1

    @classmethod
    def tiny(cls) -> Config:
        """For tests: a grid of regions and the tiny encoder."""
        return cls(proposals="tiny", encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """The detector and the starter."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same; there is no paper."""
        return cls()


def kind_heat(scores: Float[Tensor, "*B"], classes: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """How hot each kind is at each box: the best kind as the score says, the others in proportion."""
    return scores[..., None] * classes / classes.amax(-1, keepdim=True).clamp(min=1e-9)


def kind_logits(
    features: Float[Tensor, "N 4"], curve: tuple[float, float, float, float], crop_share: float
) -> Float[Tensor, " N"]:
    """The log odds that the boxes of an image are of a kind: those of the curve, none above the box that comes first.

    Crops tell kinds apart better than the detector does, and where a thing ends worse: a wheel looks like a bicycle. So
    heat and a share of what the crops say choose the first box, and crops count fully in how sure that box is.

    Args:
        features: log odds of the heat, a crop's cosine and margin, and 1.
        curve: their weights.
        crop_share: of the weights of the crops, where the first box is chosen.
    """
    weights = features.new_tensor(curve)
    order = features @ (weights * weights.new_tensor([1.0, crop_share, crop_share, 1.0]))
    full, first = features @ weights, order.argmax()
    return torch.minimum(full, order + full[first] - order[first])


def crop_logits(
    features: Float[Tensor, "N 4"],
    valid: Bool[Tensor, " N"],
    curve: tuple[float, float, float, float],
    sure: tuple[float, float, float],
) -> Float[Tensor, " N"]:
    """The log odds that the boxes of an image are what a noun says: those of the first box by its crop alone, the
    others as far behind it as the curve has them.

    Args:
        features: a crop's cosine with the noun and margin, log odds of being a thing, and 1.
        valid: which boxes are no padding.
        curve: their weights, by which the boxes are ordered.
        sure: weights of cosine and margin, and an offset.
    """
    order = features @ features.new_tensor(curve)
    first = order.masked_fill(~valid, -torch.inf).argmax()
    return order - order[first] + features[first, [0, 1, 3]] @ features.new_tensor(sure)


def nearest_kind(cosines: Float[Tensor, " C"], similar: float, margin: float) -> int | None:
    """The kind whose name is nearest to a noun, if it is near and the next one clearly further off.

    >>> nearest_kind(torch.tensor([0.9, 0.2, 0.5]), 0.7, 0.15), nearest_kind(torch.tensor([0.9, 0.8]), 0.7, 0.15)
    (0, None)
    """
    values, places = cosines.topk(min(2, len(cosines)))
    runner_up = float(values[1]) if len(values) > 1 else -1.0
    return int(places[0]) if float(values[0]) >= similar and float(values[0]) - runner_up >= margin else None


def colour_factor(shares: Float[Tensor, "*B 11"], colours: Sequence[str]) -> Float[Tensor, "*B"]:
    """How well a box fits colours, of which each must have its share: 0.1 without any, near 1 from a half on."""
    found = torch.stack([shares[..., COLOUR_NAMES.index(each)] for each in colours], -1).amin(-1) * len(colours)
    return (found + 0.02) / (found + 0.2)


def crop_images(
    images: Float[Tensor, "B 3 H W"], row: int, boxes: Float[Tensor, "N 4"], size: int, context: float
) -> Float[Tensor, "N 3 S S"]:
    """What boxes show, each on a white square, its shape kept.

    Args:
        images: from 0 to 1.
        row: of the image.
        boxes: from 0 to 1.
        size: side of the squares.
        context: what is shown around a box, as a share of its sides.
    """
    height, width = images.shape[2:]
    found = images.new_ones(len(boxes), 3, size, size)
    for square, box in zip(found, boxes.tolist(), strict=True):
        wide, high = (box[2] - box[0]) * context / 2, (box[3] - box[1]) * context / 2
        left, right = max(0, int((box[0] - wide) * width)), min(width, int((box[2] + wide) * width) + 1)
        top, bottom = max(0, int((box[1] - high) * height)), min(height, int((box[3] + high) * height) + 1)
        left, top = min(left, width - 1), min(top, height - 1)
        crop = images[row, None, :, top : max(bottom, top + 1), left : max(right, left + 1)]
        ratio = size / max(crop.shape[2:])
        shape = [max(1, round(side * ratio)) for side in crop.shape[2:]]
        y, x = ((size - side) // 2 for side in shape)
        resized = F.interpolate(crop, shape, mode="bilinear", antialias=True, align_corners=False)[0]
        square[:, y : y + shape[0], x : x + shape[1]] = resized
    return found


_LEAST = 1e-4
"""Of a heat, so that its log odds are bounded."""


@dataclass
class _Regions:
    """What is known of a batch: the detector's boxes, and behind them the whole image."""

    images: Tensor
    boxes: Tensor
    valid: Tensor
    heat: Tensor
    scores: Tensor
    labels: tuple[tuple[str, ...], ...]
    crops: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class Method(nn.Module):
    """A detector and a dual encoder.

    Args:
        config: the settings.
        proposals: the detector.
        encoder: compares crops with words.
    """

    def __init__(self, config: Config, *, proposals: Proposals, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.proposals, self.encoder = config, proposals, encoder
        self._texts: dict[str, Tensor] = {}
        self._last: tuple[weakref.ref[Tensor], _Regions] | None = None

    @torch.no_grad()
    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Int64[Tensor, "B T S 2"] | None = None,
    ) -> GroundOutput:
        """The chance of each phrase at each region; the last region of an image is the whole of it.

        Args:
            images: as the detector takes them.
            tokens: of the encoder.
            mask: which of them are real.
            spans: the tokens of each phrase; the whole text is one phrase where there are none.
        """
        regions = self._regions(images)
        texts = [
            self._phrases(*row)
            for row in zip(tokens, mask, spans if spans is not None else [None] * len(tokens), strict=True)
        ]
        phrases = [[parsed_phrase(text) for text in each] for each in texts]
        found = [[self._chances(regions, row, phrase) for phrase in each] for row, each in enumerate(phrases)]
        thresholds = [
            [self._threshold(phrase, source) for phrase, (_, source) in zip(*each, strict=True)]
            for each in zip(phrases, found, strict=True)
        ]
        return GroundOutput(
            regions.boxes,
            torch.stack([torch.stack([chances for chances, _ in each]) for each in found]),
            regions.valid,
            thresholds=regions.scores.new_tensor(thresholds),
            sources=tuple(tuple(source for _, source in each) for each in found),
            labels=regions.labels,
        )

    def _threshold(self, phrase: NounPhrase, source: str) -> float:
        limits = {"crop": self.config.crop_threshold, "kinds": self.config.group_threshold}
        share = 1.0 if phrase.is_plain else self.config.described
        return share * limits.get(source, self.config.kind_threshold)

    def regions_of_last(self) -> _Regions:
        """What the last batch was seen to hold: for fitting the curves."""
        assert self._last is not None
        return self._last[1]

    def _phrases(self, tokens: Tensor, mask: Tensor, spans: Tensor | None) -> list[str]:
        if spans is None:
            return [self.encoder.tokenizer.decode(tokens[mask].tolist())]
        rows = spans.tolist()
        return [
            " ".join(self.encoder.tokenizer.decode(tokens[a:b].tolist()) for a, b in each if b > a) for each in rows
        ]

    def _regions(self, images: Tensor) -> _Regions:
        """Found once for a batch, whatever the number of calls for phrases in it."""
        if self._last is not None and self._last[0]() is images:
            return self._last[1]
        given = self.proposals(images)
        heat = kind_heat(given.scores, given.classes) * given.valid[..., None]
        names, best = self.proposals.classes, given.classes.argmax(-1).tolist()
        whole = images.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(images), 1, 4)
        preprocess = self.proposals.preprocess
        mean, std = (images.new_tensor(getattr(preprocess, each))[:, None, None] for each in ("mean", "std"))
        found = _Regions(
            (images * std + mean).clamp(0, 1),
            torch.cat([given.boxes.to(images), whole], dim=1),
            F.pad(given.valid, (0, 1), value=True),
            F.pad(heat, (0, 0, 0, 1)),
            F.pad(given.scores * given.valid, (0, 1)),
            tuple((*(names[each] for each in row), "") for row in best),
        )
        self._last = weakref.ref(images), found
        return found

    def _chances(self, regions: _Regions, row: int, phrase: NounPhrase) -> tuple[Tensor, str]:
        """Of each region, and the source."""
        boxes = regions.boxes[row]
        named, source = self._named(regions, row, phrase)
        chances = named
        if phrase.colours:
            shares = colour_shares(regions.images[row, None], boxes[None])[0]
            chances = chances * colour_factor(shares, phrase.colours)
        if phrase.size:
            chances = chances * size_scores(boxes, named, phrase.size)
        for side in phrase.sides:
            chances = chances * side_scores(boxes, side)
            rival = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}.get(side)
            if rival and phrase.count == 1:  # of several at the left the leftmost is the likelier one
                chances = chances * (1 + extreme_scores(boxes, named, rival)) / 2
        if phrase.extreme:
            chances = chances * extreme_scores(boxes, chances, phrase.extreme)
        if phrase.anchor is not None:
            chances = chances * self._related(regions, row, phrase)
        return chances * regions.valid[row], source

    def _related(self, regions: _Regions, row: int, phrase: NounPhrase) -> Tensor:
        """The best pair of each region with an anchor; an anchor that crops alone know of can only give preference."""
        assert phrase.anchor is not None
        boxes = regions.boxes[row]
        anchors, source = self._chances(regions, row, phrase.anchor)
        pairs = (relation_scores(boxes, boxes, phrase.relation) * anchors).amax(1)
        if source != "crop":
            return pairs
        if phrase.relation == "with" and phrase.anchor.colours:  # "the woman in the red coat"
            shares = colour_shares(regions.images[row, None], boxes[None])[0]
            return colour_factor(shares, phrase.anchor.colours)
        return 0.3 + 0.7 * pairs / anchors.amax().clamp(min=1e-9)

    def _named(self, regions: _Regions, row: int, phrase: NounPhrase) -> tuple[Tensor, str]:
        """The chance that each region is what the noun says."""
        names = self.proposals.classes
        kinds = [names.index(each) for each in kinds_of(phrase.words) or (phrase.words,) if each in names]
        source = "kind"
        if not kinds and (near := self._similar(phrase)) is not None:
            kinds, source = [near], "similar kind"
        if not kinds:
            return self._by_crops(regions, row, phrase), "crop"
        if len(kinds) > 1:
            heat = regions.heat[row][:, kinds].amax(-1)
            return self._by_heat(heat), "kinds"
        chances = self._by_kind(regions, row, kinds[0])
        if phrase.words != names[kinds[0]]:
            chances = chances * self._preferred(regions, row, phrase.words, chances)
        return chances, source

    def _by_heat(self, heat: Tensor) -> Tensor:
        slope, offset = self.config.group_curve
        return torch.sigmoid(slope * torch.logit(heat, _LEAST) + offset) * (heat > 0)

    def _by_kind(self, regions: _Regions, row: int, kind: int) -> Tensor:
        """From heat and crops, of the boxes that have most heat; from heat alone of the others."""
        heat = regions.heat[row][:, kind]
        chances = self._by_heat(heat)
        places = [each for each in heat.topk(min(self.config.looked_at, len(heat))).indices.tolist() if heat[each] > 0]
        if places:
            features = self.kind_features(regions, row, kind, places)
            logits = kind_logits(features, self.config.kind_curve, self.config.crop_share)
            chances = torch.minimum(chances, torch.sigmoid(logits.amax()).to(chances))  # of those without a crop
            chances[places] = torch.sigmoid(logits).to(chances)
        return chances

    def kind_features(self, regions: _Regions, row: int, kind: int, places: list[int]) -> Float[Tensor, "N 4"]:
        """What `kind_curve` weighs: log odds of the heat, a crop's cosine with the kind, its margin, and 1."""
        cosine, margin = self._compared(regions, row, self.proposals.classes[kind], places)
        heat = torch.logit(regions.heat[row][places, kind].to(cosine), _LEAST)
        margin = margin.clamp(min=self.config.least_margin)
        return torch.stack([heat, cosine, margin, torch.ones_like(cosine)], dim=1)

    def _similar(self, phrase: NounPhrase) -> int | None:
        cosines = self._text(self.proposals.classes) @ self._text((phrase.words,))[0]
        return nearest_kind(cosines, self.config.similar, self.config.margin)

    def _preferred(self, regions: _Regions, row: int, words: str, chances: Tensor) -> Tensor:
        """Between 1 for the candidate that looks most like the words, and a half."""
        rivals = (chances > self.config.kind_threshold / 2).nonzero().flatten().tolist()
        found = torch.ones_like(chances)
        if len(rivals) > 1:
            scores = (self._crops(regions, row, rivals) @ self._text((words,))[0]) * float(self.encoder.scale)
            shares = scores.softmax(0)
            found[rivals] = (0.5 + 0.5 * shares / shares.amax()).to(found)
        return found

    def _by_crops(self, regions: _Regions, row: int, phrase: NounPhrase) -> Tensor:
        """From the cosine of each region's crop with the noun and its margin over other nouns."""
        features = self.crop_features(regions, row, phrase.words)
        config = self.config
        return torch.sigmoid(crop_logits(features, regions.valid[row], config.crop_curve, config.crop_sure))

    def crop_features(self, regions: _Regions, row: int, words: str) -> Float[Tensor, "Q 4"]:
        """What `crop_curve` weighs: cosine, margin, log odds of being a thing, and 1."""
        cosine, margin = self._compared(regions, row, words, list(range(regions.boxes.shape[1])))
        thing = torch.logit(regions.scores[row].to(cosine), 1e-2)
        return torch.stack([cosine, margin, thing, torch.ones_like(cosine)], dim=1)

    def _compared(self, regions: _Regions, row: int, words: str, places: list[int]) -> tuple[Tensor, Tensor]:
        """The cosine of each crop with a noun, and its margin over nouns that are not nearly the same."""
        crops, noun = self._crops(regions, row, places), self._text((words,))[0]
        others = self._text((*self.proposals.classes, *SURROUNDINGS))
        others = others[others @ noun < self.config.similar]
        scale, cosine = float(self.encoder.scale), crops @ noun
        rivals = (scale * crops @ others.T).logsumexp(1) / scale if len(others) else cosine
        return cosine, cosine - rivals

    def _crops(self, regions: _Regions, row: int, places: list[int]) -> Float[Tensor, "N D"]:
        """Embeddings of crops; each is made once for a batch."""
        missing = [place for place in places if (row, place) not in regions.crops]
        if missing:
            preprocess = self.encoder.preprocess
            pixels = crop_images(regions.images, row, regions.boxes[row, missing], preprocess.size, self.config.context)
            mean, std = (pixels.new_tensor(getattr(preprocess, each))[:, None, None] for each in ("mean", "std"))
            rows = self.encoder.encode_image((pixels - mean) / std)
            regions.crops.update({(row, place): each for place, each in zip(missing, rows, strict=True)})
        return torch.stack([regions.crops[row, place] for place in places])

    def _text(self, names: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embeddings of names, each made once."""
        missing = [name for name in dict.fromkeys(names) if name not in self._texts]
        if missing:
            rows = self.encoder.encode_text([f"a photo of a {name}" for name in missing])
            self._texts.update(zip(missing, rows, strict=True))
        return torch.stack([self._texts[name] for name in names])


def parsed_phrase(text: str) -> NounPhrase:
    """A phrase that names nothing is taken as a name as a whole."""
    try:
        return parse_phrase(text)
    except DeixisError:
        return NounPhrase(text, 0, text, text)


CLAIMS = ()
