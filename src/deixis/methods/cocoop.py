"""CoCoOp: CoOp's learned vectors are shifted by what is in the image, so that they carry over to classes never seen.

    v_m(x) = v_m + h(f(x)),    h = linear - ReLU - linear,    p(c | x) = softmax_c(s cos(f(x), t_c(x)))

A delta on CoOp (`coop`): the same shift for all M vectors and all classes, from the image's embedding of length 1, and
hence a prompt for each image and class. The name stands at the end, and the vectors are shared by all classes.

What differs from the authors' code, none of it in what comes out: they loop over images, here images x classes go
through the tower together, in pieces, and what stands before the names is computed once an image. They train with one
image a step; any number will do. The hidden layer has at least one unit, however narrow the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods import coop
from deixis.nn.adaptation.prompts import ClassTexts
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, Features, FieldSpec, Losses, Made, OptimSpec, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "MetaNet", "Method"]

CARD = Card(
    title="Conditional Prompt Learning for Vision-Language Models (CoCoOp)",
    year=2022,
    kind="trained",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    role="ancestor",
    venue="CVPR",
    arxiv="2203.05557",
    code="KaiyangZhou/CoOp",
    tags=("few-shot", "prompts", "classification", "unseen classes"),
)


@dataclass(frozen=True)
class Config(coop.Config):
    """Settings of CoCoOp: CoOp's, and one.

    Attributes:
        reduction: how many times narrower than the embedding the hidden layer is.
    """

    reduction: int = 16

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, five classes and two vectors."""
        return cls(
            encoder="tiny",
            names=("a", "bee", "c d", "deer", "e"),
            vectors=2,
            chunk=8,
            reduction=2,
            optim=OptimSpec("adamw", learning_rate=0.05, weight_decay=5e-4, decay_1d=True),
        )

    @classmethod
    def desk(cls) -> Config:
        """Vectors that start from words, and AdamW."""
        return cls(
            names=("cat", "dog"),
            words="a photo of a",
            epochs=10,
            optim=OptimSpec("adamw", learning_rate=0.002, weight_decay=0.0, decay_1d=True),
        )

    @classmethod
    def paper(cls) -> Config:
        """As published: 10 epochs of batches of one image.

        The encoder is to be replaced by CLIP's ViT-B/16, and the names by the classes.
        """
        return cls(names=("cat", "dog"), words="a photo of a", epochs=10)


_BLOCK = 64
"""Images that are asked for other classes at a time: each has texts of its own."""


class MetaNet(nn.Module):
    """The shift of the vectors, from an image's embedding.

    Args:
        width: of the embedding (D).
        hidden: units of the layer between.
        out: width of the token embeddings (F).
    """

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Linear(width, hidden), nn.Linear(hidden, out)

    def forward(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """One shift an image; embeddings of length 1 are expected."""
        return self.widen(F.relu(self.narrow(image)))


class Method(coop.Method):
    """CoOp with vectors that hang on the image.

    Raises:
        DeixisError: class names elsewhere than at the end, or vectors for each class.
    """

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        if config.position != "end" or not config.shared:
            raise DeixisError(
                "CoCoOp has the class name at the end, and vectors that all classes share.",
                "Leave `position` and `shared` as they are, or use coop.",
            )
        super().__init__(config, encoder=encoder, names=names)
        hidden = max(1, encoder.width // config.reduction)
        self.meta = MetaNet(encoder.width, hidden, self.context.shape[-1])

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `logits` [B, C]: each image has class vectors of its own."""
        return Features({"logits": self.scores(batch.extra["image_embedding"])})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Cross-entropy over the classes."""
        assert batch.labels is not None
        return coop.class_loss(features.rows["logits"], batch.labels)

    def scores(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from embeddings that the encoder gave."""
        return self._scores(image, self.texts)

    def scores_of(self, image: Float[Tensor, "B D"], names: Sequence[str]) -> Float[Tensor, "B C"]:
        """Logits of any classes by their names, from embeddings that the encoder gave."""
        texts = self._texts(names)
        return torch.cat([self._scores(block, texts) for block in image.split(_BLOCK)])

    def _scores(self, image: Float[Tensor, "B D"], texts: ClassTexts) -> Float[Tensor, "B C"]:
        image = F.normalize(image, dim=-1)
        classes = self._embedded(self.prompt()[None] + self.meta(image)[:, None, None], texts)
        return self.scale * (classes @ image[..., None])[..., 0]

    def class_vectors(self, names: Sequence[str] | None = None) -> Float[Tensor, "C D"]:
        """There are none without an image."""
        raise DeixisError("CoCoOp's classes hang on the image.", "Ask for the `scores` of embeddings.")


CLAIMS = ()
