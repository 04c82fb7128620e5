"""An image tower fine-tuned on triplets of picture, instruction and answer, which is not told the instruction.

    L = InfoNCE(unit(image), text(answer)),    the answers of other triplets being the negatives

The text tower rests, so that answers and queries stay where they were. One vector an image has to hold all that is ever
asked for: what being told the instruction is worth (`focallens`, `gate`) is the distance to it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.dual import DualEncoder
from deixis.nn.language.frozen_texts import FrozenTexts
from deixis.nn.vision_language.instructions import require_instructions
from deixis.ops.collective import gather
from deixis.ops.pairs.answers import answer_loss
from deixis.types import (
    Batch,
    Card,
    Features,
    FieldSpec,
    Losses,
    OptimSpec,
    Part,
    Progress,
    SampleSpec,
    Stage,
    ViewSpec,
)

__all__ = ["CARD", "CLAIMS", "Config", "Method", "answer_keys", "drawn_instructions"]

CARD = Card(
    title="Fine-tuning on triplets without their instructions",
    year=2025,
    kind="trained",
    role="baseline",
    needs=(
        FieldSpec("images", "B 3 H W"),
        FieldSpec("captions", "B", "object"),
        FieldSpec("instruction", "B", "object"),
    ),
    parts=(Part("encoder", "dual_encoder"),),
    capabilities=("encode_about", "encode_image", "encode_text"),
    min_batch=2,
    zero_gradient=("attention.key.bias",),
    tags=("control", "conditional similarity", "retrieval"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the contrast of pictures with answers.

    Attributes:
        encoder: the model whose image tower is trained.
        scale: that cosines are multiplied by at the start; 0 is the encoder's own.
        highest_scale: what the scale may grow to.
        absent: share of the samples that have no instruction, other ones in each epoch.
        equal: what other samples with the same answer are: right answers whose log-probabilities are averaged (`mean`)
            or whose probabilities are added (`sum`), no candidates (`excluded`), or wrong answers (`negatives`).
        symmetric: answers look for pictures, too.
        statistics: batch norms go on learning their running statistics.
        optim: how it is optimised; gains, biases and the scale are not decayed.
        view: how images are varied; None: not at all.
        sample: which samples stand together in a batch (`same`).
    """

    encoder: str = "starter"
    scale: float = 0.0
    highest_scale: float = 100.0
    absent: float = 0.1
    equal: Literal["mean", "sum", "excluded", "negatives"] = "mean"
    symmetric: bool = False
    statistics: bool = False
    optim: OptimSpec = OptimSpec(learning_rate=1e-5, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6)
    view: ViewSpec | None = None
    sample: SampleSpec = SampleSpec()

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny", optim=OptimSpec(learning_rate=1e-2, weight_decay=0.001, betas=(0.9, 0.98)))

    @classmethod
    def desk(cls) -> Config:
        """For some thousand triplets."""
        return cls(
            optim=OptimSpec(
                learning_rate=3e-4, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6, schedule="cosine", warmup=0.05
            )
        )

    @classmethod
    def paper(cls) -> Config:
        """As FocalLens."""
        return cls(
            encoder="ViT-L-14-336/openai",
            optim=OptimSpec(
                learning_rate=1e-5, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6, schedule="cosine", warmup=0.05
            ),
        )


def drawn_instructions(batch: Batch, progress: Progress) -> list[str]:
    """One wording of each sample's instruction, each with equal chance.

    Args:
        batch: with the wordings of each sample.
        progress: where in the run.
    """
    wordings = batch.extra["instruction"]
    draws = progress.uniform("instruction", batch.ids, 1)[:, 0].tolist()
    return [some[int(draw * len(some))] for some, draw in zip(wordings, draws, strict=True)]


def answer_keys(answers: Sequence[str]) -> Int64[Tensor, " B"]:
    """Numbers that are equal where answers are, on whatever rank; doubles hold them exactly.

    Args:
        answers: in words.
    """
    digests = [hashlib.blake2b(each.encode("utf-8", "surrogatepass"), digest_size=6).digest() for each in answers]
    return torch.tensor([int.from_bytes(each, "little") for each in digests])


class Method(nn.Module):
    """An encoder whose image tower trains; any tower will do."""

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.encoder, self._texts = config, encoder, FrozenTexts()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.scale or encoder.scale)))

    @property
    def scale(self) -> float:
        """What cosines are multiplied by now."""
        return math.exp(float(self.logit_scale.detach()))

    def stages(self) -> tuple[Stage, ...]:
        """One, in which the text tower rests, and batch norms unless the config says otherwise."""
        norms = (n for n, module in self.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        own = (f"{name}." for name, _ in self.named_children() if name != "encoder")
        still = ("encoder.text_tower", *(() if self.config.statistics else norms))
        return (Stage(trainable=("logit_scale", "encoder.image_tower.", *own), evaluate=still),)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `image` and `text` [B, D], and `answer` [B], numbers that are equal where answers are."""
        assert batch.images is not None
        assert batch.captions is not None
        answers = [each[0] for each in batch.captions]
        instructions = drawn_instructions(batch, progress)
        real = progress.uniform("absent", batch.ids, 1)[:, 0] >= self.config.absent
        image = self._vectors(batch.images, instructions, real.to(batch.images.device))
        return Features({"image": image, "text": self._read(answers), "answer": answer_keys(answers).to(image.device)})

    def _read(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Vectors of texts, which do not train."""
        encoder = self.encoder
        return self._texts(encoder.text_tower, lambda new: encoder.encode_text(encoder.tokenize(new)), texts)

    def _vectors(
        self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str], real: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """Vectors of images under instructions, which some do not have; here all are alike."""
        return self.encoder.encode_image(images)

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """InfoNCE of pictures against the answers of all ranks."""
        rows, config, scale = features.rows, self.config, self.logit_scale.exp()
        keys = None if config.equal == "negatives" else gather(rows["answer"].double()).long()
        equal = "mean" if config.equal == "negatives" else config.equal
        loss = answer_loss(rows["image"], rows["text"], scale=scale, keys=keys, equal=equal, symmetric=config.symmetric)
        return Losses({"contrastive": loss}, metrics={"scale": scale.detach()})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    @torch.no_grad()
    def after_step(self, progress: Progress, losses: Losses) -> None:
        """Holds the scale at its highest."""
        self.logit_scale.clamp_(max=math.log(self.config.highest_scale))

    def encode_about(self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str]) -> Float[Tensor, "B D"]:
        """Vectors of images in the respects that the instructions name, rows of length 1.

        Raises:
            DeixisError: an instruction is empty or longer than the encoder reads, or there is not one an image.
        """
        require_instructions(self.encoder, instructions, len(images))
        everywhere = torch.ones(len(images), dtype=torch.bool, device=images.device)
        return self._vectors(images, instructions, everywhere)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Image embeddings without an instruction, rows of length 1."""
        return self.encoder.encode_image(images)

    def encode_text(
        self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Text embeddings, rows of length 1."""
        return self.encoder.encode_text(tokens, mask=mask)


CLAIMS = ()
