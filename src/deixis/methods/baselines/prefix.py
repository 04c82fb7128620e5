"""A language model that reads images as a prefix: next-token training through a projector, as in LLaVA's first stage.

    v = P(f(image)),     L = - mean over captions of  1 / k  sum over their k tokens of  log p(t_i | v, question, t_<i)

The last token is the one that ends a text. f, the tower, is frozen; P is a linear map, a perceptron, or one linear map
of the image's embedding to several vectors (ClipCap, CLOSE). Of the language model p nothing trains, low-rank changes
do, or all of it.

It is the plain case of methods that weigh the tokens or add a contrast, and what they are compared with.

What differs from LLaVA: the mean is over captions, not over all tokens of a batch; nothing stands before the image; and
questions come without the words of a conversation around them. Without any encoder, patches through one linear map, as
in SOLO: tower=patches:8:64, projector=linear, trains=all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.language.sequences import ended, words_of
from deixis.nn.layers.pooling import real_tokens
from deixis.nn.vision_language.projector import Projector
from deixis.nn.vision_language.speaker import Speaker, prepare_lm
from deixis.ops.collective import mean_count, world_size
from deixis.types import Batch, Card, Features, FieldSpec, Losses, OptimSpec, Part, Progress, SampleSpec, Stage
from deixis.types.outputs import Tokens
from deixis.types.protocols import ImageEncoder, LanguageModel

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

IMAGES = FieldSpec("images", "B 3 H W")
TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")
QUESTION = FieldSpec("question_tokens", "B K M", "long", ragged="M")

CARD = Card(
    title="A language model that reads images as a prefix",
    year=2023,
    kind="trained",
    role="baseline",
    needs=(IMAGES, TOKENS),
    parts=(Part("tower", "image_tower", frozen=True), Part("lm", "lm")),
    capabilities=("caption", "answer"),
    venue="NeurIPS",
    arxiv="2304.08485",
    tags=("captions", "questions", "language model"),
)


@dataclass(frozen=True)
class Config:
    """Settings of a language model that reads images.

    Attributes:
        tower: what looks at the images.
        lm: the language model.
        projector: `linear`, `mlp` or `prefix`.
        vectors: that `prefix` makes of what it is given.
        grid: rows and columns that patches are averaged to; 0: as many as the tower has.
        embedding: whether the image is one vector, the tower's pooled features, and not read patch by patch.
        trains: the `projector` alone, also low-rank changes of the language model (`lora`), or `all` of both.
        rank: of these changes.
        questions: whether each caption answers a question, which stands in a column of its own and before it.
        words: tokens of what is generated, at the most.
        sample: captions, and the length that they are cut to.
        question: the column of the questions, and the length that they are cut to.
        optim: how it is optimised.
    """

    tower: str = "starter"
    lm: str = "scratch:small"
    projector: Literal["linear", "mlp", "prefix"] = "mlp"
    vectors: int = 4
    grid: int = 0
    embedding: bool = False
    trains: Literal["projector", "lora", "all"] = "all"
    rank: int = 8
    questions: bool = False
    words: int = 32
    sample: SampleSpec = SampleSpec(tokenizer="lm", length=48)
    question: SampleSpec = SampleSpec(tokenizer="lm", length=48, field="question_tokens", column="question")
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, schedule="cosine", warmup=0.03)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: random towers, all of which train but the image tower."""
        return cls(tower="tiny", lm="tiny", trains="all", grid=2, words=6, optim=OptimSpec(learning_rate=3e-3))

    @classmethod
    def desk(cls) -> Config:
        """The starter and a new language model on two cores: nine cells of the image, all but the tower trains."""
        return cls(grid=3)

    @classmethod
    def paper(cls) -> Config:
        """LLaVA 1.5's first stage: every patch, 0.001, a cosine with 3 % of warm-up, batches of 256."""
        return cls(trains="projector")


class Method(nn.Module):
    """A frozen tower, a projector and a language model."""

    config: Config

    def __init__(self, config: Config, *, tower: ImageEncoder, lm: LanguageModel) -> None:
        super().__init__()
        self.config = config
        prepare_lm(lm, config.trains, config.rank)
        inside = tower.width if config.embedding else tower.token_width
        projector = Projector(config.projector, inside, lm.width, config.vectors)
        self.speaker = Speaker(tower, projector, lm, grid=config.grid, embedding=config.embedding)

    @property
    def tower(self) -> ImageEncoder | None:
        """What looks at the images."""
        return self.speaker.tower

    @property
    def lm(self) -> LanguageModel:
        """The language model."""
        return self.speaker.lm

    def stages(self) -> tuple[Stage, ...]:
        """One stage; with questions it reads these, too."""
        return (Stage(needs=(IMAGES, TOKENS, QUESTION)) if self.config.questions else Stage(),)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Row `loss` [B]: the mean of -log p over the tokens of the first caption and its end."""
        assert batch.images is not None
        target = ended(self.lm, words_of(self.lm, *batch.caption()))
        losses = self.speaker.token_loss(self.speaker.prefix(batch.images), target, self._question(batch))
        return Features({"loss": losses.sum(1) / target.mask.sum(1)})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The mean over the captions of all ranks."""
        loss = features.rows["loss"].mean()
        if world_size() > 1:  # the mean over ranks must count every sample once
            loss = loss * len(batch) / mean_count(float(len(batch)))
        return Losses({"words": loss})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    @torch.no_grad()
    def caption(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """What the language model says of each image, greedily."""
        return self._say(images, None)

    @torch.no_grad()
    def answer(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[str]:
        """What it says to each question; of a model that learned from captions alone, expect no answers."""
        return self._say(images, words_of(self.lm, tokens, real_tokens(tokens, mask)))

    def _say(self, images: Tensor, question: Tokens | None) -> list[str]:
        said = self.speaker.say(self.speaker.prefix(images), self.config.words, question)
        return [each.text.strip() for each in said]

    def _question(self, batch: Batch) -> Tokens | None:
        if not self.config.questions:
            return None
        tokens = batch.extra[QUESTION.name][:, 0]
        return words_of(self.lm, tokens, batch.valid["M"].reshape(len(tokens), -1, tokens.shape[1])[:, 0])


CLAIMS = ()
