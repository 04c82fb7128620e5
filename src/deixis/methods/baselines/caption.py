"""Predicting a caption word by word: a causal transformer that is shown the image's embedding first.

    L = - mean over samples of  1 / n  sum over the tokens t of the caption of  log p(t | image, tokens before t)

It is what CLIP was compared with first (Radford et al., 2021, section 2.3 and figure 2, after Desai and Johnson, 2020).
Asked whether a text fits, it says the logarithm of the text's probability.

What differs from the paper: the image is one vector, its embedding scaled to the length sqrt(D), not a grid of states;
there is one direction, not two; the encoder's own text tower is not used, so that any encoder will do.

Relations: it trains as `bag_of_words` does; what differs is the head, for which a text is no bag.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods.baselines import bag_of_words
from deixis.nn.dual import DualEncoder
from deixis.nn.layers.transformer import TransformerEncoder
from deixis.types import Batch, Card, Features, FieldSpec, OptimSpec, Part, Progress, Stage

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Predicting a caption word by word",
    year=2021,
    kind="trained",
    role="baseline",
    needs=(FieldSpec("images", "B 3 H W"), FieldSpec("tokens", "B K L", "long", ragged="L")),
    parts=(Part("encoder", "dual_encoder"),),
    capabilities=("compare",),
    zero_gradient=("attention.key.bias",),
    venue="CVPR",
    arxiv="2006.06666",
    tags=("pre-training", "zero-shot"),
)


@dataclass(frozen=True)
class Config(bag_of_words.Config):
    """Settings of the prediction of words, and the decoder.

    Attributes:
        width: of the decoder's states.
        depth: its blocks.
        heads: of each attention.
    """

    width: int = 128
    depth: int = 2
    heads: int = 2

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(
            encoder="tiny",
            width=16,
            depth=1,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.1, schedule="cosine"),
        )

    @classmethod
    def desk(cls) -> Config:
        """A new encoder on two cores, and a decoder as large as its text tower."""
        return cls(optim=OptimSpec(learning_rate=1e-3, weight_decay=0.1, schedule="cosine", warmup=50))

    @classmethod
    def paper(cls) -> Config:
        """The decoder of CLIP's text tower, with the rate, decay and warm-up of CLIP. The encoder is to be replaced."""
        return cls(
            width=512,
            depth=12,
            heads=8,
            optim=OptimSpec(learning_rate=5e-4, weight_decay=0.2, schedule="cosine", warmup=2000),
        )


class Method(bag_of_words.Method):
    """An image tower and a decoder."""

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__(config, encoder=encoder)
        width, vocabulary = config.width, encoder.tokenizer.vocabulary
        self.image = nn.Linear(encoder.width, width)
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.01 * torch.randn(encoder.context_length, width))
        self.blocks = TransformerEncoder(config.depth, width, config.heads, 4 * width, activation="gelu", epsilon=1e-5)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        nn.init.normal_(self.words.weight, std=0.02)

    def stages(self) -> tuple[Stage, ...]:
        """One stage; the text tower is not used."""
        parts = ("image", "words", "positions", "blocks", "norm", "head")
        return (Stage(trainable=("encoder.image_tower.", *parts)),)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Row `likelihood` [B]: the mean logarithm of the probabilities of the first caption's tokens."""
        assert batch.images is not None
        tokens, mask = batch.caption()
        told = self._told(self._seen(batch.images), tokens) * mask
        return Features({"likelihood": told.sum(1) / mask.sum(1).clamp(min=1)})

    def compare(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "G L"], mask: Bool[Tensor, "G L"] | None = None
    ) -> Float[Tensor, "B G"]:
        """The logarithm of the probability of each text given each image; every pair goes through the decoder."""
        seen, count = self._seen(images), len(images)
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        columns = [
            (self._told(seen, text.expand(count, -1)) * row).sum(1) for text, row in zip(tokens, real, strict=True)
        ]
        return torch.stack(columns, dim=1) if columns else seen.new_zeros(count, 0)

    def _seen(self, images: Tensor) -> Float[Tensor, "B W"]:
        return self.image(self._embedding(images))

    def _told(self, seen: Float[Tensor, "B W"], tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """Logarithms of the probabilities of the tokens, each given the image and those before it."""
        length = tokens.shape[1]
        states = torch.cat([seen[:, None], self.words(tokens[:, :-1])], dim=1) + self.positions[:length]
        logits = self.head(self.norm(self.blocks(states, causal=True)))
        return -F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")


CLAIMS = ()
