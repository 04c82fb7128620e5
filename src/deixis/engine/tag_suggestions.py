"""Which words a picture lacks: by the tags that go with its own, by looks, by both, or by similar pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.training.build import build
from deixis.methods import read
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Progress

__all__ = ["WAYS", "TagSuggester", "TaggedPictures", "hold_back", "is_in", "ranks_of"]

WAYS = ("joint", "company", "looks", "nearest")
_NEIGHBOURS = 20
_EVEN = 0.5


class TaggedPictures(NamedTuple):
    """Numbers of each picture's words, -1 for none; and what the picture looks like."""

    tags: Int64[Tensor, "N T"]
    features: Float[Tensor, "N F"]


class TagSuggester:
    """What was learned from tagged pictures, and how it scores words for others.

    Args:
        method: by name, which learns vectors of words by their company and looks.
        encoder: whose features say what pictures look like.
        words: how many there are.
        pictures: that are learned from.
        settings: of the method, that differ from its `desk` preset; vectors are 64 wide, or as wide as there are words.
    """

    def __init__(
        self,
        method: str,
        encoder: DualEncoder,
        words: int,
        pictures: TaggedPictures,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        width = min(64, words)
        sizes = {"words": words, "width": width, "rank": max(1, min(width, words - 1)), **(settings or {})}
        self._method = cast(Any, build(method, "desk", sizes, {"encoder": encoder}))
        tags, features = pictures
        extra = {"image_features": features, "tags": tags.clamp(min=0)}
        ids = tuple(map(str, range(len(tags))))
        specs = {need.name: need for need in read(method).card.needs}
        self._method.observe(Batch(ids=ids, extra=extra, valid={"T": tags >= 0}, specs=specs), Progress())
        self._method.finish(Progress())
        self._held, self._looks = is_in(tags, words), F.normalize(features, dim=1)
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
            "image": lambda held, features, own: self._method.encode_features(features) @ self.vectors["joint"].T,
            "cooccurrence": lambda held, features, own: held @ self._method.counts.float(),
        }

    def scores(
        self, way: str, tags: Int64[Tensor, "M T"], features: Float[Tensor, "M F"], *, own: bool = False
    ) -> Float[Tensor, "M V"]:
        """How well each word fits each picture; minus infinity for words that it has.

        Args:
            way: one of `WAYS`; or `cooccurrence`: how often a word stands beside those of the picture, or `image`: the
                joint vectors of words, by looks alone.
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


def hold_back(tags: Int64[Tensor, "N T"], seed: int) -> tuple[Int64[Tensor, "N T"], Int64[Tensor, " N"]]:
    """One tag of each picture that has two or more is taken away, drawn at random.

    Args:
        tags: numbers of words; -1: none.
        seed: of the draws.

    Returns:
        The tags that are left, and the one that was taken; -1 where none was.
    """
    draws = torch.rand(tags.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(tags < 0, -1)
    place = draws.argmax(1, keepdim=True)
    enough = (tags >= 0).sum(1, keepdim=True) > 1
    taken = torch.where(enough, tags.gather(1, place), -1)
    left = torch.where(enough, tags.scatter(1, place, -1), tags)
    return left, taken[:, 0]


def is_in(tags: Int64[Tensor, "N T"], words: int) -> Float[Tensor, "N V"]:
    """1 where a picture has a word.

    Args:
        tags: numbers of words; -1: none.
        words: V of them.
    """
    held = torch.zeros(len(tags), words + 1).scatter_(1, torch.where(tags < 0, words, tags), 1.0)
    return held[:, :words]
