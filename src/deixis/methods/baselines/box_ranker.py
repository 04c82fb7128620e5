"""`detect_match`, its boxes ordered by one's own boxes: a penalised linear correction of what it says.

    z(box | phrase) = log chance(box | phrase) + w x(box, phrase)
    w = argmin  mean over phrases of CE(softmax over boxes of z, the boxes that are right) + penalty / 2 |w|^2

with the chance of `detect_match` as offset and x: where a box lies and how large it is, the heat of each of the
detector's kinds, the logarithms of the chance and of that part of it which the noun alone gives (so that what else a
phrase says may count more or less), the cosine of the box's crop with the noun and its share among the boxes, and the
elementwise product of both embeddings, a diagonal metric of their space. w starts from zero: under a large penalty
nothing is learned and the boxes are those of `detect_match`.

Of each phrase the likeliest `candidates` are ordered; what lies behind them stays there.

A box is right where its IoU with one that the phrase names is `overlap` or more; a phrase of which no proposal is right
teaches nothing. Features are divided by how much they vary among the boxes of a phrase, and each kind of feature has
the same weight, however many there are of it.

The highest chance of a phrase stays what it was, so that whether a thing is there is decided as in `detect_match`:
one's own boxes are all of things that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.methods.baselines import detect_match
from deixis.nn.dual import DualEncoder
from deixis.ops.regions.boxes import pairwise_iou
from deixis.ops.regions.ranking import rank_weights
from deixis.types import Batch, Card, FieldSpec, GroundOutput, Part, Progress
from deixis.types.outputs import RankedBoxes
from deixis.types.protocols import Proposals

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="A detector's boxes, ordered by one's own",
    year=2026,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("images", "B 3 H W"),
        FieldSpec("tokens", "B K L", "long", ragged="L"),
        FieldSpec("boxes", "B T 4", ragged="T", values="boxes"),
    ),
    parts=(Part("proposals", "proposals", frozen=True), Part("encoder", "dual_encoder", frozen=True)),
    capabilities=("ground",),
    tags=("grounding", "detection"),
)


@dataclass(frozen=True)
class Config(detect_match.Config):
    """Settings: those of `detect_match`, and three of the correction.

    Attributes:
        candidates: how many boxes of a phrase, the likeliest, are ordered.
        penalty: weight of the L2 term.
        overlap: the IoU from which a box is right.
    """

    candidates: int = 12
    penalty: float = 0.1
    overlap: float = 0.5

    @classmethod
    def tiny(cls) -> Config:
        """For tests: a grid of regions, of which random boxes hit some."""
        return cls(proposals="tiny", encoder="tiny", overlap=0.1)


_LEAST = 1e-5
"""Of a chance, so that its logarithm is bounded."""

_GEOMETRY = 7
_CHANCES = 4


class Method(detect_match.Method):
    """`detect_match` and the correction of its order."""

    config: Config
    weight: Tensor

    def __init__(self, config: Config, *, proposals: Proposals, encoder: DualEncoder) -> None:
        super().__init__(config, proposals=proposals, encoder=encoder)
        self.register_buffer("weight", torch.zeros(sum(self.feature_groups())))
        self._observed: list[tuple[RankedBoxes, Tensor]] = []

    def feature_groups(self) -> tuple[int, ...]:
        """How many features there are of each kind: of the place, heat, chances and cosines, and products."""
        return _GEOMETRY, len(self.proposals.classes), _CHANCES, self.encoder.width

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps what is known of the candidates of each row's first caption, and how they overlap its boxes."""
        assert batch.images is not None
        assert batch.tokens is not None
        assert batch.boxes is not None
        rows = self.candidates(batch.images, batch.tokens[:, 0], batch.valid["L"][:, 0])
        for row, each in enumerate(rows):
            named = batch.boxes[row][batch.valid["T"][row]]
            if len(named):
                self._observed.append((each, pairwise_iou(each.boxes, named.to(each.boxes)).amax(1)))

    def finish(self, progress: Progress) -> None:
        """Solves for the correction and forgets the images."""
        if not self._observed:
            raise ValueError("nothing was observed")
        rows, overlaps = zip(*self._observed, strict=True)
        features, offsets, config = [row.features for row in rows], [row.offsets for row in rows], self.config
        [weight] = rank_weights(features, offsets, overlaps, self.feature_groups(), (config.penalty,), config.overlap)
        self.weight.copy_(weight)
        self._observed.clear()

    def adopt(self, weight: Float[Tensor, " F"], penalty: float | None = None) -> None:
        """Takes w over.

        Args:
            weight: w; zeros for nothing learned.
            penalty: that it was learned with.
        """
        self.weight.copy_(weight)
        if penalty is not None:
            self.config = replace(self.config, penalty=penalty)

    @torch.no_grad()
    def candidates(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> list[RankedBoxes]:
        """What the correction weighs of the boxes of each image for one phrase.

        Args:
            images: as the detector takes them.
            tokens: of the encoder; each row is one phrase.
            mask: which of them are real.
        """
        output = super().ground(images, tokens, mask)
        found = []
        for row in range(len(images)):
            [text], chances = self._phrases(tokens[row], mask[row], None), output.scores[row, 0]
            places = self._likeliest(chances, output.valid[row])
            features = self._features(images, row, text, chances, places)
            found.append(RankedBoxes(output.boxes[row, places], features, _log(chances[places])))
        return found

    def _likeliest(self, chances: Tensor, valid: Tensor) -> list[int]:
        """The places of the boxes that are ordered, the likeliest first."""
        order = chances.masked_fill(~valid, -1).argsort(descending=True, stable=True)
        return order[: min(self.config.candidates, int(valid.sum()))].tolist()

    @torch.no_grad()
    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Int64[Tensor, "B T S 2"] | None = None,
    ) -> GroundOutput:
        """As `detect_match`, in another order.

        Args:
            images: as the detector takes them.
            tokens: of the encoder.
            mask: which of them are real.
            spans: the tokens of each phrase; the whole text is one phrase where there are none.
        """
        output = super().ground(images, tokens, mask, spans)
        if not bool(self.weight.any()):
            return output
        scores = output.scores.clone()
        for row, each in enumerate(spans if spans is not None else [None] * len(tokens)):
            for number, text in enumerate(self._phrases(tokens[row], mask[row], each)):
                scores[row, number] = self._ordered(images, row, text, scores[row, number], output.valid[row])
        return GroundOutput(
            output.boxes,
            scores,
            output.valid,
            thresholds=output.thresholds,
            sources=output.sources,
            labels=output.labels,
        )

    def _ordered(self, images: Tensor, row: int, text: str, chances: Tensor, valid: Tensor) -> Tensor:
        """Chances by z, the highest as it was; those behind the candidates are corrected as the worst of these."""
        places = self._likeliest(chances, valid)
        learned = self._features(images, row, text, chances, places).double() @ self.weight.double()
        correction = learned.amin().expand(len(chances)).clone()
        correction[places] = learned
        logits = _log(chances).double() + correction
        return (chances.amax() * (logits - logits[valid].amax()).exp()).to(chances) * valid

    def _features(
        self, images: Tensor, row: int, text: str, chances: Tensor, places: list[int]
    ) -> Float[Tensor, "Q F"]:
        """X of some boxes of an image."""
        regions, phrase = self._regions(images), detect_match.parsed_phrase(text)
        named, _ = self._named(regions, row, phrase)
        crops = F.normalize(self._crops(regions, row, places), dim=-1)
        noun = F.normalize(self._text((phrase.words,))[0], dim=-1)
        cosine = crops @ noun
        share = (cosine * float(self.encoder.scale)).softmax(0)
        columns = (_log(chances[places]), _log(named[places]), cosine, share)
        boxes = regions.boxes[row, places]
        parts = (_geometry(boxes), regions.heat[row, places], torch.stack([each.to(boxes) for each in columns], dim=1))
        return torch.cat([*(each.to(boxes) for each in parts), (crops * noun).to(boxes)], dim=1)


def _log(chances: Tensor) -> Tensor:
    return chances.clamp(min=_LEAST).log()


def _geometry(boxes: Float[Tensor, "Q 4"]) -> Float[Tensor, "Q 7"]:
    """Middle, how far it is from the middle of the image, logarithms of the sides, of the area, and of the shape."""
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    logs = sides.log()
    far = (middle - 0.5).norm(dim=1, keepdim=True)
    return torch.cat([middle, far, logs, logs.sum(1, keepdim=True), logs[:, :1] - logs[:, 1:]], dim=1)


CLAIMS = ()
