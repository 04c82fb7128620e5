"""A mask carried to a second frame, in which things have moved: each patch there is what the patch is that is most like
it in the first frame, within a window around its place. Nothing is learned.

    J = pixels of a thing in both masks, the carried one and the right one / pixels in either

Patches take the pixels of the one they are most like with them, so that outlines are as sharp as the mask is, whatever
the size of a patch: two equal frames have a J of 1, and a map that is the same everywhere leaves the mask where it was.
Beside it stands the rule of DAVIS as DINO's authors have it: the classes of the five most similar patches, weighed by
softmax at a temperature of 0.1 and resized to the image. They carry a first mask through a film with up to seven frames
of context; here there are two frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from deixis.data.loading.crops import WHOLE, region_mask
from deixis.engine.evaluation.cells.linear_cells import cell_labels
from deixis.engine.evaluation.cells.region_data import SIDE
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues, difference
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types import EvalMetric, EvalProtocol, Sample

__all__ = ["PROTOCOL", "FramePlan", "five_classes", "measure", "moved_pixels", "prepare", "similarities"]

PROTOCOL = EvalProtocol(
    title="A mask carried to a second frame, where things have moved, by the most similar patches",
    capabilities=(("image_tokens",),),
    fields=("images", "masks", "next_frame"),
    metrics=(
        EvalMetric("j", "J by pixels of the most similar patch"),
        EvalMetric("j_of_five", "J by classes of the five most similar patches"),
        EvalMetric("left", "J of the mask left where it was"),
        EvalMetric("colours", "J by patches of the nearest colour"),
    ),
    plots=("j", "left"),
    test="the split `test`, else all images that have a second frame, of at most 600 or --limit; a value a thing that "
    "is visible in both frames. The last two columns need no model",
    source="DAVIS 2017 as in DINO, 2021, of which `j_of_five` has neighbours, temperature and classes; the window is a "
    "quarter of the image to each side",
    slow=True,
    cure="Give set:scenes/frames, or scenes(config=SceneConfig(moved=0.2)) from Python: see docs/scenes.md.",
)

_MOST = 600
_REACH = 0.25
"""How far from its place a patch is looked for along each axis, as a share of the image."""
_NEIGHBOURS, _TEMPERATURE = 5, 0.1
_NEARER = 1e-9
"""What is taken off a similarity for each cell of distance, squared: of equally similar patches the nearest counts."""
_COLOURED = 32
"""Rows and columns of patches whose mean colours are compared."""
_RIVALS = {"left": "the mask left where it was", "colours": "the nearest colours"}


class FramePlan(NamedTuple):
    """Pairs of frames, and what is known of them without a model.

    Attributes:
        first: the frames whose masks are given.
        second: those that they are carried to.
        before: number of the thing at each pixel of the first frames, from 1 on; 0 where there is none.
        after: likewise, of the second ones.
        things: pair and number of each thing that is visible in both frames.
        queries: their names.
        rivals: metric -> J of each.
    """

    first: EvalSet
    second: EvalSet
    before: Int64[Tensor, "N S S"]
    after: Int64[Tensor, "N S S"]
    things: tuple[tuple[int, int], ...]
    queries: tuple[str, ...]
    rivals: Mapping[str, Float[np.ndarray, " Q"]]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> FramePlan:
    """The pairs of frames, and how well masks are carried without a model.

    Raises:
        DeixisError: no image has a second frame with the masks of the same things.
    """
    every = on_test(data.placed(options.limit or _MOST, talk.say, masks=True))
    first = every.take([i for i, each in enumerate(every.samples) if _has_next(each)])
    later = [each.extra["next_frame"] for each in first.samples]
    before = torch.stack([_numbers(each) for each in first.samples]) if later else torch.zeros(0, SIDE, SIDE).long()
    after = torch.stack([_numbers(each) for each in later]) if later else before
    things = [
        (pair, number)
        for pair in range(len(later))
        for number in before[pair].unique().tolist()
        if number and bool((after[pair] == number).any())
    ]
    if not things:
        raise DeixisError(f"{data.source.name} has no second frames with masks of the same things.", PROTOCOL.cure)
    hashes = tuple(
        hashlib.sha256(f"frame after {i} {digest}".encode()).hexdigest() for i, digest in enumerate(first.hashes)
    )
    source = dataclasses.replace(first.source, samples=tuple(later))
    second = dataclasses.replace(first, source=source, hashes=hashes)
    names = tuple(
        f"{first.ids[pair]}: {number} {first.samples[pair].regions[number - 1].category}" for pair, number in things
    )
    plan = FramePlan(first, second, before, after, tuple(things), names, {})
    return plan._replace(rivals={"left": _values(plan, iter(before)), "colours": _values(plan, _by_colours(plan))})


def measure(plan: FramePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """J by both rules and of the rivals, one value a thing."""
    maps = [model.image_maps(each, talk) for each in (plan.first, plan.second)]
    grid = (maps[0].shape[2], maps[0].shape[3])
    rules: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
        "j": lambda cosines, before: moved_pixels(cosines, before, grid),
        "j_of_five": lambda cosines, before: five_classes(cosines, before, grid),
    }
    with talk.step("carry"):
        found = {name: _values(plan, _carried(plan, maps, rule)) for name, rule in rules.items()}
    clusters = plan.first.clusters[[pair for pair, _ in plan.things]]
    columns = {
        Column(name): QueryValues(each, plan.queries, clusters) for name, each in {**found, **plan.rivals}.items()
    }
    notes = [f"{len(plan.first.samples)} pairs of frames, {len(plan.things)} things, {grid[0]} x {grid[1]} patches."]
    for name, said in _RIVALS.items():
        value, low, high = difference(columns[Column("j")], columns[Column(name)])
        interval = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        notes.append(f"Beside {said}: {100 * value:+.1f} points{interval}.")
    return EvalOutput({"": columns}, tuple(notes), {"pairs": len(plan.first.samples), "grid": list(grid)})


def similarities(
    first: Shaped[Tensor, "D h w"], second: Shaped[Tensor, "D h w"], colours: bool = False
) -> Float[Tensor, "N M"]:
    """How alike each patch of the second frame is to each of the first; minus infinity beyond the window.

    Args:
        first: states of the first frame.
        second: of the second.
        colours: whether states are compared by their distance, as colours are, in place of their cosine.
    """
    rows, columns = first.shape[1:]
    here, there = (each.double().flatten(1).T for each in (second, first))
    if colours:
        alike = -torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist").square()
    else:
        alike = F.normalize(here, dim=1) @ F.normalize(there, dim=1).T
    down, across = (_apart(length) for length in (rows, columns))
    squared = (down.square()[:, None, :, None] + across.square()[None, :, None, :]).reshape(alike.shape)
    far = (_beyond(down)[:, None, :, None] | _beyond(across)[None, :, None, :]).reshape(alike.shape)
    return (alike - _NEARER * squared).masked_fill(far, -torch.inf)


def moved_pixels(
    alike: Float[Tensor, "N M"], before: Int64[Tensor, "S S"], grid: tuple[int, int]
) -> Int64[Tensor, "S S"]:
    """The mask in the second frame: each patch shows the pixels of the one that is most like it.

    Args:
        alike: see `similarities`.
        before: number of the thing at each pixel of the first frame.
        grid: rows and columns of patches.
    """
    side = before.shape[0]
    best = alike.argmax(dim=1).unflatten(0, grid)
    moves = (best // grid[1] - torch.arange(grid[0])[:, None], best % grid[1] - torch.arange(grid[1]))
    rows, columns = (_cell_of(side, length) for length in grid)
    down, across = (
        (move * side / length).round().long()[rows][:, columns] for move, length in zip(moves, grid, strict=True)
    )
    place = torch.arange(side)
    return before[(place[:, None] + down).clamp(0, side - 1), (place + across).clamp(0, side - 1)]


def five_classes(
    alike: Float[Tensor, "N M"], before: Int64[Tensor, "S S"], grid: tuple[int, int]
) -> Int64[Tensor, "S S"]:
    """The mask in the second frame as for DAVIS: each patch is of the classes of the five most similar ones, weighed by
    softmax; shares are resized to the image, and the class with the largest one is that of a pixel.

    Args:
        alike: see `similarities`.
        before: number of the thing at each pixel of the first frame.
        grid: rows and columns of patches.
    """
    count = int(before.max()) + 1
    classes = F.one_hot(cell_labels(before[None], count, grid)[0], count).double()
    value, place = alike.topk(min(_NEIGHBOURS, alike.shape[1]), dim=1)
    shares = ((value / _TEMPERATURE).softmax(dim=1)[..., None] * classes[place]).sum(dim=1)
    resized = F.interpolate(shares.T.unflatten(1, grid)[None], size=before.shape, mode="bilinear", align_corners=False)
    return resized[0].argmax(dim=0)


def _has_next(sample: Sample) -> bool:
    """Whether there is a second frame of the same things; packed scenes have a text in its place."""
    later = sample.extra.get("next_frame")
    return isinstance(later, Sample) and len(later.regions) == len(sample.regions)


def _numbers(sample: Sample) -> Int64[Tensor, "S S"]:
    """1 for the first thing of a frame, and so on; later ones cover those before them."""
    found = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for number, region in enumerate(sample.regions, start=1):
        found[region_mask(region, WHOLE, (SIDE, SIDE))] = number
    return found


def _apart(length: int) -> Float[Tensor, "n n"]:
    """Distances of places on an axis, in cells."""
    place = torch.arange(length, dtype=torch.float64)
    return (place[:, None] - place).abs()


def _beyond(apart: Float[Tensor, "n n"]) -> Tensor:
    return apart > max(1, -(-_REACH * len(apart) // 1))


def _cell_of(side: int, length: int) -> Int64[Tensor, " S"]:
    """The cell that the middle of each pixel lies in."""
    return ((torch.arange(side) + 0.5) * length / side).long()


def _carried(
    plan: FramePlan, maps: list[Tensor], rule: Callable[[Tensor, Tensor], Tensor], colours: bool = False
) -> Iterator[Int64[Tensor, "S S"]]:
    for first, second, before in zip(*maps, plan.before, strict=True):
        yield rule(similarities(first, second, colours), before)


def _by_colours(plan: FramePlan) -> Iterator[Int64[Tensor, "S S"]]:
    """By the mean colours of patches of one size, whatever the model."""
    plain, grid = Preprocess(SIDE, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), (_COLOURED, _COLOURED)
    maps = [F.adaptive_avg_pool2d(plain.read(each.pictures), grid) for each in (plan.first, plan.second)]
    return _carried(plan, maps, lambda alike, before: moved_pixels(alike, before, grid), colours=True)


def _values(plan: FramePlan, carried: Iterator[Int64[Tensor, "S S"]]) -> Float[np.ndarray, " Q"]:
    """J of each thing."""
    masks, values = list(carried), []
    for pair, number in plan.things:
        found, right = masks[pair] == number, plan.after[pair] == number
        values.append(float((found & right).sum() / (found | right).sum()))
    return np.array(values)
