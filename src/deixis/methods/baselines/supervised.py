"""Supervised training of an image tower: every crop of an image is classified by a linear layer on pooled features.

    L = mean over images and crops of CE(W f + b, label)

The rival of methods that learn from images alone: the same tower and the same crops, and labels besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.vision.any_size import parameters_before, pooled, pooled_crops, tokens
from deixis.ops.collective import mean_count
from deixis.types import (
    Augment,
    Batch,
    Card,
    Crop,
    Features,
    FieldSpec,
    Losses,
    OptimSpec,
    Part,
    Progress,
    Stage,
    TokenStates,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Supervised training of an image tower on labels",
    year=2012,
    kind="trained",
    role="baseline",
    needs=(FieldSpec("views", "B V 3 H W"), FieldSpec("labels", "B", "long", values="class")),
    parts=(Part("encoder", "image_tower"), Part("names", "names")),
    capabilities=("encode_image", "image_tokens", "classify"),
    zero_gradient=("attention.key.bias",),
    tags=("classification", "images without text"),
)


@dataclass(frozen=True)
class Config:
    """Settings of supervised training.

    Attributes:
        encoder: the image tower that is trained.
        names: the classes, in the order of the labels.
        statistics: batch norms of the tower take the statistics of the batch and go on learning the running ones.
        optim: how it is optimised.
        view: the crops.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    statistics: bool = True
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.05, schedule="cosine", warmup=0.05)
    view: ViewSpec = ViewSpec(size=0, crops=(Crop(1, 128, Augment(scale=(0.3, 1.0))),))

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower and five classes."""
        return cls(
            encoder="tiny",
            names=("a", "b", "c", "d", "e"),
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=0, crops=(Crop(1, 16), Crop(1, 8))),
        )

    @classmethod
    def desk(cls) -> Config:
        """Two classes, to be replaced by one's own."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """A crop of 224 pixels, as image classifiers are trained."""
        return cls(names=("cat", "dog"), view=ViewSpec(size=0, crops=(Crop(1, 224, Augment(scale=(0.08, 1.0))),)))


class Method(nn.Module):
    """A tower and a linear layer."""

    def __init__(self, config: Config, *, encoder: ImageEncoder, names: Sequence[str]) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.config, self.encoder, self.names = config, share_batch_norms(encoder), tuple(names)
        self.head = nn.Linear(encoder.width, len(self.names))
        self._trained = parameters_before(encoder, pooled)

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the pooled features rests."""
        names = (f"encoder.{name}" for name in self._trained)
        return (Stage(trainable=(*names, "head."), evaluate=() if self.config.statistics else ("encoder",)),)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Logits of all crops of each image: the row `logits` [B, V, C]."""
        return Features({"logits": self.head(pooled_crops(self.encoder, batch.views))})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Cross-entropy over the images of all ranks and their crops."""
        assert batch.labels is not None
        logits = features.rows["logits"]
        labels = batch.labels[:, None].expand(logits.shape[:2])
        total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / logits.shape[1]
        return Losses({"labels": total / mean_count(float(len(logits))).to(total)})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Pooled features before the layer, rows of length 1."""
        return F.normalize(pooled(self.encoder, images), dim=1)

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the map that is pooled, of images of any size."""
        return tokens(self.encoder, images)

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.head(pooled(self.encoder, images))


CLAIMS = ()
