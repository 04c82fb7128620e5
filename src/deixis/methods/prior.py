"""PRIOR: of a caption, the words that its text alone does not foretell count more, so that a model that sees attends to
the image.

    w_i = max((1 - p_ref(t_i | t_<i))^alpha, floor)      p_ref: a language model that learned the captions alone
    W_i = k w_i / sum_j w_j                              of the k tokens of a caption, so that their mean is 1
    L   = - mean over captions of  1 / k  sum_i W_i log p(t_i | image, t_<i)

In a first stage the reference learns the captions as any text. Then it rests, and the model that reads images trains
with the weights. Of a caption they never change: each is scored once, alone, and remembered for as long as the
reference is the same, so that they are the same bits in whatever batch it comes. With alpha = 0 it is its parent,
`prefix`.

The setting with a vision encoder trains the projector alone, as the paper does (trains=projector). The one without has
patches of pixels go through one linear map into a language model that trains: tower=patches:32:224, projector=linear,
trains=all.

Only the abstract and a review that states the formulas could be read, and the authors' repository holds no code. Ours
are: the floor, which a caption known by heart needs; that the end of a text is weighed like a word; the mean over
captions of their means; what the reference begins as (a copy of the language model), what of it trains and for how
long; and the optimiser, which is that of LLaVA's first stage.

Without the rescaling, the best model of a context says what the data say times the weight: the loss tilts it away from
what text alone foretells. That helps against habits of language and costs calibration. Words that no image tells, such
as made-up names, get the highest weights: the known blind spot, which `cal` does not have.

Rivals replace what the weights are made of (`scorer`): `cal` weighs by how much the image raises the logit of a token,
from two more passes in each step, the mean over all tokens; `self_focal` takes the probability of the model itself;
`shuffled` deals out the weights of a caption among its tokens at random.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods.baselines import prefix
from deixis.nn.fingerprint import fingerprint
from deixis.nn.language.sequences import continuation_loss, ended, target_logits, words_of
from deixis.nn.vision_language.speaker import prepare_lm
from deixis.ops.collective import mean_count, total
from deixis.ops.text.weighting import focal_weight
from deixis.types import (
    Arm,
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
)
from deixis.types.outputs import Tokens
from deixis.types.protocols import ImageEncoder, LanguageModel

__all__ = ["CARD", "CLAIMS", "Config", "Method", "image_effect", "rescale", "token_weights", "weighted_loss"]

IMAGES = FieldSpec("images", "B 3 H W")
TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")
QUESTION = FieldSpec("question_tokens", "B K M", "long", ragged="M")
_MOST_ROWS = 2**18
"""Texts whose scores are remembered; beyond, the first of them are scored again."""

Normalise: TypeAlias = Literal["caption", "batch", "none"]

CARD = Card(
    title="Prioritizing Image-Related Tokens Enhances Vision-Language Pre-Training (PRIOR)",
    year=2025,
    kind="trained",
    needs=(IMAGES, TOKENS),
    parts=(
        Part("tower", "image_tower", frozen=True),
        Part("lm", "lm"),
        Part("reference_lm", "lm", optional=True),
    ),
    capabilities=("caption", "answer"),
    arxiv="2505.08971",
    code="Yangyi-Chen/PRIOR",
    tags=("captions", "language model", "token weights"),
)


@dataclass(frozen=True)
class Config(prefix.Config):
    """Settings of the parent, and how its tokens are weighed.

    Attributes:
        reference_lm: the language model that learns the captions without images; empty where no weight needs it.
        reference_trains: whether `all` of it learns them, or low-rank changes (`lora`).
        reference_share: of all steps, those in which it does.
        alpha: exponent of the weights; 0: all are 1.
        floor: the least of them, before they are rescaled.
        normalise: whether their mean is 1 in each `caption`, over the `batch`, or not made so (`none`).
        mean: whether the loss is the mean over `captions` of their means, or over all `tokens` alike.
        scorer: what the weights are made of: the `reference`; the same, `shuffled` in each caption; the probability of
            the model itself (`self_focal`); or the effect of the image (`cal`).
        cal_limits: the least and the most of that effect.
        cal_window: tokens that it is averaged over.
    """

    reference_lm: str = "scratch:small"
    reference_trains: Literal["lora", "all"] = "all"
    reference_share: float = 0.25
    alpha: float = 1.0
    floor: float = 1e-3
    normalise: Literal["caption", "batch", "none"] = "caption"
    mean: Literal["captions", "tokens"] = "captions"
    scorer: Literal["reference", "shuffled", "self_focal", "cal"] = "reference"
    cal_limits: tuple[float, float] = (1.0, 5.0)
    cal_window: int = 3

    @classmethod
    def tiny(cls) -> Config:
        """For tests: random towers, all of which train but the image tower."""
        return cls(
            tower="tiny",
            lm="tiny",
            reference_lm="tiny",
            trains="all",
            grid=2,
            words=6,
            optim=OptimSpec(learning_rate=3e-3),
        )

    @classmethod
    def desk(cls) -> Config:
        """The starter and new language models on two cores, as the parent. With pretrained ones set lm=smollm2,
        trains=projector, reference_lm=smollm2, reference_trains=lora."""
        return cls(grid=3)

    @classmethod
    def paper(cls) -> Config:
        """The weights as published, at the optimiser of LLaVA 1.5's first stage; the paper's own was not to be read.

        Reference and projector see the captions equally often. Tower and language model are to be replaced: by CLIP's
        ViT-L/14 at 336 pixels and Llama-3.2-3B, or without an encoder by patches:32:SIDE and a model that trains.
        """
        return cls(
            trains="projector",
            reference_share=0.5,
            optim=OptimSpec(
                learning_rate=1e-3, schedule="cosine", warmup=0.03, groups=(OptimGroup("reference_lm", scale=0.02),)
            ),
        )


def token_weights(
    prob: Float[Tensor, "B L"], real: Bool[Tensor, "B L"], alpha: float, floor: float, normalise: Normalise = "caption"
) -> Float[Tensor, "B L"]:
    """max((1 - p)^alpha, floor), rescaled (equation of the importance score); constants, 0 where nothing is real.

    Args:
        prob: the reference model's, of each target, without the image.
        real: where there is a target.
        alpha: exponent; with 0 all weights are 1.
        floor: the least, before rescaling.
        normalise: see `rescale`.
    """
    return rescale(focal_weight(prob.detach(), alpha).clamp(min=floor), real, normalise)


def rescale(weights: Float[Tensor, "B L"], real: Bool[Tensor, "B L"], normalise: Normalise) -> Float[Tensor, "B L"]:
    """Weights with the mean 1, 0 where nothing is real.

    Args:
        weights: above 0.
        real: where they count.
        normalise: whether the mean is 1 in each `caption`, over the `batch` of all ranks, or whatever it is (`none`).
    """
    weights, count = weights * real, real.to(weights.dtype)
    if normalise == "none":
        return weights
    if normalise == "batch":
        return weights * (total(count.sum()) / total(weights.sum()))
    return weights * (
        count.sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    )


def image_effect(
    with_image: Float[Tensor, "B L"],
    without: Float[Tensor, "B L"],
    real: Bool[Tensor, "B L"],
    limits: tuple[float, float],
    window: int,
) -> Float[Tensor, "B L"]:
    """By how much the image raises the logit of each target, held between limits and averaged with its neighbours.

    Source: Xiao et al., Seeing the Image: Prioritizing Visual Correlation by Contrastive Alignment (CAL, 2024), and its
    code, where a batch is one row.

    Args:
        with_image: the logit of each target where the model sees the image.
        without: the same where the image is hidden.
        real: where there is a target; others are no neighbours.
        limits: the least and the most of a difference.
        window: how many targets are averaged, the own one in the middle; at the ends of a row fewer.
    """
    effect = (with_image - without).detach().clamp(*limits) * real
    sums, counts = (
        F.avg_pool1d(each[:, None], window, stride=1, padding=window // 2)[:, 0] for each in (effect, real.to(effect))
    )
    return torch.where(real, sums / counts.clamp(min=1 / (2 * window)), 0)


def weighted_loss(
    token_loss: Float[Tensor, "B L"],
    weights: Float[Tensor, "B L"],
    real: Bool[Tensor, "B L"],
    mean: Literal["captions", "tokens"] = "captions",
) -> Float[Tensor, ""]:
    """The weighted loss of the targets, averaged over the samples of all ranks.

    Args:
        token_loss: -log p of each target.
        weights: of each.
        real: where there is one; a caption has one or more.
        mean: over `captions`, each divided by the number of its targets, or over `tokens`, all targets alike.
    """
    sums, counts = (weights * token_loss * real).sum(1), real.sum(1)
    if mean == "tokens":
        return sums.sum() / mean_count(counts.sum()).to(sums.device)
    return (sums / counts).sum() / mean_count(float(len(counts))).to(sums.device)


def shuffled(
    weights: Float[Tensor, "B L"], real: Bool[Tensor, "B L"], draws: Float[Tensor, "B L"]
) -> Float[Tensor, "B L"]:
    """The weights of each row in another order; those that are not real stand behind and are 0.

    Args:
        weights: of tokens that stand at the beginning of their row.
        real: which they are.
        draws: random numbers below 1, which decide.
    """
    return weights.gather(1, draws.masked_fill(~real, 2.0).argsort(dim=1, stable=True)) * real


class ScoreCache:
    """What a language model at rest says of texts, each scored once and alone: in any batch the same bits.

    Rows are those of one model, by its fingerprint; it is taken again where any of its tensors was written to.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._model = ""
        self._versions: tuple[tuple[int, int], ...] = ()

    @torch.no_grad()
    def __call__(self, lm: LanguageModel, target: Tokens, question: Tokens | None) -> Float[Tensor, "B L"]:
        """The probability of each token of the targets, given those before it; 0 at padding.

        Args:
            lm: that is asked.
            target: as `ended` gives it.
            question: what stands before it.
        """
        self._forget_others(cast(nn.Module, lm))
        found = torch.zeros(target.mask.shape)
        for row, length in enumerate(target.mask.sum(1).tolist()):
            own = Tokens(target.ids[row : row + 1, :length], target.mask[row : row + 1, :length])
            asked = None if question is None else Tokens(question.ids[row : row + 1], question.mask[row : row + 1])
            found[row, :length] = torch.frombuffer(bytearray(self._row(lm, own, asked)), dtype=torch.float32)
        return found

    def _row(self, lm: LanguageModel, target: Tokens, question: Tokens | None) -> bytes:
        before = [] if question is None else question.ids[question.mask].tolist()
        key = hashlib.blake2b(repr((target.ids[0].tolist(), before)).encode(), digest_size=16).digest()
        if key not in self._rows:
            if len(self._rows) >= _MOST_ROWS:
                del self._rows[next(iter(self._rows))]
            loss = continuation_loss(lm, None, target, question)[0]
            self._rows[key] = (-loss).exp().float().cpu().numpy().tobytes()
        return self._rows[key]

    def _forget_others(self, model: nn.Module) -> None:
        versions = tuple((each.data_ptr(), each._version) for each in model.state_dict(keep_vars=True).values())
        if versions == self._versions:
            return
        name = fingerprint(model)
        if name != self._model:
            self._rows.clear()
        self._model, self._versions = name, versions


class Method(prefix.Method):
    """The parent and a reference, which learns first and then says how probable each token is."""

    config: Config

    def __init__(
        self, config: Config, *, tower: ImageEncoder, lm: LanguageModel, reference_lm: LanguageModel | None = None
    ) -> None:
        _require_settings(config, lm, reference_lm)
        if reference_lm is lm:  # one object that was handed in twice
            reference_lm = copy.deepcopy(lm)
        super().__init__(config, tower=tower, lm=lm)
        if reference_lm is not None:
            prepare_lm(reference_lm, config.reference_trains, config.rank)
        self.reference_lm = reference_lm
        self._scored = ScoreCache()

    def stages(self) -> tuple[Stage, ...]:
        """The reference learns the texts alone, if there is one; then the model does, with the images."""
        text = (TOKENS, QUESTION) if self.config.questions else (TOKENS,)
        second = Stage("pretrain", trainable=("speaker.",), needs=(IMAGES, *text), evaluate=("reference_lm",))
        if self.reference_lm is None:
            return (second,)
        first = Stage("reference", trainable=("reference_lm.",), needs=text, evaluate=("speaker",))
        share = self.config.reference_share
        return (replace(first, steps=share), replace(second, steps=1 - share))

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """The loss of each token of the first caption and its end, and what its weight is made of.

        Returns:
            rows `loss`, `score` (the probability, or the effect of the image) and `real` [B, L]; while the reference
            learns, `loss` is its own and `score` means nothing.
        """
        target, question = ended(self.lm, words_of(self.lm, *batch.caption())), self._question(batch)
        if progress.stage == "reference":
            assert self.reference_lm is not None
            loss = continuation_loss(self.reference_lm, None, target, question)
            return _rows(batch, loss, torch.ones_like(loss), target)
        assert batch.images is not None
        image = self.speaker.prefix(batch.images)
        loss = self.speaker.token_loss(image, target, question)
        with torch.no_grad():
            if self.config.scorer == "cal":
                seen, hidden = (target_logits(self.lm, each, target, question) for each in (image, None))
                score = image_effect(seen, hidden, target.mask, self.config.cal_limits, self.config.cal_window)
            else:
                score = self._prob(loss.detach(), target, question)
            if self.config.scorer == "shuffled":
                draws = progress.uniform("weights", batch.ids, score.shape[1])
                score = shuffled(score, target.mask, draws.to(score.device))
        return _rows(batch, loss, score, target)

    def _prob(self, loss: Float[Tensor, "B L"], target: Tokens, question: Tokens | None) -> Float[Tensor, "B L"]:
        """Of each token, as the reference or the model itself has it; where all weights are 1, nobody is asked."""
        if self.config.scorer == "self_focal":
            return (-loss).exp()
        if self.config.alpha == 0:
            return torch.zeros_like(loss)
        assert self.reference_lm is not None, "required when the method was built"
        return self._scored(self.reference_lm, target, question).to(loss.device)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The weighted mean over the captions, or the tokens, of all ranks."""
        loss, score, real = (features.rows[name] for name in ("loss", "score", "real"))
        config, ones = self.config, torch.ones_like(loss)
        if progress.stage == "reference":
            return Losses({"text": weighted_loss(loss, ones, real)})
        if config.scorer == "cal":  # with the mean that its authors take
            weighted = weighted_loss(loss, rescale(score.detach(), real, "batch"), real, "tokens")
        else:
            weights = token_weights(score, real, config.alpha, config.floor, config.normalise)
            weighted = weighted_loss(loss, weights, real, config.mean)
        return Losses({"weighted": weighted}, metrics={"unweighted": weighted_loss(loss.detach(), ones, real)})


def _require_settings(config: Config, lm: LanguageModel, reference_lm: LanguageModel | None) -> None:
    if not 0 < config.reference_share < 1:
        raise DeixisError(f"reference_share is {config.reference_share}.", "Give a share between 0 and 1.")
    if reference_lm is None:
        if config.scorer in ("reference", "shuffled") and config.alpha:
            raise DeixisError(
                f"Weights by the scorer {config.scorer!r} need a reference, and no reference_lm is named.",
                "Name one, the language model itself as a rule: --set reference_lm=smollm2",
            )
        return
    ours, theirs = (each.tokenizer.to_dict() for each in (lm, reference_lm))  # type: ignore[attr-defined]
    if ours != theirs:
        raise DeixisError(
            "The reference cuts texts into other tokens than the language model, so its scores are of other targets.",
            "Take the same language model for both.",
        )


def _rows(batch: Batch, loss: Tensor, score: Tensor, target: Tokens) -> Features:
    """As wide for each piece of a batch."""
    assert batch.tokens is not None
    more = (0, batch.tokens.shape[2] + 1 - loss.shape[1])
    rows = {"loss": loss, "score": score, "real": target.mask}
    return Features({name: F.pad(each, more) for name, each in rows.items()})


_PICTURES = {"learn": "pictures", "text": "long", "count": 12_000}
_RATES = {"optim.learning_rate": (1e-3, 2e-3, 4e-3)}
_CELLS = {"grid": 0, "trains": "projector", "reference_trains": "all", "sample.length": 72, "words": 64}
_EQUAL = {**_CELLS, "alpha": 0.0}
_WHOLE = {"trains": "all"}

CLAIMS = (
    Claim(
        "A projector that learns from long captions tells more of what pictures show where words count more that their "
        "text does not foretell.",
        arms={
            "weighted": Arm("prior", _CELLS, grid=_RATES),
            "all 1": Arm("prior", _EQUAL, grid=_RATES),
            "self-focal": Arm("prior", {**_CELLS, "scorer": "self_focal"}, grid=_RATES),
            "shuffled": Arm("prior", {**_CELLS, "scorer": "shuffled"}, grid=_RATES),
        },
        metric="facts",
        statistic="area",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        trial=0.5,
        options=_PICTURES,
        seeds=5,
        first_seed=10,
        cheap="all 1",
    ),
    Claim(
        "What it says is well-formed more often than with all weights 1.",
        arms={"weighted": Arm("prior", _CELLS), "all 1": Arm("prior", _EQUAL)},
        metric="well_formed",
        statistic="final",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        primary=False,
        options=_PICTURES,
        seeds=5,
        first_seed=10,
        cheap="all 1",
    ),
    Claim(
        "It names more of the things in a picture than with all weights 1.",
        arms={"weighted": Arm("prior", _CELLS), "all 1": Arm("prior", _EQUAL)},
        metric="named_nouns",
        statistic="final",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        primary=False,
        options=_PICTURES,
        seeds=5,
        first_seed=10,
        cheap="all 1",
    ),
    Claim(
        "Where the language model trains, too, the weights help as they do where the projector trains alone.",
        arms={
            "weighted": Arm("prior", {**_CELLS, **_WHOLE}, grid=_RATES),
            "all 1": Arm("prior", {**_EQUAL, **_WHOLE}, grid=_RATES),
        },
        metric="facts",
        statistic="area",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        trial=0.5,
        primary=False,
        options=_PICTURES,
        seeds=5,
        first_seed=10,
        cheap="all 1",
    ),
    Claim(
        "An exponent of 1 is better than one of a half or of 2.",
        arms={
            "1": Arm("prior", _CELLS, grid=_RATES),
            "1/2": Arm("prior", {**_CELLS, "alpha": 0.5}, grid=_RATES),
            "2": Arm("prior", {**_CELLS, "alpha": 2.0}, grid=_RATES),
        },
        metric="facts",
        statistic="area",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        trial=0.5,
        primary=False,
        options=_PICTURES,
        seeds=5,
        first_seed=10,
        cheap="1/2",
    ),
    Claim(
        "Also where one text in twenty names what no picture shows, weights by the text help, and more than those by "
        "the effect of the image.",
        arms={
            "weighted": Arm("prior", _CELLS, grid=_RATES),
            "all 1": Arm("prior", _EQUAL, grid=_RATES),
            "by the image": Arm("prior", {**_CELLS, "scorer": "cal"}, grid=_RATES),
        },
        metric="facts",
        statistic="area",
        minimum_effect=0.02,
        data="told",
        budget=16_000,
        trial=0.5,
        primary=False,
        options={**_PICTURES, "named": 0.05},
        seeds=5,
        first_seed=10,
        cheap="all 1",
    ),
)
"""The abstract has 19 % more on average over benchmarks where the projector trains. All arms see 4,000 texts in the
first stage and 12,000 captions with pictures in the second, also those whose weights ask no reference. A pilot of one
seed found more nouns with their colours, from shorter texts that were often broken and left out more things; that is
what the second and the third claim ask, and they are expected to fail. It found no difference where the language model
trains, and an exponent of 2 worse. Made-up names are foretold by nothing: the method's known blind spot."""
