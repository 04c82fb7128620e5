"""Residual adapter: a few hundred pairs teach a frozen image-text model without wrecking it.

Both towers stay as they are. A linear correction is added to each embedding; on the image side it is scaled by the
tower's own doubt, so that what the model knows well is left alone:

    image = normalise(z + a d (W s(f) + b)),   text = normalise(t + a (B t + c)),   s(f) = sqrt(F) f / |f|

with z, f, d the tower's embedding, features and doubt, t the text embedding. All corrections start at zero. They are
trained with the symmetric cross-entropy of CLIP at a fixed scale, against soft targets softmax(k t t'): captions that
say the same, or nearly, are not pushed apart.

The number of steps and the strength a are not trained: `deixis.engine.adaptation.select` chooses them on concepts that
were held out, and may choose a = 0, which gives the original model back bit for bit. Without that choice the
same adapter loses more than it gains (the `naive` arm of the demo shows it).

Relations: CLIP-Adapter puts a bottleneck MLP in this place; `ridge` and `mean_shift` solve the same correction in
closed form; with `gated=False`, no dropout and hard targets it is a linear probe on the CLIP loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from deixis.nn.adaptation.adapters import AdaptedEncoder, ImageResidual, TextResidual
from deixis.nn.dual import DualEncoder
from deixis.ops.collective import gather
from deixis.ops.contrastive import info_nce, soft_targets
from deixis.types import Batch, Card, Features, FieldSpec, ImageStates, Losses, Made, OptimSpec, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Residual adapter with a doubt gate",
    year=2026,
    kind="trained",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "image_states", "embedding")),
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("image_doubt", "B", values="uniform", made=Made("encoder", "image_states", "doubt")),
        FieldSpec("text_embedding", "B D", values="unit", made=Made("encoder", "encode_text", of=("text",))),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("adapters", "encode_image", "encode_text"),
    min_batch=2,
    tags=("few-shot", "adapter", "retrieval"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the residual adapter.

    Attributes:
        encoder: the model to adapt.
        gated: scale the image correction by the tower's doubt.
        text: correct the text side too.
        dropout: share of the image features dropped in training.
        scale: fixed scale of the similarities (1 / temperature).
        target_scale: scale of the soft targets; 0 asks for hard ones (each image its own caption only).
        optim: how it is optimised; all of it is decayed.
    """

    encoder: str = "starter"
    gated: bool = True
    text: bool = True
    dropout: float = 0.8
    scale: float = 20.0
    target_scale: float = 20.0
    optim: OptimSpec = OptimSpec(learning_rate=3e-4, weight_decay=0.1, decay_1d=True)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny", optim=OptimSpec(learning_rate=1e-2, weight_decay=0.1, decay_1d=True))

    @classmethod
    def desk(cls) -> Config:
        """As `deixis adapt` uses it."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """There is no paper; the same as `desk`."""
        return cls()


class Method(AdaptedEncoder):
    """The frozen encoder with its two corrections."""

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        width, features = encoder.width, encoder.feature_width
        image = ImageResidual(features, width, gated=config.gated, dropout=config.dropout)
        super().__init__(encoder, image, TextResidual(width) if config.text else None)
        self.config = config

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Corrected embeddings of both sides, and the frozen texts for the targets.

        Returns:
            rows `image`, `text` and `frozen_text`, each [B, D].
        """
        extra = batch.extra
        states = ImageStates(extra["image_embedding"], extra["image_features"], extra["image_doubt"])
        frozen = extra["text_embedding"]
        return Features({"image": self.image(states), "text": self.text(frozen), "frozen_text": frozen})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Symmetric cross-entropy over the samples of all ranks."""
        config, rows = self.config, features.rows
        targets = soft_targets(gather(rows["frozen_text"]), config.target_scale) if config.target_scale else None
        return Losses({"contrastive": info_nce(rows["image"], rows["text"], scale=config.scale, targets=targets)})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)


CLAIMS = ()
