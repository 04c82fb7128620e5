"""Linear probe of the space shared with texts: `linear` on the embeddings of images in place of the features before the
projection, as CoOp's authors probe CLIP.

Of towers whose projection loses much, the features before it are the stronger rival.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from deixis.methods.baselines import linear
from deixis.types import Card, FieldSpec, Made, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Linear probe on joint embeddings",
    year=2021,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2109.01134",
    tags=("classification", "few-shot"),
    automatic=False,
)


@dataclass(frozen=True)
class Config(linear.Config):
    """Settings of `linear`."""


class Method(linear.Method):
    """The linear probe, of embeddings."""

    config: Config
    field = "image_embedding"

    def _width(self) -> int:
        return self.encoder.width

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.encode_image(images))


CLAIMS = ()
