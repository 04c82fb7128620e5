"""What methods and towers give back, and where in a run they are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = [
    "Features",
    "GroundOutput",
    "ImageStates",
    "Losses",
    "Maps",
    "Progress",
    "RankedBoxes",
    "RegionProposals",
    "SampledImages",
    "TokenStates",
    "Tokens",
]


class Tokens(NamedTuple):
    """Texts as token numbers, one text a row; number 0 may be a token like any other, so the mask says what is padding.

    Attributes:
        ids: token numbers; padding is 0.
        mask: true where a token is real.
    """

    ids: Int64[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]

    def to(self, device: torch.device | str) -> Tokens:
        """Both on `device`."""
        return Tokens(self.ids.to(device), self.mask.to(device))

    def take(self, rows: slice) -> Tokens:
        """Some of the texts."""
        return Tokens(self.ids[rows], self.mask[rows])


@dataclasses.dataclass(frozen=True)
class ImageStates:
    """All that an image tower says of its images in one pass.

    Attributes:
        embedding: in the space shared with text, rows of length 1.
        features: the tower's pooled features before that space.
        doubt: 0 where the tower is sure of what it sees, 1 where it is not; 1 throughout for towers that can't tell.
    """

    embedding: Float[Tensor, "B D"]
    features: Float[Tensor, "B F"]
    doubt: Float[Tensor, " B"]


@dataclasses.dataclass(frozen=True)
class TokenStates:
    """Dense states, in the space shared with the other side.

    Attributes:
        states: one vector a token or patch, not normalised.
        mask: true where a token is real.
        grid: rows and columns, where the tokens lie on a grid (row by row).
    """

    states: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    grid: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class RegionProposals:
    """Regions of images that may be things, padded to the image that has the most.

    Attributes:
        boxes: x0 y0 x1 y1, from 0 to 1.
        valid: true where a region is real.
        scores: how likely each is a thing, from 0 to 1.
        features: one vector a region.
        classes: what each may be, rows that sum to 1.
        masks: its pixels; None where the part gives boxes alone.
    """

    boxes: Float[Tensor, "B T 4"]
    valid: Bool[Tensor, "B T"]
    scores: Float[Tensor, "B T"]
    features: Float[Tensor, "B T F"]
    classes: Float[Tensor, "B T C"]
    masks: Bool[Tensor, "B T H W"] | None = None

    @classmethod
    def padded(
        cls,
        boxes: Sequence[Float[Tensor, "_ 4"]],
        scores: Sequence[Float[Tensor, " _"]],
        features: Sequence[Float[Tensor, "_ F"]],
        classes: Sequence[Float[Tensor, "_ C"]],
    ) -> RegionProposals:
        """The regions of several images, each of which may have another number of them."""
        columns = [pad_sequence(list(column), batch_first=True) for column in (boxes, scores, features, classes)]
        counts = torch.tensor([len(each) for each in scores], device=columns[1].device)
        valid = torch.arange(columns[1].shape[1], device=counts.device) < counts[:, None]
        return cls(columns[0], valid, columns[1], columns[2], columns[3])


@dataclasses.dataclass(frozen=True)
class SampledImages:
    """Images that were made from a text.

    Attributes:
        images: values 0 to 255; each part preprocesses them its own way.
        attribution: how much of each pixel is due to the text, from 0 to 1.
    """

    images: UInt8[Tensor, "B 3 H W"]
    attribution: Float[Tensor, "B H W"]


@dataclasses.dataclass(frozen=True)
class RankedBoxes:
    """The boxes of one phrase whose order can be learned.

    Attributes:
        boxes: as the method sees them.
        features: what is known of each.
        offsets: logarithms of their chances, the order before anything is learned.
    """

    boxes: Float[Tensor, "Q 4"]
    features: Float[Tensor, "Q F"]
    offsets: Float[Tensor, " Q"]


@dataclasses.dataclass(frozen=True)
class GroundOutput:
    """What `ground` gives back: boxes, and how well each phrase fits each box.

    Attributes:
        boxes: Q candidates an image, shared by its phrases: x0 y0 x1 y1 from 0 to 1.
        scores: of each of T phrases (one, the whole sentence, where no spans are given) with each box; only their order
            within a phrase has a meaning that all methods share.
        valid: true where a candidate is no padding.
        masks: of the candidates, how sure it is of each pixel, from 0 to 1; None where the method makes none.
        thresholds: of each phrase, the score below which a candidate is no answer, of methods that can say that nothing
            fits; None of others.
        sources: of each phrase, how it was scored, such as `kind` or `crop`; empty where there is but one way.
        labels: what a detector calls each candidate; empty where there is none.
    """

    boxes: Float[Tensor, "B Q 4"]
    scores: Float[Tensor, "B T Q"]
    valid: Bool[Tensor, "B Q"]
    masks: Float[Tensor, "B Q H W"] | None = None
    thresholds: Float[Tensor, "B T"] | None = None
    sources: tuple[tuple[str, ...], ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()

    def best(self, count: int = 1) -> tuple[Float[Tensor, "B T k 4"], Float[Tensor, "B T k"]]:
        """The boxes that fit each phrase best, best first, and their scores.

        Args:
            count: k, boxes per phrase; of an image that has fewer, the last ones are zeros and their scores -inf.
        """
        valid = self.valid[:, None].expand_as(self.scores)
        missing = max(0, count - self.scores.shape[-1])
        scores = torch.nn.functional.pad(self.scores.masked_fill(~valid, -torch.inf), (0, missing), value=-torch.inf)
        boxes = torch.nn.functional.pad(self.boxes * self.valid[..., None], (0, 0, 0, missing))
        values, place = scores.topk(count)
        return boxes[torch.arange(len(boxes), device=place.device)[:, None, None], place], values


@dataclasses.dataclass(frozen=True)
class Features:
    """What `Method.encode` hands to `Method.loss`.

    Attributes:
        rows: name -> [B, ...], one row a sample: can be split, gathered and concatenated.
        shared: name -> tensor that does not depend on the batch (class vectors), computed once a step.
    """

    rows: Mapping[str, Tensor]
    shared: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Losses:
    """What `Method.loss` gives back.

    Attributes:
        parts: name -> scalar with a gradient; their sum is what is minimised (weights are applied already).
        metrics: name -> number to log, without a gradient.
        carry: name -> detached tensor for `after_step` (queue rows); joined over micro-steps.
    """

    parts: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor | float] = dataclasses.field(default_factory=dict)
    carry: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of all parts, a scalar."""
        return torch.stack(list(self.parts.values())).sum()


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where in a run a method is called: all randomness and all schedules hang on this alone.

    Attributes:
        step: optimiser steps done within the stage.
        total: optimiser steps of the stage.
        epoch: passes over the data done within the stage.
        stage: name of the stage.
        seed: of the run.
        rank: of this process.
        micro: index of the micro-batch within the step.
        draw: a fixed number in place of the step for draws (tests that learn one draw).
    """

    step: int = 0
    total: int = 1
    epoch: int = 0
    stage: str = "train"
    seed: int = 0
    rank: int = 0
    micro: int = 0
    draw: int | None = None

    def _key(self, purpose: str, *more: Any) -> int:
        moment = self.step if self.draw is None else f"draw {self.draw}"
        return _hashed(self.seed, self.stage, moment, purpose, *more)

    def rng(self, purpose: str, shared: bool = False) -> torch.Generator:
        """A CPU generator for this step and `purpose`; `shared`: the same on all ranks and micro-steps."""
        more = () if shared else (self.rank, self.micro)
        return torch.Generator().manual_seed(self._key(purpose, *more))

    def turn(self, tasks: Sequence[tuple[str, int]]) -> str:
        """Whose turn it is among the tasks of a method that trains one a step, the same on all ranks and micro-steps.

        The tasks take turns in rounds, in each of which a task comes as often as its share says, in an order that is
        drawn anew for each round. So none is left out for long, and `sum` of the shares is the length of a round, which
        the method gives as its attribute `turns`.

        Args:
            tasks: name and share of each.

        >>> tasks = (("match", 2), ("words", 1))
        >>> sorted(Progress(step).turn(tasks) for step in range(3, 6))
        ['match', 'match', 'words']
        """
        names = [name for name, share in tasks for _ in range(share)]
        number, place = divmod(self.step if self.draw is None else self.draw, len(names))
        generator = torch.Generator().manual_seed(_hashed(self.seed, self.stage, "turn", number))
        order = torch.randperm(len(names), generator=generator)
        return names[int(order[place])]

    def uniform(self, purpose: str, ids: Sequence[str], n: int) -> Float[Tensor, "B n"]:
        """Numbers in [0, 1) for each sample, hashed from its id: the same whatever the batch, its order or the rank."""
        rows = [torch.rand(n, generator=torch.Generator().manual_seed(self._key(purpose, name))) for name in ids]
        return torch.stack(rows) if rows else torch.zeros(0, n)


def _hashed(*key: Any) -> int:
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@dataclasses.dataclass(frozen=True)
class Maps:
    """What explains a batch: one map an image, or T an image, of T scores.

    Attributes:
        image: at the size of the image, each value between 0 and 1.
        raw: name of a layer -> its map as it was computed, at the layer's resolution, in no fixed range.
        signed: whether `image` lies between -1 and 1 instead, and what is below 0 speaks against the score.
    """

    image: Float[Tensor, "*B H W"]
    raw: Mapping[str, Float[Tensor, "*B h w"]]
    signed: bool = False
