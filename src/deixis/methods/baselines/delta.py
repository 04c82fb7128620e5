"""Zero-shot classification with a correction: what the class names say, and a penalised linear layer on top of it.

    logits = s f W' + V [g; 1],    V = argmin  mean_i CE(logits_i, y_i) + penalty / 2 |V|^2

with f the image's embedding and W the class vectors of zero-shot classification (`zero_shot`), s the encoder's scale,
and g the tower's features of length 1. Only the correction V is learned, its intercept penalised like the rest: under a
large penalty nothing is left of it and the names decide, under a small one it is a linear probe (`linear`) that starts
from them. The problem is convex, so neither the order of the images nor a seed matters.

Relations: `tip` adds to the same logits what kept images say; `coop` changes the class vectors themselves. As a prior
that shrinks towards the zero-shot classifier this is an old idea (a maximum entropy model adapted from another one;
Chelba and Acero, 2004), and no paper's method.
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
from deixis.ops.logistic import linear_layer
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Zero-shot classification with a penalised linear correction",
    year=2026,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    tags=("few-shot", "classification"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the correction.

    Attributes:
        encoder: the model that is corrected.
        names: the classes, in the order of the labels.
        templates: sentences around a name, `{}` where it goes.
        penalty: weight of the L2 term.
        iterations: of L-BFGS, at the most.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}.",)
    penalty: float = 1e-2
    iterations: int = 500

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and five classes."""
        return cls(encoder="tiny", names=("a", "b", "c", "d", "e"))

    @classmethod
    def desk(cls) -> Config:
        """Two classes, to be replaced by one's own."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """There is no paper; the same as `desk`."""
        return cls(names=("cat", "dog"))


class Method(nn.Module):
    """A frozen encoder, the vectors of the classes, and the correction."""

    classes: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.register_buffer("classes", torch.zeros(len(self.names), encoder.width))
        self._named = False
        self.head = nn.Linear(encoder.feature_width, len(self.names)).requires_grad_(False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps what the tower says of a batch, and its labels."""
        assert batch.labels is not None
        self._seen.append((batch.extra["image_embedding"], batch.extra["image_features"], batch.labels))

    def finish(self, progress: Progress) -> None:
        """Embeds the classes, once, solves for the correction and forgets the images."""
        if not self._seen:
            raise ValueError("nothing was observed")
        if not self._named:
            self.classes.copy_(class_vectors(self.encoder, self.names, self.config.templates))
            self._named = True
        image, features, labels = (torch.cat(each) for each in zip(*self._seen, strict=True))
        config, scale = self.config, self.encoder.scale
        weight, intercept = linear_layer(
            features,
            labels,
            len(self.names),
            config.penalty,
            given=(scale * F.normalize(image.double(), dim=-1), self.classes.double()),
            penalised_intercept=True,
            iterations=config.iterations,
        )
        self.head.weight.copy_(weight)
        self.head.bias.copy_(intercept)
        self._seen.clear()

    def scores(self, image: Float[Tensor, "B D"], features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Logits from what the tower said of images.

        Args:
            image: their embeddings.
            features: before the projection into the shared space.
        """
        named = self.encoder.scale * F.normalize(image, dim=-1) @ self.classes.T
        return named + self.head(F.normalize(features, dim=-1))

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        states = self.encoder.image_states(images)
        return self.scores(self.encoder.adapted(states), states.features)


CLAIMS = ()
