"""Retrieval both ways: the measure of the main job, in the form of an evaluator.

Every image asks for its caption among the distinct captions, every caption for its image among all images. Images with
the same caption are hits for one another, and ties count against the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from deixis.ops.metrics import retrieval
from deixis.types import Batch, Card, FieldSpec, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

CARD = Card(
    title="Image-text retrieval, exact, ties against the model",
    year=2021,
    kind="evaluator",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit"),
        FieldSpec("text_embedding", "B D", values="unit"),
        FieldSpec("caption_key", "B", "long", values="class"),
    ),
    tags=("evaluation", "retrieval"),
)


@dataclass(frozen=True)
class Config:
    """Retrieval has no settings."""

    @classmethod
    def tiny(cls) -> Config:
        """For tests."""
        return cls()

    @classmethod
    def desk(cls) -> Config:
        """As `deixis adapt` uses it."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same as `desk`."""
        return cls()


class Method(nn.Module):
    """Collects embeddings, then ranks all at once."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def observe(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The rows that `measure` needs of a batch; the engine joins them over batches and ranks."""
        return {spec.name: batch.extra[spec.name] for spec in CARD.needs}

    def measure(self, rows: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " B"]]:
        """One value per sample for each of `image_to_text_r1` ... `mean_mrr`, see `deixis.ops.metrics.retrieval`."""
        return retrieval(rows["image_embedding"], rows["text_embedding"], rows["caption_key"])


CLAIMS = ()
