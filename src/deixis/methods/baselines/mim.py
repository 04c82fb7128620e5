"""MIM: an image and its code learn to say as much as possible of each other, without augmentation.

    z ~ q(z|x) = N(mean(x), sigma(x)^2),   P(z) = N(0, 1),   p(x|z): the decoder

    L = - 1/2 [ log p(x|z) + log P(z) + beta (log q(z|x) + log q(x)) ]

averaged over codes of images and, once beta is 1, over images x ~ p(x|z) of codes z ~ P(z) as well (Livne, Swersky and
Fleet, 2019). q(x) is a fixed `anchor`, or the `marginal` that a single code estimates, log p(x|z) + log P(z) - log
q(z|x); with that and beta = 1 the loss is - (log p(x|z) + log P(z)). Unlike in a VAE log q(z|x) is rewarded: sigma
falls until it meets its lower limit.

What differs from the paper and its code, or is our reading of it:
* Pixels drawn from a Bernoulli distribution have the gradient of REINFORCE, less the mean of the batch.
* The anchor of images is a normal distribution around middle grey with a deviation of a half.
* `encode_image` gives the mean of q(z|x), scaled to length 1; other places have names.

What a subclass replaces is `objective`, `cmim` for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.collapse import collapse_warnings, unit_deviation
from deixis.nn.layers.conv_decoder import ConvDecoder
from deixis.nn.layers.gaussian import GaussianCode, GaussianHead, log_normal
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.vision.any_size import parameters_before, pooled
from deixis.ops.collective import mean_count, total, world_size
from deixis.types import Batch, Card, Features, FieldSpec, Losses, OptimSpec, Part, Progress, Stage, ViewSpec
from deixis.types.protocols import ImageEncoder

__all__ = ["CARD", "CLAIMS", "Config", "Method", "mim_loss", "token_nll"]

CARD = Card(
    title="MIM: Mutual Information Machine",
    year=2019,
    kind="trained",
    role="ancestor",
    needs=(FieldSpec("images", "B 3 H W"),),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image",),
    zero_gradient=("attention.key.bias",),
    arxiv="1910.03175",
    code="seraphlabs-ca/MIM",
    tags=("self-supervised", "images without text", "generative", "no augmentation"),
)


@dataclass(frozen=True)
class Config:
    """Settings of MIM.

    Attributes:
        encoder: the image tower that is trained.
        latent: width of the code.
        channels: of the decoder, from the coarse map to the finest.
        likelihood: of pixels: `bernoulli` (their values are chances), `gaussian`, or `levels` (one of some greys, as a
            token).
        deviation: of `gaussian`.
        levels: of `levels`.
        min_log_sigma: the least logarithm of the deviation of a code.
        marginal: q(x): `anchor` or `marginal`.
        warmup: share of the steps over which beta rises from 0 to 1.
        optim: how it is optimised.
        view: of the images; they are not varied.
    """

    encoder: str = "starter"
    latent: int = 64
    channels: tuple[int, ...] = (64, 32, 32)
    likelihood: Literal["bernoulli", "gaussian", "levels"] = "bernoulli"
    deviation: float = 0.1
    levels: int = 16
    min_log_sigma: float = -6.0
    marginal: Literal["anchor", "marginal"] = "marginal"
    warmup: float = 0.1
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.0, schedule="cosine", warmup=0.02)
    view: ViewSpec = ViewSpec(size=0)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower, four latents."""
        return cls(
            encoder="tiny",
            latent=4,
            channels=(12,),
            likelihood="gaussian",
            warmup=0.0,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=8),
        )

    @classmethod
    def desk(cls) -> Config:
        """The defaults: all of a tower, 64 latents."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """Of the published code: the deviation of codes is at least 0.05."""
        return cls(min_log_sigma=-3.0)


def mim_loss(
    log_likelihood: Float[Tensor, " B"],
    log_prior: Float[Tensor, " B"],
    log_posterior: Float[Tensor, " B"],
    log_marginal: Float[Tensor, " B"] | None,
    beta: float,
) -> Float[Tensor, " B"]:
    """- 1/2 [ log p(x|z) + log P(z) + beta (log q(z|x) + log q(x)) ] of each pair of image and code.

    Args:
        log_likelihood: log p(x|z).
        log_prior: log P(z).
        log_posterior: log q(z|x).
        log_marginal: log q(x); None: what the code itself estimates.
        beta: from 0 to 1.
    """
    if log_marginal is None:
        log_marginal = log_likelihood + log_prior - log_posterior
    return -(log_likelihood + log_prior + beta * (log_posterior + log_marginal)) / 2


def token_nll(
    logits: Float[Tensor, "B L Y"], targets: Int64[Tensor, "B L"], padding: Bool[Tensor, "B L"] | None = None
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Cross-entropy of the tokens of each sample: summed over its tokens, and their mean.

    Args:
        logits: of each of Y tokens.
        targets: which it is.
        padding: true where there is none.
    """
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").unflatten(0, targets.shape)
    real = torch.ones_like(each) if padding is None else (~padding).to(each)
    summed = torch.where(real > 0, each, 0.0).sum(dim=1)
    return summed, summed / real.sum(dim=1).clamp(min=1)


class Method(nn.Module):
    """A tower, a Gaussian head, and a decoder."""

    config: Any

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        if min(config.deviation, config.latent) <= 0 or config.levels < 2:
            raise DeixisError(
                f"deviation is {config.deviation}, latent {config.latent} and levels {config.levels}.",
                "Give a deviation above 0, one latent or more and two levels or more.",
            )
        self.config, self.encoder = config, share_batch_norms(encoder)
        self.head = GaussianHead(encoder.width, config.latent, config.min_log_sigma)
        told = 3 * (config.levels if config.likelihood == "levels" else 1)
        self.decoder = ConvDecoder(config.latent, config.channels, config.view.size or encoder.preprocess.size, told)
        self._trained = parameters_before(encoder, pooled)

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the pooled features rests."""
        return (Stage(trainable=(*(f"encoder.{name}" for name in self._trained), "head.", "decoder.")),)

    def beta(self, progress: Progress) -> float:
        """Of this step."""
        return min(1.0, progress.step / max(1e-6, self.config.warmup * progress.total)) if self.config.warmup else 1.0

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Codes and log densities of each image; and of an image of a random code, where beta is 1."""
        assert batch.images is not None
        pixels = self._pixels(batch.images)
        code = self.head(pooled(self.encoder, batch.images), self._noise(batch, progress, "code", self.config.latent))
        log_likelihood, mean = self.log_likelihood(code.z, pixels)
        rows = {**code._asdict(), "log_likelihood": log_likelihood, "log_likelihood_mean": mean}
        return Features(rows | self.further(batch, code, progress))

    def further(self, batch: Batch, code: GaussianCode, progress: Progress) -> dict[str, Tensor]:
        """Rows beside: here the loss of generated pairs."""
        if self.beta(progress) < 1:
            return {}
        z = self._noise(batch, progress, "generated code", self.config.latent).to(code.z)
        told = self.decoder(z)
        pixels = self._drawn(told, batch, progress)
        again = self.encoder_of(pixels, self._noise(batch, progress, "code of generated", self.config.latent))
        log_likelihood = self._log_likelihood(told, pixels)[0]
        posterior = log_normal(z, again.mean, again.log_sigma)
        value = mim_loss(log_likelihood, log_normal(z), posterior, self._log_marginal(pixels), 1.0)
        return {"generated": value, "generated_likelihood": log_likelihood}

    def encoder_of(self, pixels: Float[Tensor, "B 3 H W"], noise: Float[Tensor, "B D"]) -> GaussianCode:
        """The code of an image with values from 0 to 1."""
        mean, deviation = self._colours(pixels)
        code: GaussianCode = self.head(pooled(self.encoder, (pixels - mean) / deviation), noise.to(pixels))
        return code

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The objective, its mean over the images of all ranks."""
        rows = features.rows
        parts = {
            name: each.sum() / mean_count(float(len(each))).to(each)
            for name, each in self.objective(features, batch, progress).items()
        }
        limit = self.config.min_log_sigma
        metrics: dict[str, Tensor | float] = {
            "log_likelihood": rows["log_likelihood"].detach().mean(),
            "deviation": unit_deviation(rows["mean"]),
            "clamped": (rows["log_sigma"].detach() <= limit).float().mean(),
        }
        return Losses(parts, metrics)

    def objective(self, features: Features, batch: Batch, progress: Progress) -> Mapping[str, Float[Tensor, " B"]]:
        """What is minimised, one number an image."""
        rows, beta = features.rows, self.beta(progress)
        posterior, prior = self.densities(features)
        assert batch.images is not None
        marginal = self._log_marginal(self._pixels(batch.images))
        value = mim_loss(rows["log_likelihood"], prior, posterior, marginal, beta)
        return {"pairs": value if "generated" not in rows else (value + self._generated(features)) / 2}

    def _generated(self, features: Features) -> Float[Tensor, " B"]:
        """The loss of generated pairs, with the gradient of REINFORCE where pixels were drawn that have none."""
        value, log_likelihood = features.rows["generated"], features.rows["generated_likelihood"]
        if self.config.likelihood == "gaussian":
            return value
        known = value.detach()
        better = known - total(known.sum()) / (mean_count(float(len(known))) * world_size()).to(known)
        return value + better * (log_likelihood - log_likelihood.detach())

    @staticmethod
    def densities(features: Features) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Both log q(z|x) and log P(z) of each code."""
        rows = features.rows
        return log_normal(rows["z"], rows["mean"], rows["log_sigma"]), log_normal(rows["z"])

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def warnings(self, values: Mapping[str, float], progress: Progress) -> dict[str, str]:
        """Of codes that have become one, as those of images that are all alike do."""
        return collapse_warnings(values)

    # --- likelihoods --------------------------------------------------------------------------------------------------

    def log_likelihood(
        self, z: Float[Tensor, "B D"], pixels: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Sums log p(x|z) over pixels, and gives their mean beside.

        Args:
            z: codes.
            pixels: images with values from 0 to 1.
        """
        return self._log_likelihood(self.decoder(z), pixels)

    def _log_likelihood(self, told: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.likelihood == "levels":
            count = self.config.levels
            targets = (pixels * count).long().clamp(max=count - 1).flatten(1)
            logits = told.unflatten(1, (3, count)).movedim(2, -1).flatten(1, 3)
            summed, mean = token_nll(logits, targets)
            return -summed, -mean
        if self.config.likelihood == "gaussian":
            sigma = math.log(self.config.deviation)
            summed = log_normal(pixels.flatten(1), told.sigmoid().flatten(1), sigma)
        else:
            summed = -F.binary_cross_entropy_with_logits(told, pixels, reduction="none").flatten(1).sum(dim=1)
        return summed, summed / pixels[0].numel()

    def _drawn(self, told: Tensor, batch: Batch, progress: Progress) -> Tensor:
        """Images x ~ p(x|z)."""
        chance = progress.uniform("pixels", batch.ids, 3 * self.decoder.side**2).to(told)
        shape = (len(told), 3, self.decoder.side, self.decoder.side)
        if self.config.likelihood == "gaussian":
            return told.sigmoid() + self.config.deviation * _normal(chance).reshape(shape)
        if self.config.likelihood == "bernoulli":
            return (chance.reshape(shape) < told.sigmoid()).to(told).detach()
        shares = told.unflatten(1, (3, self.config.levels)).softmax(dim=2).cumsum(dim=2)
        level = (chance.reshape(shape)[:, :, None] > shares).sum(dim=2).clamp(max=self.config.levels - 1)
        return ((level + 0.5) / self.config.levels).to(told).detach()

    def _log_marginal(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"] | None:
        if self.config.marginal == "marginal":
            return None
        return log_normal(pixels.flatten(1), 0.5, math.log(0.5))

    def _colours(self, images: Tensor) -> tuple[Tensor, Tensor]:
        preprocess: Any = self.encoder.preprocess
        mean, deviation = (images.new_tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
        return mean, deviation

    def _pixels(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Values from 0 to 1."""
        mean, deviation = self._colours(images)
        return (images * deviation + mean).clamp(0, 1)

    def _noise(self, batch: Batch, progress: Progress, purpose: str, width: int) -> Float[Tensor, "B D"]:
        return _normal(progress.uniform(purpose, batch.ids, width)).to(next(self.head.parameters()))

    # --- what it is used for ------------------------------------------------------------------------------------------

    def encode_image(
        self, images: Float[Tensor, "B 3 H W"], *, at: Literal["code", "encoder", "decoder"] = "code"
    ) -> Float[Tensor, "B D"]:
        """Features of images, rows of length 1.

        Args:
            images: preprocessed.
            at: the mean of the code's distribution (`code`), the tower's pooled features (`encoder`), or what the
                decoder makes of that mean before its last map, pooled (`decoder`).
        """
        features = pooled(self.encoder, images)
        if at == "encoder":
            return F.normalize(features, dim=1)
        mean = self.head.linear(features).chunk(2, dim=1)[0]
        if at == "decoder":
            mean = self.decoder.states(mean)[self.decoder.places[-1]].mean(dim=(2, 3))
        return F.normalize(mean, dim=1)

    def reconstruct(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, " B"]]:
        """The mean of p(x|z) at the mean of q(z|x), from 0 to 1, and log p(x|z) there, summed over pixels.

        Args:
            images: preprocessed; they are brought to the size of what is trained on.
        """
        if images.shape[-1] != self.decoder.side:
            images = F.interpolate(images, self.decoder.side, mode="bilinear", antialias=True)
        told = self.decoder(self.head.linear(pooled(self.encoder, images)).chunk(2, dim=1)[0])
        likely, _ = self._log_likelihood(told, self._pixels(images))
        if self.config.likelihood != "levels":
            return told.sigmoid(), likely
        count = self.config.levels
        middles = (torch.arange(count, device=told.device) + 0.5) / count
        return (told.unflatten(1, (3, count)).softmax(dim=2) * middles[:, None, None]).sum(dim=2), likely


def _normal(uniform: Tensor) -> Tensor:
    """Numbers of the standard normal distribution of numbers from 0 to 1."""
    return torch.special.ndtri(uniform.double().clamp(1e-7, 1 - 1e-7)).to(uniform)


CLAIMS = ()
