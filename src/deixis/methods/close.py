"""CLOSE: captions and answers learned from text alone; at test time the image's embedding takes the text's place.

    train    e = normalise(text + n),  n ~ N(0, s^2 I),  s = r / sqrt(D)        prefix = W e + b,  4 vectors
    test     e = image                                                         prefix = W e + b
    loss     - mean over samples of  1 / n  sum over the n tokens t of the target of  log p(t | prefix, question, < t)

Texts and images of a contrastive model lie apart (the modality gap). Noise of r times the length of the embedding
covers the distance, so that what reads noisy texts reads images, too. Other adapters are fitted on pairs: `shift` adds
the mean of image - text, `linear` is the least squares map from texts to images (in eval mode, too); `covariance` draws
from the normal distribution of image - text, and is the identity in eval mode.

Three tasks: a `caption`, of which the text that was read is the target, or the `others` of its image; an `answer` to a
question, which stands behind the prefix; and `entail`: whether a second sentence fits what the first one says.

What differs from the paper:
* A decoder that is read by continuing the prefix replaces T5, an encoder-decoder: a causal language model of `deixis`.
* The noise is set by its relative norm r, as s means nothing without the width D: the paper's s = 0.08 at D = 768 is
  r = 2.2. With 20 pairs or more r can come from the mean cosine c of a pair, r = sqrt(1 / c^2 - 1), which makes a noisy
  text as far from its text as an image is (`rule="cosine"`): ours.
* Not copied from the authors' code, but `as_released`: padding of the question is read like words (`mask`); the linear
  decay is planned over samples and taken once a batch, so that the rate hardly falls (`decay`); the noise of
  `covariance` is three times too large, with isotropic noise on top (`factor`).
* The paper trains all of T5. Here, with a language model that knows English, the rate is for all of it, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.language.generation import Beam, Greedy
from deixis.nn.language.sequences import ended, words_of
from deixis.nn.layers.pooling import real_tokens
from deixis.nn.vision_language.projector import Projector
from deixis.nn.vision_language.speaker import Speaker, prepare_lm
from deixis.ops.collective import gather, mean_count, world_size
from deixis.types import (
    Arm,
    Batch,
    Card,
    Claim,
    Features,
    FieldSpec,
    Losses,
    Made,
    OptimSpec,
    Part,
    Progress,
    SampleSpec,
    Stage,
    Variant,
)
from deixis.types.outputs import Tokens
from deixis.types.protocols import LanguageModel

__all__ = [
    "ANSWER",
    "CARD",
    "CLAIMS",
    "QUESTION",
    "Config",
    "Covariance",
    "Linear",
    "Method",
    "ModalityGap",
    "Noise",
    "PairStatistics",
    "Shift",
    "caption_means",
    "fit_pairs",
    "modality_gap",
    "relative_norm_from_cosine",
    "released_decay",
    "segment_means",
]

IMAGE = FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image"))
TEXT = FieldSpec("text_embedding", "B K D", values="unit", made=Made("encoder", "encode_text", of=("text",)))
TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")
QUESTION = FieldSpec("question_tokens", "B K M", "long", ragged="M")
ANSWER = FieldSpec("answer_tokens", "B K N", "long", ragged="N")

CARD = Card(
    title="I Can't Believe There's No Images! Learning Visual Tasks Using only Language Supervision",
    year=2023,
    kind="trained",
    needs=(TEXT, TOKENS),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("lm", "lm")),
    capabilities=("caption", "answer"),
    non_gradient_state=("adapter.",),
    venue="ICCV",
    arxiv="2211.09778",
    code="allenai/close",
    tags=("captions", "questions", "language model", "text alone"),
    variants={
        "as_released": Variant({"as_released": ("mask", "decay", "factor")}),
        "no_noise": Variant({"adapter": "none"}),
    },
)

Normalise = Literal["after", "both", "no"]
_PAIRS = 20  # from which on a mean cosine says how far apart pairs are


@dataclass(frozen=True)
class Config:
    """Settings of CLOSE.

    Attributes:
        encoder: whose embeddings of texts and images are exchanged.
        lm: the language model, a decoder.
        task: what is learned: a `caption`, the `answer` to a question about what captions describe, or whether a
            sentence fits them (`entail`). Questions, sentences and answers stand in columns of their own.
        target: of captions, with several an image: the `same` one, or the `others` of its image.
        reads: embeddings of `texts`, or of the `images` themselves, as what learns from pictures does: the ceiling.
        adapter: between texts and the prefix: `none`, `noise`, `shift`, `linear` or `covariance`. The last three are
            fitted on pairs, a source beside the data.
        relative_norm: of the noise, in lengths of an embedding.
        rule: whether that norm is as given (`fixed`), or from the `cosine` of the pairs, of which there are 20 or more.
        normalise: where lengths are brought to 1: behind the noise (`after`), also before it (`both`), or not (`no`).
        shift: factor of the mean difference of `shift`; below 0 texts move away from the images.
        as_released: what is as in the released code: `mask`, `decay`, `factor`, see the docstring of the module.
        released_batch: samples a step, which the released decay hangs on.
        vectors: of the prefix.
        trains: the `projector` to the prefix alone, also low-rank changes of the language model, or `all` of it.
        rank: of these changes.
        beam: beginnings that are followed at once where a text is generated; 1: greedily.
        words: tokens of what is generated, at the most.
        sample: captions read, and the length that targets are cut to.
        question: the column of questions or sentences, and the length that they are cut to.
        answer: the column of answers, and the length that they are cut to.
        optim: how it is optimised.
    """

    encoder: str = "starter"
    lm: str = "scratch:small"
    task: Literal["caption", "answer", "entail"] = "caption"
    target: Literal["same", "others"] = "same"
    reads: Literal["texts", "images"] = "texts"
    adapter: Literal["none", "noise", "shift", "linear", "covariance"] = "noise"
    relative_norm: float = 2.2
    rule: Literal["fixed", "cosine"] = "fixed"
    normalise: Literal["after", "both", "no"] = "after"
    shift: float = 1.0
    as_released: tuple[str, ...] = ()
    released_batch: int = 128
    vectors: int = 4
    trains: Literal["projector", "lora", "all"] = "all"
    rank: int = 8
    beam: int = 1
    words: int = 32
    sample: SampleSpec = SampleSpec(tokenizer="lm", length=34)
    question: SampleSpec = SampleSpec(tokenizer="lm", length=48, field="question_tokens", column="question")
    answer: SampleSpec = SampleSpec(tokenizer="lm", length=18, field="answer_tokens", column="answer")
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.0, schedule="cosine", warmup=0.03)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: random towers that read bytes."""
        return cls(encoder="tiny", lm="tiny", words=6, optim=OptimSpec(learning_rate=3e-3))

    @classmethod
    def desk(cls) -> Config:
        """A new language model with the words of the data, all of which trains; with `lm="smollm2"` also set
        `trains="lora"`, 0.15 processor seconds a caption."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """As published: 0.08 in each of 768 directions for every task, all of the language model at 3e-4, no decay of
        weights, a linear decay of the rate, beams of 5. Encoder and language model are to be replaced."""
        return cls(
            lm="smollm2",
            relative_norm=0.08 * 768**0.5,
            beam=5,
            optim=OptimSpec(learning_rate=3e-4, weight_decay=0.0, schedule="linear"),
        )


# --- pairs ------------------------------------------------------------------------------------------------------------


class PairStatistics(NamedTuple):
    """What is fitted on pairs of an image and a text, all of length 1.

    Attributes:
        difference: mean of image - text.
        covariance: of image - text, unbiased.
        cholesky: its lower factor.
        weight: of the least squares map from texts to images.
        bias: of the same.
    """

    difference: Float[Tensor, " D"]
    covariance: Float[Tensor, "D D"]
    cholesky: Float[Tensor, "D D"]
    weight: Float[Tensor, "D D"]
    bias: Float[Tensor, " D"]


def fit_pairs(image: Float[Tensor, "N D"], text: Float[Tensor, "N D"]) -> PairStatistics:
    """Fits the adapters.

    With no more pairs than directions the covariance has no factor and many maps fit: a little of the identity is then
    added to the one, and of the maps the smallest is taken.

    Args:
        image: of each pair, of any length.
        text: of each pair, of any length.
    """
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    apart = image - text
    covariance = torch.cov(apart.T)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed):
        little = 1e-4 * covariance.diagonal().mean().clamp(min=1e-6)
        factor = torch.linalg.cholesky(covariance + little * torch.eye(len(covariance)).to(covariance))
    rows = torch.cat([text, torch.ones_like(text[:, :1])], dim=1)
    solution = torch.linalg.lstsq(rows, image, driver="gelsd").solution
    return PairStatistics(apart.mean(0), covariance, factor, solution[:-1].T.contiguous(), solution[-1])


class ModalityGap(NamedTuple):
    """How far texts lie from images.

    Attributes:
        cosine: the mean of a pair.
        relative_norm: of noise that takes a text as far from itself.
        of_means: the distance of the mean image from the mean text.
    """

    cosine: float
    relative_norm: float
    of_means: float


def relative_norm_from_cosine(cosine: float) -> float:
    """sqrt(1 / c^2 - 1): a text with such noise has about the cosine c with itself; infinite from c = 0 down."""
    return math.sqrt(1 / cosine**2 - 1) if cosine > 0 else math.inf


def modality_gap(image: Float[Tensor, "N D"], text: Float[Tensor, "N D"]) -> ModalityGap:
    """How far texts lie from the images of their pairs.

    Args:
        image: of each pair, of any length.
        text: of each pair, of any length.
    """
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    cosine = float((image * text).sum(-1).mean())
    return ModalityGap(cosine, relative_norm_from_cosine(cosine), float((image.mean(0) - text.mean(0)).norm()))


# --- adapters ---------------------------------------------------------------------------------------------------------


class Noise(nn.Module):
    """Isotropic noise on texts of length 1; the identity in eval mode.

    Args:
        width: of the embeddings (D).
        relative_norm: of the noise, in lengths of an embedding.
        normalise: whether lengths are brought to 1 behind the noise (`after`), also before it (`both`), or not (`no`).

    Attributes:
        relative_norm: a buffer, as it may come from pairs.
    """

    relative_norm: Tensor

    def __init__(self, width: int, relative_norm: float, normalise: Normalise = "after") -> None:
        super().__init__()
        self.width, self.normalise = width, normalise
        self.register_buffer("relative_norm", torch.tensor(relative_norm, dtype=torch.float64))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Deviation in each direction."""
        return self.relative_norm / math.sqrt(self.width)

    def forward(
        self, text: Float[Tensor, "B D"], noise: Float[Tensor, "B D"], more: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """What stands for an image.

        Args:
            text: embeddings of any length.
            noise: drawn from the standard normal distribution.
            more: drawn likewise, for adapters with noise of two kinds.
        """
        moved = self.moved(F.normalize(text, dim=-1))
        if not self.training:
            return moved
        if self.normalise == "both":
            moved = F.normalize(moved, dim=-1)
        noisy = moved + self.drawn(noise, more)
        return noisy if self.normalise == "no" else F.normalize(noisy, dim=-1)

    def moved(self, text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Without noise; this stays on in eval mode."""
        return text

    def drawn(self, noise: Float[Tensor, "B D"], more: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """What is added in training."""
        return self.scale.to(noise) * noise

    def fit(self, pairs: PairStatistics) -> None:
        """Takes what is needed of pairs: nothing."""


class Shift(Noise):
    """The mean of image - text is added, also in eval mode, and noise in training.

    Args:
        width: of the embeddings (D).
        relative_norm: of the noise.
        normalise: see `Noise`.
        factor: of the mean; the paper also shifts away from the images, or in directions drawn at random.
    """

    vector: Tensor

    def __init__(self, width: int, relative_norm: float, normalise: Normalise = "after", factor: float = 1.0) -> None:
        super().__init__(width, relative_norm, normalise)
        self.factor = factor
        self.register_buffer("vector", torch.zeros(width))

    def moved(self, text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Nearer to the images."""
        return text + self.factor * self.vector.to(text)

    def fit(self, pairs: PairStatistics) -> None:
        """Takes the mean."""
        self.vector = pairs.difference.to(self.vector)


class Linear(Noise):
    """A least squares map from texts to images, also in eval mode, and noise in training."""

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, relative_norm: float, normalise: Normalise = "after") -> None:
        super().__init__(width, relative_norm, normalise)
        self.register_buffer("weight", torch.eye(width))
        self.register_buffer("bias", torch.zeros(width))

    def moved(self, text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """As an image of this text would lie."""
        return F.linear(text, self.weight.to(text), self.bias.to(text))

    def fit(self, pairs: PairStatistics) -> None:
        """Takes the map."""
        self.weight, self.bias = pairs.weight.to(self.weight), pairs.bias.to(self.bias)


class Covariance(Noise):
    """Noise with the mean and the covariance of image - text; the identity in eval mode.

    Args:
        width: of the embeddings (D).
        relative_norm: of the isotropic noise of the released code.
        released: whether the correlated noise is three times as large, and isotropic noise added.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int, relative_norm: float, released: bool = False) -> None:
        super().__init__(width, relative_norm)
        self.released = released
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.zeros(width, width))

    def drawn(self, noise: Float[Tensor, "B D"], more: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """As an image is apart from its text."""
        apart = more @ self.factor.T.to(more)
        if not self.released:
            return self.mean.to(more) + apart
        return self.mean.to(more) + _RELEASED_FACTOR * apart + self.scale.to(noise) * noise

    def fit(self, pairs: PairStatistics) -> None:
        """Takes mean and covariance."""
        self.mean, self.factor = pairs.difference.to(self.mean), pairs.cholesky.to(self.factor)


_RELEASED_FACTOR = 3.0


def caption_means(rows: Float[Tensor, "N D"], segment: Int64[Tensor, " N"]) -> Float[Tensor, "B D"]:
    """Several captions of one image as one vector: the mean of the vectors as they are, brought to length 1.

    Args:
        rows: of the captions.
        segment: equal for captions of one image; the numbers 0, 1, 2... all occur.
    """
    return F.normalize(segment_means(rows, segment), dim=-1)


def segment_means(rows: Float[Tensor, "N D"], segment: Int64[Tensor, " N"]) -> Float[Tensor, "B D"]:
    """The mean of the rows of each segment.

    Args:
        rows: any.
        segment: equal for rows that belong together; the numbers 0, 1, 2... all occur.
    """
    count = torch.bincount(segment)
    sums = rows.new_zeros(len(count), rows.shape[1]).index_add(0, segment, rows)
    return sums / count[:, None]


# --- method -----------------------------------------------------------------------------------------------------------


def released_decay(optim: OptimSpec, batch: int) -> OptimSpec:
    """The linear decay of the released code: planned over samples, taken once a batch, so that of the rate no more than
    one part in `batch` is gone at the end.

    Args:
        optim: whose schedule is replaced.
        batch: samples a step.
    """
    return dataclasses.replace(optim, schedule="linear", floor=1 - 1 / batch)


def _checked(config: Config) -> Config:
    unknown = [each for each in config.as_released if each not in ("mask", "decay", "factor")]
    if unknown:
        raise DeixisError(f"as_released holds {unknown[0]!r}.", "It may hold mask, decay and factor.")
    if config.target == "others" and (config.task != "caption" or config.sample.captions < 2):
        raise DeixisError(
            "The other captions of an image are to be learned, and one is read.",
            "Set sample.captions=2 or more, and task=caption.",
        )
    if "decay" in config.as_released:
        return dataclasses.replace(config, optim=released_decay(config.optim, config.released_batch))
    return config


def _adapter(config: Config, width: int) -> Noise:
    norm = 0.0 if config.adapter == "none" else config.relative_norm
    if config.adapter == "shift":
        return Shift(width, norm, config.normalise, config.shift)
    if config.adapter == "linear":
        return Linear(width, norm, config.normalise)
    if config.adapter == "covariance":
        return Covariance(width, norm, "factor" in config.as_released)
    return Noise(width, norm, config.normalise)


class Method(nn.Module):
    """A frozen encoder, an adapter of its texts, and a language model behind a prefix.

    Attributes:
        adapter: from a text's embedding to what stands for an image's.
        speaker: projector and language model.
        gap: what the pairs said, if there were any.
    """

    def __init__(self, config: Config, *, encoder: DualEncoder, lm: LanguageModel) -> None:
        super().__init__()
        self.config, self.encoder = _checked(config), encoder
        self.adapter = _adapter(config, encoder.width)
        prepare_lm(lm, config.trains, config.rank)
        self.speaker = Speaker(None, Projector("prefix", encoder.width, lm.width, config.vectors), lm)
        self.gap: ModalityGap | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    @property
    def lm(self) -> LanguageModel:
        """The language model."""
        return self.speaker.lm

    def stages(self) -> tuple[Stage, ...]:
        """The adapter is fitted where it has anything to fit, then texts are learned."""
        read = TEXT if self.config.reads == "texts" else IMAGE
        needs = (read, TOKENS) if self.config.task == "caption" else (read, QUESTION, ANSWER)
        fitted = self.config.adapter in ("shift", "linear", "covariance") or self.config.rule == "cosine"
        first = (Stage("pairs", kind="fit", needs=(IMAGE, TEXT), data="pairs"),) if fitted else ()
        return (*first, Stage("text", needs=needs))

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the pairs of a batch; several captions of an image are one."""
        self._seen.append((batch.extra["image_embedding"], _means(batch.extra["text_embedding"])))

    def finish(self, progress: Progress) -> None:
        """Fits the adapter, and sets the norm of the noise where the cosine of the pairs says it."""
        image, text = (gather(torch.cat(each)) for each in zip(*self._seen, strict=True))
        self._seen.clear()
        self.gap = modality_gap(image, text)
        if self.config.rule == "cosine":
            if len(image) < _PAIRS or not math.isfinite(self.gap.relative_norm):
                raise DeixisError(
                    f"{len(image)} pairs have a mean cosine of {self.gap.cosine:.3f}.",
                    f"Give {_PAIRS} pairs or more that fit each other, or leave rule=fixed.",
                )
            self.adapter.relative_norm.fill_(self.gap.relative_norm)
        self.adapter.fit(fit_pairs(image.double(), text.double()))

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Row `loss` [B]: the mean of -log p over the tokens of the target and its end; of several targets the mean."""
        others, read = self.config.target == "others", self._read(batch)
        noise, more = (_normal(progress.uniform(name, batch.ids, read.shape[1])).to(read) for name in ("noise", "more"))
        prefix = self.speaker.projector(self.adapter(read, noise, more)[:, None])
        if self.config.task != "caption":
            return Features({"loss": self._losses(prefix, _tokens(batch, ANSWER), self._question(batch))})
        first, count = (1, self.config.sample.captions) if others else (0, 1)
        losses = [self._losses(prefix, batch.caption(number)) for number in range(first, count)]
        return Features({"loss": torch.stack(losses).mean(0)})

    def _read(self, batch: Batch) -> Float[Tensor, "B D"]:
        if self.config.reads == "images":
            return batch.extra["image_embedding"]
        texts = batch.extra["text_embedding"]
        return texts[:, 0] if self.config.target == "others" else _means(texts)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The mean over the samples of all ranks."""
        loss = features.rows["loss"].mean()
        if world_size() > 1:  # the mean over ranks must count every sample once
            loss = loss * len(batch) / mean_count(float(len(batch)))
        return Losses({"words": loss})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def _losses(
        self, prefix: Float[Tensor, "B K F"], said: Tokens, question: Tokens | None = None
    ) -> Float[Tensor, " B"]:
        target = ended(self.lm, words_of(self.lm, *said))
        return self.speaker.token_loss(prefix, target, question).sum(1) / target.mask.sum(1)

    def _question(self, batch: Batch) -> Tokens:
        return self._words(*_tokens(batch, QUESTION))

    def _words(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Tokens:
        """A question without marks; as released its padding is read, too."""
        words = words_of(self.lm, tokens, mask)
        return Tokens(words.ids, torch.ones_like(words.mask)) if "mask" in self.config.as_released else words

    # --- what it is used for ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def caption(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """What the language model says of each image."""
        return self._say(images, None)

    @torch.no_grad()
    def answer(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[str]:
        """What it says to each question; where sentences were learned, whether each fits."""
        return self._say(images, self._words(tokens, real_tokens(tokens, mask)))

    @torch.no_grad()
    def answer_scores(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"] | None,
        answers: Sequence[str],
    ) -> Float[Tensor, "B A"]:
        """The logarithm of the probability of each of a closed list of answers."""
        question = self._words(tokens, real_tokens(tokens, mask))
        return self.speaker.score_texts(self._prefix(images), answers, question)

    def _prefix(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K F"]:
        return self.speaker.projector(F.normalize(self.encoder.encode_image(images), dim=-1)[:, None])

    def _say(self, images: Tensor, question: Tokens | None) -> list[str]:
        strategy = Greedy() if self.config.beam == 1 else Beam(self.config.beam)
        said = self.speaker.say(self._prefix(images), self.config.words, question, strategy)
        return [each.text.strip() for each in said]


def _tokens(batch: Batch, field: FieldSpec) -> Tokens:
    """Those of the first text of a field."""
    tokens = batch.extra[field.name][:, 0]
    return Tokens(tokens, batch.valid[field.ragged].reshape(len(tokens), -1, tokens.shape[1])[:, 0])


def _means(texts: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
    """Several captions of each image as one vector."""
    rows = torch.arange(len(texts), device=texts.device).repeat_interleave(texts.shape[1])
    return caption_means(texts.flatten(0, 1), rows)


def _normal(uniform: Tensor) -> Tensor:
    """Numbers of the standard normal distribution, of numbers from 0 to 1."""
    return torch.special.ndtri(uniform.double().clamp(1e-7, 1 - 1e-7))


_ASKED = {"learn": "questions", "count": 8_000}
_PICTURES = Arm("close", {"reads": "images", "adapter": "none"}, data={"learn": "pictures"})

CLAIMS = (
    Claim(
        "What learned from texts with noise alone describes pictures better than what learned from the same texts "
        "without noise, and than the text that is nearest to the picture.",
        arms={
            "noise 2.2": Arm("close"),
            "no noise": Arm("close", {"adapter": "none"}),
            "nearest text": Arm("nearest_text"),
        },
        metric="facts",
        statistic="final",
        minimum_effect=0.05,
        data="told",
        budget=44_000,
        seeds=5,
        first_seed=10,
        cheap="nearest text",
    ),
    Claim(
        "What learned questions about texts with noise answers them about pictures better than without noise, and "
        "than the answer that stands beside the nearest text of which the same was asked.",
        arms={
            "noise 2.2": Arm("close", {"task": "answer"}),
            "no noise": Arm("close", {"task": "answer", "adapter": "none"}),
            "nearest text": Arm("nearest_text", {"questions": True}),
        },
        metric="answers",
        statistic="final",
        minimum_effect=0.05,
        data="told",
        budget=44_000,
        primary=False,
        options=_ASKED,
        seeds=5,
        first_seed=10,
        cheap="nearest text",
    ),
    Claim(
        "Noise whose norm the mean cosine of 50 pairs gives describes pictures better than noise of 2.2, than a linear "
        "map, and than a shift from the same pairs.",
        arms={
            "norm by the cosine": Arm("close", {"rule": "cosine"}),
            "noise 2.2": Arm("close"),
            "linear map": Arm("close", {"adapter": "linear"}),
            "shift": Arm("close", {"adapter": "shift"}),
        },
        metric="facts",
        statistic="final",
        minimum_effect=0.05,
        data="told",
        budget=44_000,
        primary=False,
        options={"pairs": 50},
        seeds=5,
        first_seed=10,
        cheap="noise 2.2",
    ),
    Claim(
        "What learned from the pictures themselves describes pictures better than what learned from texts with noise.",
        arms={"pictures": _PICTURES, "noise 2.2": Arm("close")},
        metric="facts",
        statistic="final",
        minimum_effect=0.05,
        data="told",
        budget=44_000,
        primary=False,
        seeds=5,
        first_seed=10,
        cheap="noise 2.2",
    ),
)
