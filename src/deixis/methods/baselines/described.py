"""Zero-shot classification by descriptions: an image belongs to the class whose name, texts, or both, are nearest.

    names:  t_c = the vector of zero_shot
    texts:  t_c = normalise(mean over its texts of normalise(text))
    both:   t_c = normalise(name_c + texts_c)
    logits[i, c] = scale * image_i . t_c

Nothing is learned. It is what a method that learns from descriptions must beat, since a good description alone does
much. A class without a text has its name. With `mean="scores"` the scores of texts are averaged in place of their
embeddings: texts that disagree then make a class less likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.methods.baselines import zero_shot
from deixis.nn.adaptation.class_knowledge import text_vectors, texts_by_class
from deixis.nn.dual import DualEncoder
from deixis.types import Card, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method", "described_vectors"]

CARD = Card(
    title="Zero-shot classification by descriptions",
    year=2022,
    kind="training-free",
    role="baseline",
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2210.07183",
    tags=("classification", "descriptions", "unseen classes"),
    automatic=False,
)


@dataclass(frozen=True)
class Config(zero_shot.Config):
    """Settings: those of zero-shot classification, and three.

    Attributes:
        knowledge: (class, text) pairs, several a class where there are several texts.
        by: what a class is known by: its `name`, its `texts`, or `both`.
        mean: over texts, of `embeddings` or of `scores`.
    """

    knowledge: tuple[tuple[str, str], ...] = ()
    by: Literal["name", "texts", "both"] = "both"
    mean: Literal["embeddings", "scores"] = "embeddings"

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, three classes, of which two are described."""
        return cls(
            encoder="tiny",
            names=("heron", "lettuce", "tractor"),
            knowledge=(("heron", "a tall wading bird"), ("heron", "a bird of marshes"), ("tractor", "a farm vehicle")),
        )

    @classmethod
    def desk(cls) -> Config:
        """By names and texts; the texts are to be given."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """By texts, whose scores are averaged (Menon and Vondrick, Visual Classification via Description, 2022)."""
        return cls(names=("cat", "dog"), by="texts", mean="scores")


@torch.no_grad()
def described_vectors(encoder: DualEncoder, names: Sequence[str], config: Config) -> Float[Tensor, "C D"]:
    """One vector a class, of length 1 unless scores are averaged.

    Args:
        encoder: embeds names and texts.
        names: C class names.
        config: with what is known of them.
    """
    unit = config.mean == "embeddings"
    named = zero_shot.class_vectors(encoder, names, config.templates)
    own = texts_by_class(config.knowledge, names)
    known = torch.tensor([bool(texts) for texts in own], device=named.device)
    if config.by == "name" or not any(own):
        return named
    texts = named.clone()
    texts[known] = text_vectors(encoder, [each for each in own if each], unit)
    if config.by == "texts":
        return texts
    both = (named + texts) / 2
    return F.normalize(both, dim=-1) if unit else both


class Method(zero_shot.Method):
    """An encoder and the vectors of the classes."""

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__(config, encoder=encoder, names=names)
        self.classes = described_vectors(encoder, self.names, config)


CLAIMS = ()
