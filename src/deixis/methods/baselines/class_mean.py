"""Class means: an image belongs to the class to whose labelled images it is nearest on average. A control.

    w_c = unit((1 - a) unit(mean of the embeddings of c's images) + a n_c),     p(c | x) = softmax_c(s cos(f(x), w_c))

with n_c the class vector of `zero_shot` and a its share, none as a rule. What is learned by steps from the same images
has to find more than this, which needs one pass over them. Rows may be cells of images that a class covers; then it
points by their mean. A class that was shown no image is never named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Classification by the nearest class mean",
    year=2017,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    non_gradient_state=("sums", "counts", "classes"),
    tags=("control", "few-shot", "classification"),
    automatic=False,
)


@dataclass(frozen=True)
class Config:
    """Settings of class means.

    Attributes:
        encoder: the model whose space is used.
        names: the classes, in the order of the labels.
        named: share of what the names say (a), from 0 to 1.
        templates: sentences around a name, `{}` where it goes.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    named: float = 0.0
    templates: tuple[str, ...] = ("a photo of a {}.",)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and five classes."""
        return cls(encoder="tiny", names=("a", "b", "c", "d", "e"), named=0.25)

    @classmethod
    def desk(cls) -> Config:
        """Two classes, to be replaced by one's own."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """The same as `desk`."""
        return cls(names=("cat", "dog"))


class Method(nn.Module):
    """A frozen encoder, and of each class the sum of its images, how many there were, and what its name says."""

    sums: Tensor
    counts: Tensor
    classes: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.register_buffer("sums", torch.zeros(len(self.names), encoder.width, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(len(self.names), dtype=torch.long))
        self.register_buffer("classes", torch.zeros(len(self.names), encoder.width))

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Adds the images of a batch to their classes."""
        assert batch.labels is not None
        self.sums.index_add_(0, batch.labels, F.normalize(batch.extra["image_embedding"].double(), dim=-1))
        self.counts += batch.labels.bincount(minlength=len(self.names))

    def finish(self, progress: Progress) -> None:
        """Embeds the names, where they have a share.

        Raises:
            ValueError: nothing was observed.
        """
        if not self.counts.any():
            raise ValueError("nothing was observed")
        if self.config.named:
            self.classes.copy_(class_vectors(self.encoder, self.names, self.config.templates))

    def scores(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits from embeddings that the encoder gave; of a class without an image those of the opposite direction."""
        share = self.config.named
        means = F.normalize(self.sums, dim=-1).to(image.dtype)
        vectors = F.normalize((1 - share) * means + share * self.classes.to(image.dtype), dim=-1)
        cosines = F.normalize(image, dim=-1) @ vectors.T
        return self.encoder.scale * cosines.masked_fill(self.counts == 0, -1.0)

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.encode_image(images))


CLAIMS = ()
