"""Which words a picture lacks: by the tags that go with its own, by looks, by both, or by similar pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.words.settings import LEARNS, WordsSettings
from deixis.apps.words.tags import TagTable, is_in
from deixis.engine.training.build import build
from deixis.methods import read
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Progress

__all__ = ["WAYS", "TagSuggester", "ranks_of"]

WAYS = ("joint", "company", "looks", "nearest")
_NEIGHBOURS = 20
_EVEN = 0.5


class TagSuggester:
    """What was learned from tagged pictures, and how it scores words for others.

    Args:
        encoder: whose features say what pictures look like.
        table: of the pictures that are learned from.
        features: of the same pictures.
        settings: seed and the like.
    """

    def __init__(
        self, encoder: DualEncoder, table: TagTable, features: Float[Tensor, "N F"], settings: WordsSettings
    ) -> None:
        words = len(table.words)
        width = min(64, words)
        sizes = {"words": words, "width": width, "rank": max(1, min(width, words - 1)), "seed": settings.seed}
        self._method = cast(Any, build(LEARNS, "desk", sizes, {"encoder": encoder}))
        tags = table.tags.clamp(min=0)
        extra = {"image_features": features, "tags": tags}
        ids = tuple(map(str, range(len(tags))))
        specs = {need.name: need for need in read(LEARNS).card.needs}
        self._method.observe(Batch(ids=ids, extra=extra, valid={"T": table.tags >= 0}, specs=specs), Progress())
        self._method.finish(Progress())
        self._held, self._looks = is_in(table.tags, words), F.normalize(features, dim=1)
        self.vectors: dict[str, Float[Tensor, "V K"]] = {
            "company": F.normalize(self._method.company, dim=1),
            "looks": F.normalize(self._method.looks @ self._method.turn_looks, dim=1),
            "joint": F.normalize(self._method.word_vectors(), dim=1),
        }
        self._ways: dict[str, Callable[[Tensor, Tensor, bool], Tensor]] = {
            "joint": self._by_joint,
            "company": lambda held, features, own: (
                F.normalize(held @ self.vectors["company"], dim=1) @ self.vectors["company"].T
            ),
            "looks": lambda held, features, own: self._method.encode_features(features) @ self.vectors["looks"].T,
            "nearest": self._by_nearest,
        }

    def scores(
        self, way: str, tags: Int64[Tensor, "M T"], features: Float[Tensor, "M F"], *, own: bool = False
    ) -> Float[Tensor, "M V"]:
        """How well each word fits each picture; minus infinity for words that it has.

        Args:
            way: one of `WAYS`.
            tags: that the pictures have.
            features: of the pictures.
            own: the pictures are those that were learned from, so that each is not its own neighbour.
        """
        held = is_in(tags, self._held.shape[1])
        with torch.no_grad():
            return self._ways[way](held, features, own).masked_fill(held > 0, -torch.inf)

    def _by_joint(self, held: Tensor, features: Tensor, own: bool) -> Tensor:
        company = F.normalize(held @ self.vectors["company"], dim=1) @ self._method.turn_company
        seen = self._method.encode_features(features)
        first, second = self._method.config.weights
        return F.normalize(first * company + second * seen, dim=1) @ self.vectors["joint"].T

    def _by_nearest(self, held: Tensor, features: Tensor, own: bool) -> Tensor:
        """Words of the pictures that are most alike, half by the cosine of tags, half by that of looks."""
        known = F.normalize(self._held, dim=1)
        alike = _EVEN * F.normalize(held, dim=1) @ known.T + (1 - _EVEN) * F.normalize(features, dim=1) @ self._looks.T
        if own:
            alike.fill_diagonal_(-torch.inf)
        value, place = alike.topk(min(_NEIGHBOURS, alike.shape[1] - own), dim=1)
        weights = torch.zeros_like(alike).scatter_(1, place, value.clamp(min=0))
        return weights @ self._held


def ranks_of(scores: Float[Tensor, "M V"], words: Int64[Tensor, " M"]) -> Int64[Tensor, " M"]:
    """At which place, from 0 on, each picture's word stands; equal scores count as better.

    Args:
        scores: of all words.
        words: one a picture.
    """
    own = scores.gather(1, words[:, None])
    return (scores >= own).sum(1) - 1
