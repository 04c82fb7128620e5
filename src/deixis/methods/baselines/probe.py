"""Probe: a linear classifier of each respect's values, and pictures are compared by what it says of them.

    f = unit(softmax(W unit(z) + b)),    W, b by logistic regression on the frozen features

The rival that a person with a table of labels has without any image-text model. It knows no value that it was not
trained on. An instruction goes to the respect whose instructions, on average, are nearest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods.baselines import subspace
from deixis.nn.dual import DualEncoder
from deixis.nn.vision_language.instructions import require_instructions
from deixis.ops.logistic import linear_layer
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Linear classifiers of each respect",
    year=2021,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features")),
        FieldSpec("captions", "B", "object"),
        FieldSpec("instruction", "B", "object"),
        FieldSpec("respect", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("encode_about", "encode_image"),
    tags=("conditional similarity", "retrieval", "control"),
)


@dataclass(frozen=True)
class Config(subspace.Config):
    """Settings of classifiers; `rank` has no effect.

    Attributes:
        values: of a respect, the most there may be.
        penalty: of the weights.
    """

    values: int = 64
    penalty: float = 1e-4


class Method(subspace.Method):
    """A frozen encoder, and a linear classifier a respect."""

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__(config, encoder=encoder)
        self._rows: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)

    def _first(self, encoder: DualEncoder) -> Tensor:
        """Weights and, in the last column, intercepts; what is no value has the lowest logit."""
        found = torch.zeros(self.config.respects, self.config.values, encoder.feature_width + 1)
        found[..., -1] = -torch.inf
        return found

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps features and values."""
        super().observe(batch, progress)
        assert batch.captions is not None
        rows = zip(batch.extra["respect"].tolist(), batch.captions, batch.extra["image_features"], strict=True)
        for respect, captions, features in rows:
            self._rows[respect].append((captions[0], features))

    def finish(self, progress: Progress) -> None:
        """Solves for the classifiers and forgets the features."""
        super().finish(progress)
        self._rows.clear()

    def _solve(self, respect: int, values: Sequence[str]) -> None:
        if len(values) > self.config.values:
            raise DeixisError(
                f"A respect has {len(values)} values, and there is room for {self.config.values}.",
                "Set values to their number, or leave the respect out.",
            )
        labels = torch.tensor([values.index(value) for value, _ in self._rows[respect]])
        features = torch.stack([row for _, row in self._rows[respect]])
        weight, intercept = linear_layer(features, labels, len(values), self.config.penalty)
        self.projections[respect, : len(values)] = torch.cat([weight, intercept[:, None]], dim=1).to(self.projections)

    def encode_about(self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str]) -> Float[Tensor, "B D"]:
        """What the classifiers say of images, rows of length 1.

        Raises:
            DeixisError: an instruction is empty or longer than the encoder reads, or there is not one an image.
        """
        require_instructions(self.encoder, instructions, len(images))
        features = F.normalize(self.encoder.image_states(images).features, dim=-1)
        layers = self.projections[self.respects_of(instructions)]
        logits = torch.einsum("bcf,bf->bc", layers[..., :-1], features) + layers[..., -1]
        return F.normalize(logits.softmax(1), dim=-1)


CLAIMS = ()
