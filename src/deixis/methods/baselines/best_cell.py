"""Zero-shot classification by the best cell: an image belongs to the class whose name one of its cells is nearest to.

    logits[i, c] = scale * max_n cos(F_n(x_i), w_c)

with F_n the image tower's cells in the shared space, and w_c the class vectors of `zero_shot`. Nothing is learned: what
one thing among many in an image needs might be no more than not to be averaged with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.methods.baselines import zero_shot
from deixis.nn.dual import DualEncoder
from deixis.types import Card, FieldSpec, Made, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Zero-shot classification by the cell that is nearest to a class name",
    year=2026,
    kind="training-free",
    role="baseline",
    needs=(FieldSpec("image_cells", "B N D", made=Made("encoder", "image_tokens", "states")),),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    tags=("classification",),
    automatic=False,
)


@dataclass(frozen=True)
class Config(zero_shot.Config):
    """Settings of `zero_shot`."""


class Method(zero_shot.Method):
    """Zero-shot classification, of cells."""

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__(config, encoder=encoder, names=names)

    def scores(self, image: Float[Tensor, "B N D"]) -> Float[Tensor, "B C"]:
        """Logits from cells that the encoder gave: of each class that of its best cell."""
        return (self.encoder.scale * F.normalize(image, dim=-1) @ self.classes.T).amax(dim=1)

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.image_tokens(images).states)


CLAIMS = ()
