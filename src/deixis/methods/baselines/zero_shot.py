"""Zero-shot classification: an image belongs to the class whose name, in a sentence, is nearest.

    logits[i, c] = scale * image_i . normalise(mean over templates of normalise(text(template(c))))

as in CLIP (Radford et al., 2021, section 3.1.4): the embeddings of the templates are averaged, not their logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.types import Card, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method", "class_vectors"]

CARD = Card(
    title="Zero-shot classification by class names",
    year=2021,
    kind="training-free",
    role="baseline",
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2103.00020",
    tags=("classification",),
)


@dataclass(frozen=True)
class Config:
    """Settings of zero-shot classification.

    Attributes:
        encoder: the model that is asked.
        names: the classes.
        templates: sentences around a name, `{}` where it goes.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}.",)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and three classes."""
        return cls(encoder="tiny", names=("heron", "lettuce", "tractor"))

    @classmethod
    def desk(cls) -> Config:
        """One template."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """Several templates, averaged."""
        return cls(
            names=("cat", "dog"),
            templates=("a photo of a {}.", "a drawing of a {}.", "a close-up photo of a {}.", "a picture of many {}."),
        )


@torch.no_grad()
def class_vectors(encoder: DualEncoder, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "C D"]:
    """One vector a class, of length 1: the mean over the templates of the normalised text embeddings.

    Args:
        encoder: embeds the sentences.
        names: C class names.
        templates: sentences with `{}`.
    """
    texts = encoder.encode_text([template.format(name) for name in names for template in templates])
    return F.normalize(texts.reshape(len(names), len(templates), -1).mean(dim=1), dim=-1)


class Method(nn.Module):
    """An encoder and the vectors of the classes."""

    classes: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.register_buffer("classes", class_vectors(encoder, names, config.templates))

    def scores(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits from embeddings that the encoder gave: scaled similarities to the classes."""
        return self.encoder.scale * F.normalize(image, dim=-1) @ self.classes.T

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.encode_image(images))


CLAIMS = ()
