"""Predicting the words of a caption: one softmax over all words, those that the caption holds being its targets.

    L = - mean over samples of  1 / |w|  sum over the words w of the caption of  log softmax(W f(image) + b)_w

with f the image embedding scaled to the length sqrt(D), and each word of a caption counted once (Joulin et al., 2016,
section 3). In CLIP's figure 2 it stands between predicting the whole caption and telling captions apart (Radford et
al., 2021, section 2.3). Asked whether a text fits, it adds up the logarithms of the probabilities of the text's words;
of two texts the longer one thus has a handicap.

What differs from the paper: of the image the embedding is read, so that any encoder will do, and its text tower is not
used. Padding is token 0; what stands around every text is no word.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.dual import DualEncoder
from deixis.ops.collective import mean_count, world_size
from deixis.types import Batch, Card, Features, FieldSpec, Losses, OptimSpec, Part, Progress, Stage

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Predicting the words of a caption",
    year=2016,
    kind="trained",
    role="baseline",
    needs=(FieldSpec("images", "B 3 H W"), FieldSpec("tokens", "B K L", "long", ragged="L")),
    parts=(Part("encoder", "dual_encoder"),),
    capabilities=("compare",),
    venue="ECCV",
    arxiv="1511.02251",
    tags=("pre-training", "zero-shot"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the prediction of words.

    Attributes:
        encoder: whose image tower is trained.
        optim: how it is optimised; gains and biases are not decayed.
    """

    encoder: str = "starter"
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.1, schedule="cosine")

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny", optim=OptimSpec(learning_rate=1e-2, weight_decay=0.1, schedule="cosine"))

    @classmethod
    def desk(cls) -> Config:
        """A new encoder on two cores."""
        return cls(optim=OptimSpec(learning_rate=1e-3, weight_decay=0.1, schedule="cosine", warmup=50))

    @classmethod
    def paper(cls) -> Config:
        """With the rate, decay and warm-up of CLIP, which it was compared with. The encoder is to be replaced."""
        return cls(optim=OptimSpec(learning_rate=5e-4, weight_decay=0.2, schedule="cosine", warmup=2000))


class Method(nn.Module):
    """An image tower and a linear layer to all words."""

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, encoder.tokenizer.vocabulary)
        self._marks = sorted(encoder.tokenizer.marks)

    def stages(self) -> tuple[Stage, ...]:
        """One stage; the text tower is not used."""
        return (Stage(trainable=("encoder.image_tower.", "head.")),)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Row `likelihood` [B]: the mean logarithm of the probabilities of the first caption's words."""
        assert batch.images is not None
        held = self._held(*batch.caption())
        return Features({"likelihood": (held * self._chances(batch.images)).sum(1) / held.sum(1).clamp(min=1)})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The mean over samples, negated; a caption without words counts 0."""
        loss = -features.rows["likelihood"].mean()
        if world_size() > 1:  # the mean over ranks must count every sample once
            loss = loss * len(batch) / mean_count(float(len(batch)))
        return Losses({"words": loss})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def compare(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "G L"], mask: Bool[Tensor, "G L"] | None = None
    ) -> Float[Tensor, "B G"]:
        """Sum of the logarithms of the probabilities of each text's words, each counted once."""
        return self._chances(images) @ self._held(tokens, mask).T

    def _chances(self, images: Tensor) -> Float[Tensor, "B V"]:
        return self.head(self._embedding(images)).log_softmax(dim=1)

    def _embedding(self, images: Tensor) -> Float[Tensor, "B D"]:
        """Of the length sqrt(D), so that its entries are about 1 and learn as fast as other states."""
        return self.encoder.encode_image(images) * self.encoder.width**0.5

    def _held(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B V"]:
        """1 for each word that a text holds, else 0."""
        held = self.head.weight.new_zeros(len(tokens), self.head.out_features)
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        held.scatter_reduce_(1, tokens, real.to(held.dtype), "amax")
        held[:, self._marks] = 0.0
        return held


CLAIMS = ()
