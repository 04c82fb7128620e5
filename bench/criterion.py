"""Race `criterion`: MDETR's losses over six decoder layers, matching included, forward and backward.

16 pictures, 100 queries, 255 token slots. `restated` is the published criterion as its equations and the order of its
steps have it: layer by layer, with the cost of all queries for the boxes of all pictures, the GIoU of all matched pairs
with all others of which the diagonal is taken, and a loop over boxes for the tokens that each names. `restated with
tricks` has none of that: costs within a picture, GIoU side by side, and the named tokens once for all layers; it counts
as the rival. Token spans are given: the published code looks them up by characters, in every layer. The loss and all
gradients must be equal first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis import engine
from deixis.types import Batch, Features, Progress

__all__ = ["CASES", "RACE", "Criterion", "equal", "main"]

RACE = Race(
    measures="The losses of MDETR over six decoder layers, forward and backward",
    peers=("restated", "restated with tricks"),
    equal="the loss and the gradients of logits, boxes, queries and tokens",
)

CASES = {"1 box": 1, "10 boxes": 10, "50 boxes": 50}
"""Boxes a picture: between one and twice as many, this many on average."""

PICTURES, QUERIES, LAYERS, SLOTS, WORDS, WIDTH, THREADS = 16, 100, 6, 255, 32, 64, 1
_NO_OBJECT, _TEMPERATURE, _BOX, _GIOU, _EPSILON = 0.1, 0.07, 5.0, 2.0, 1e-6
_INPUTS = ("logits", "boxes", "queries", "tokens")


class _Truth(NamedTuple):
    """The boxes of one picture, by centre and size, and the tokens that name them: first and behind the last."""

    boxes: Tensor
    spans: Tensor


class Criterion:
    """The same predictions and targets for both sides.

    Args:
        count: boxes a picture, on average.
        pictures: how many.
    """

    def __init__(self, count: int, pictures: int = PICTURES) -> None:
        rng = torch.Generator().manual_seed(0)
        shape = (pictures, LAYERS, QUERIES)
        states = (torch.randn(*each, WIDTH, generator=rng) for each in (shape, (pictures, WORDS)))
        self.inputs = dict(
            zip(
                _INPUTS,
                (
                    torch.randn(*shape, SLOTS + 1, generator=rng),
                    torch.rand(*shape, 4, generator=rng) * 0.5 + 0.1,
                    *(F.normalize(each, dim=-1) for each in states),
                ),
                strict=True,
            )
        )
        counts = torch.randint(1, 2 * count, (pictures,), generator=rng).tolist()
        self.truth = []
        for number in counts:
            start = torch.randint(WORDS - 3, (number, 1), generator=rng)
            spans = torch.cat([start, start + torch.randint(1, 4, (number, 1), generator=rng)], dim=1)
            self.truth.append(_Truth(torch.rand(number, 4, generator=rng) * 0.3 + 0.2, spans))
        overrides = {"slots": SLOTS, "masks": False, "final": False, "questions": (), "contrast": 0.0}
        self.method: Any = engine.build("mdetr", "tiny", overrides)
        self.batch = self._batch(max(counts))

    def _batch(self, most: int) -> Batch:
        valid = torch.tensor([[place < len(each.boxes) for place in range(most)] for each in self.truth])
        boxes, spans = (torch.zeros(*valid.shape, *rest) for rest in ((4,), (1, 2)))
        for row, each in enumerate(self.truth):
            boxes[row, : len(each.boxes)] = box_convert(each.boxes, "cxcywh", "xyxy")
            spans[row, : len(each.boxes), 0] = each.spans.float()
        ids = tuple(map(str, range(len(valid))))
        return Batch(ids, boxes=boxes, spans=spans.long(), valid={"T": valid})

    def ours(self, given: dict[str, Tensor]) -> Tensor:
        """The method's."""
        pictures = len(self.truth)
        real = {"real": torch.ones(pictures, QUERIES, dtype=torch.bool)}
        real["real_words"] = torch.ones(pictures, WORDS, dtype=torch.bool)
        losses = self.method.loss(Features({**given, **real}), self.batch, Progress(stage="boxes"))
        return torch.stack(list(losses.parts.values())).sum()

    def restated(self, given: dict[str, Tensor], tricks: bool) -> Tensor:
        """The published one."""
        slots = [F.pad(_named(each.spans, SLOTS), (0, 1)) for each in self.truth]
        slots = [each / (each.sum(1, keepdim=True) + _EPSILON) for each in slots]
        named = [_named(each.spans, WORDS).bool() for each in self.truth] if tricks else None
        total = torch.zeros(())
        for layer in range(LAYERS):
            logits, boxes, queries = (given[name][:, layer] for name in _INPUTS[:3])
            match = self._match(logits.detach(), boxes.detach(), slots, tricks)
            total = total + self._boxes(boxes, match, tricks)
            total = total + _soft_tokens(logits, slots, match)
            similarity = queries @ given["tokens"].transpose(1, 2) / _TEMPERATURE
            total = total + _alignment(similarity, self._positive(match, named))
        return total / sum(len(each.boxes) for each in self.truth)

    def _match(self, logits: Tensor, boxes: Tensor, slots: list[Tensor], tricks: bool) -> list[tuple[Tensor, Tensor]]:
        """Of each picture: its matched queries, and their boxes."""
        if tricks:
            costs = [_cost(*each) for each in zip(logits, boxes, slots, [t.boxes for t in self.truth], strict=True)]
        else:
            flat = _cost(logits.flatten(0, 1), boxes.flatten(0, 1), torch.cat(slots), torch.cat(self._true))
            columns = flat.unflatten(0, logits.shape[:2]).split([len(each) for each in slots], dim=2)
            costs = [block[row] for row, block in enumerate(columns)]
        pairs = [linear_sum_assignment(each.numpy()) for each in costs]
        return [(torch.as_tensor(query), torch.as_tensor(box)) for query, box in pairs]

    @property
    def _true(self) -> list[Tensor]:
        return [each.boxes for each in self.truth]

    def _boxes(self, boxes: Tensor, match: list[tuple[Tensor, Tensor]], tricks: bool) -> Tensor:
        found = torch.cat([rows[query] for rows, (query, _) in zip(boxes, match, strict=True)])
        true = torch.cat([rows[box] for rows, (_, box) in zip(self._true, match, strict=True)])
        corners = [box_convert(each, "cxcywh", "xyxy") for each in (found, true)]
        apart = generalized_box_iou_loss(*corners) if tricks else 1 - generalized_box_iou(*corners).diag()
        return _BOX * (found - true).abs().sum() + _GIOU * apart.sum()

    def _positive(self, match: list[tuple[Tensor, Tensor]], named: list[Tensor] | None) -> Tensor:
        """Which tokens each query stands for."""
        positive = torch.zeros(len(match), QUERIES, WORDS, dtype=torch.bool)
        for row, (query, box) in enumerate(match):
            if named is not None:
                positive[row, query] = named[row][box]
                continue
            for place, (start, stop) in zip(query.tolist(), self.truth[row].spans[box].tolist(), strict=True):
                positive[row, place, start:stop] = True
        return positive

    def gradients(self, side: Callable[[dict[str, Tensor]], Tensor]) -> list[Tensor]:
        """The loss, and what it has for each input."""
        given = {name: value.requires_grad_() for name, value in self.inputs.items()}
        loss = side(given)
        return [loss.detach(), *torch.autograd.grad(loss, list(given.values()))]

    def milliseconds(self, side: Callable[[dict[str, Tensor]], Tensor]) -> float:
        """Of one evaluation with its gradients."""
        start = time.perf_counter()
        self.gradients(side)
        return (time.perf_counter() - start) * 1000


def _named(spans: Tensor, length: int) -> Tensor:
    places = torch.arange(length)
    return ((places >= spans[:, :1]) & (places < spans[:, 1:])).float()


def _cost(logits: Tensor, boxes: Tensor, slots: Tensor, true: Tensor) -> Tensor:
    """Of each query for each box, flat."""
    overlap = generalized_box_iou(*(box_convert(each, "cxcywh", "xyxy") for each in (boxes, true)))
    return _BOX * torch.cdist(boxes, true, p=1) - logits.softmax(-1) @ slots.T - _GIOU * overlap


def _soft_tokens(logits: Tensor, slots: list[Tensor], match: list[tuple[Tensor, Tensor]]) -> Tensor:
    wanted, weight = torch.zeros_like(logits), torch.full(logits.shape[:2], _NO_OBJECT)
    wanted[..., -1] = 1
    for row, (query, box) in enumerate(match):
        wanted[row, query], weight[row, query] = slots[row][box], 1.0
    return -((wanted * logits.log_softmax(-1)).sum(-1) * weight).sum()


def _alignment(similarity: Tensor, positive: Tensor) -> Tensor:
    total = similarity.new_zeros(())
    for axis in (2, 1):
        count = positive.sum(axis)
        mean = similarity.masked_fill(~positive, 0).sum(axis) / (count + _EPSILON)
        total = total + (similarity.logsumexp(axis) - mean).masked_fill(count == 0, 0).sum()
    return total / 2


def equal(criterion: Criterion) -> bool:
    """Whether all sides have one loss and one gradient."""
    ours = criterion.gradients(criterion.ours)
    return all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-6 * float(other.abs().max()))
        for tricks in (False, True)
        for one, other in zip(ours, criterion.gradients(partial(criterion.restated, tricks=tricks)), strict=True)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case, one a peer."""
    parser = argparse.ArgumentParser(prog="python -m bench.criterion", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        criterion = Criterion(CASES[case])
        if not equal(criterion):
            raise SystemExit(f"criterion {case}: the sides differ")
        for peer, tricks in zip(RACE.peers, (False, True), strict=True):
            theirs = partial(criterion.restated, tricks=tricks)
            sides = [partial(criterion.milliseconds, side) for side in (criterion.ours, theirs)]
            timings = alternate(*sides, chosen.repeats)
            named = {"race": "criterion", "case": case, "peer": peer, "peer_version": torch.__version__}
            row = make_row(named, timings, unit="ms", equal=True, surroundings=environment(threads=THREADS))
            append_row(row, chosen.results)


if __name__ == "__main__":
    main()
