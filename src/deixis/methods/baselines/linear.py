"""Linear probe: multinomial logistic regression on a frozen tower's features, with an L2 penalty.

    W, b = argmin  mean_i CE(W s(f_i) + b, y_i) + penalty / 2 |W|^2,     s(f) = f / |f|

solved by L-BFGS to convergence, as CLIP's linear evaluation does (Radford et al., 2021, appendix A.3). The intercept is
not penalised, and the problem is convex, so neither the order of the batches nor a seed matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.ops.logistic import linear_layer
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Linear probe on frozen features",
    year=2021,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2103.00020",
    tags=("classification", "few-shot"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the linear probe.

    Attributes:
        encoder: whose features are used.
        names: the classes, in the order of the labels.
        penalty: weight of the L2 term.
        iterations: of L-BFGS, at the most.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    penalty: float = 1e-3
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
        """1,000 iterations, as CLIP's evaluation."""
        return cls(names=("cat", "dog"), iterations=1000)


class Method(nn.Module):
    """A frozen tower and a linear layer.

    Attributes:
        field: of the batch, that is probed.
    """

    field = "image_features"

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.head = nn.Linear(self._width(), len(self.names)).requires_grad_(False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def _width(self) -> int:
        return self.encoder.feature_width

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the features and labels of a batch."""
        assert batch.labels is not None
        self._seen.append((batch.extra[self.field], batch.labels))

    def finish(self, progress: Progress) -> None:
        """Solves for the layer and forgets the features."""
        if not self._seen:
            raise ValueError("nothing was observed")
        features, labels = torch.cat([f for f, _ in self._seen]), torch.cat([y for _, y in self._seen])
        config = self.config
        layer = linear_layer(features, labels, len(self.names), config.penalty, iterations=config.iterations)
        self.head.weight.copy_(layer[0])
        self.head.bias.copy_(layer[1])
        self._seen.clear()

    def scores(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from features that the tower gave."""
        return self.head(F.normalize(features, dim=-1))

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.image_states(images).features)


CLAIMS = ()
