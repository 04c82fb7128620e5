"""Labelled images as a frozen encoder sees them, and what of it a method reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.engine.fewshot.learners import CELLS, SPECS, candidates
from deixis.engine.training.batching import needs_of, require_encoder
from deixis.engine.training.stages import card_of, name_of, stages
from deixis.errors import DeixisError
from deixis.types import Batch
from deixis.types.protocols import AnyMethod

__all__ = ["Shots", "fields_of", "looks_at_cells"]


@dataclasses.dataclass(frozen=True)
class Shots:
    """Labelled images, as a frozen encoder sees them.

    Attributes:
        ids: N names; those that are equal up to a `#` are views of one image.
        labels: their classes, as indices.
        embedding: in the space shared with texts, of length 1.
        features: before the projection into it.
        groups: equal for images that show one thing and are held out together; empty: each image by itself.
        cells: of each image in the space shared with texts, for methods that read them.
    """

    ids: tuple[str, ...]
    labels: Int64[Tensor, " N"]
    embedding: Float[Tensor, "N D"]
    features: Float[Tensor, "N F"]
    groups: tuple[int, ...] = ()
    cells: Float[Tensor, "N P D"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int]) -> Shots:
        """The images at `index`."""
        i = torch.as_tensor(index, dtype=torch.long)
        groups = tuple(self.groups[j] for j in index) if self.groups else ()
        ids, cells = tuple(self.ids[j] for j in index), None if self.cells is None else self.cells[i]
        return Shots(ids, self.labels[i], self.embedding[i], self.features[i], groups, cells)

    def batch(self) -> Batch:
        """All of them, as methods take them."""
        extra = {"image_embedding": self.embedding, "image_features": self.features}
        extra |= {} if self.cells is None else {CELLS: self.cells}
        return Batch(self.ids, labels=self.labels, extra=extra, specs={s.name: s for s in SPECS if s.name in extra})


def looks_at_cells(method: AnyMethod) -> bool:
    """Whether the scores of a method, as it is built, are made of the cells of images, too.

    Args:
        method: that learns classes.

    Raises:
        DeixisError: they are, and its model gives none.
    """
    encoder = require_encoder(method)
    if CELLS in _read(method) and not hasattr(encoder.image_tower, "tokens"):
        raise DeixisError(
            f"{name_of(method)} with these settings reads the cells of images, and {encoder.name} gives none.",
            f"Take a method that reads images as wholes, such as {', '.join(candidates())}; or a model with cells, "
            "such as starter.",
        )
    return CELLS in _read(method)


def _read(method: AnyMethod) -> list[str]:
    """The names of the fields that the scores of a method are made of: those of its card, in its order, and then those
    that its settings add, which its stages tell."""
    needs = [*card_of(method).needs, *(need for stage in stages(method) for need in needs_of(method, stage))]
    there = {spec.name for spec in SPECS}
    return [name for name in dict.fromkeys(need.name for need in needs) if name in there] or ["image_embedding"]


def fields_of(
    method: AnyMethod,
    embedding: Float[Tensor, "B D"],
    features: Float[Tensor, "B F"],
    cells: Float[Tensor, "B P D"] | None = None,
) -> list[Float[Tensor, "B ..."]]:
    """Those of the fields that the scores of a method are made of.

    Args:
        method: that learns classes.
        embedding: of images, as in `Shots`.
        features: as in `Shots`.
        cells: as in `Shots`.

    Raises:
        DeixisError: it reads cells, and there are none.
    """
    given = {"image_embedding": embedding, "image_features": features, **({} if cells is None else {CELLS: cells})}
    names = _read(method)
    if cells is None and CELLS in names:
        raise DeixisError(
            f"{name_of(method)} reads the cells of images, and none were computed.",
            "Take data of which they are, or settings without them.",
        )
    return [given[name] for name in names]
