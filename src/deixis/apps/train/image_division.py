"""Images for a method that learns from images alone, divided by near-duplicate group: those that it trains on, those
that are held back, and of both the ones that encoders are compared by."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from deixis.apps.common.console import Reporter
from deixis.data.quality import check as checks
from deixis.data.splits import MIN_GROUPS, split
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.training.batching import needs_of
from deixis.engine.training.stages import card_of, config_specs, stages
from deixis.errors import DeixisError
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import pooled
from deixis.types import Sample, Source, ViewSpec
from deixis.types.protocols import AnyMethod

__all__ = ["ImageDivision", "QueryParts", "divide_images", "learns_from_images_alone", "require_crops"]

_FIELDS = {"images", "views", "view_boxes"}
_CHECKED, _GALLERY, _QUERIES = 100_000, 1000, 100
_SIDES = 2
"""Parts of the held-out share: one to choose an encoder by, and one to report on."""


class QueryParts(NamedTuple):
    """Indices of images that are searched for: to choose an encoder by, and to report on."""

    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ImageDivision:
    """What encoders of images are compared by. No near-duplicates stand in two parts.

    Attributes:
        data: all images that take part, with labels where they have some; groups are near-duplicates.
        gallery: indices of images that were trained on, beside `trained_on`.
        trained_on: queries that were trained on.
        held_back: queries that were not.
        withheld: how many images were not trained on.
    """

    data: EvalSet
    gallery: tuple[int, ...]
    trained_on: QueryParts
    held_back: QueryParts
    withheld: int


def learns_from_images_alone(method: AnyMethod) -> bool:
    """Whether a method trains an image tower without words and labels, and embeds images."""
    card = card_of(method)
    needs = {spec.name for stage in stages(method) for spec in needs_of(method, stage)}
    tower = any(part.kind == "image_tower" and not part.frozen for part in card.parts)
    return card.kind == "trained" and tower and "encode_image" in card.capabilities and needs <= _FIELDS


def require_crops(method: AnyMethod) -> None:
    """Refuses, before any work, crops that a tower can't take, such as those smaller than one of its cells.

    Args:
        method: that learns from images alone.

    Raises:
        DeixisError: a size is refused.
    """
    part = next(part.name for part in card_of(method).parts if part.kind == "image_tower")
    tower: Any = getattr(method, part)
    first = next(tower.parameters())
    for size in sorted({crop.size for view in config_specs(method, ViewSpec) for crop in view.crops}):
        try:
            with evaluating(tower), torch.no_grad():
                pooled(tower, torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype))
        except RuntimeError as error:
            raise DeixisError(
                f"The tower {tower.name!r} takes no crops of {size} by {size} pixels: they hold none of its cells.",
                "Take larger crops (view.crops), or a tower with smaller cells, such as scratch:resnet:stride8.",
            ) from error


def divide_images(
    source: Source, share: float, seed: int, talk: Reporter
) -> tuple[Source, ImageDivision | None, list[str]]:
    """The images that are trained on, how encoders are compared, and why they are not where they are not.

    Args:
        source: with images.
        share: of the images, to report on; as many more are held back to choose by.
        seed: of the division.
        talk: receives the progress.
    """
    if not share:
        return source, None, []
    if len(source.samples) > _CHECKED:
        many = f"Nothing is held back: near-duplicates are looked for among {_CHECKED:,} images at the most."
        return source, None, [many]
    data = _checked(source, talk)
    try:
        held_share = min(0.5, _SIDES * share, _SIDES * _GALLERY / max(1, len(data.samples)))
        parts = split(data.groups, seed, 1 - held_share, minimum=MIN_GROUPS)
        held_back = _queries(data, parts.test, seed)
    except DeixisError as error:
        return source, None, [f"Nothing is held back, and encoders are not compared: {error.found}"]
    trained_on = _queries(data, _some(data, parts.train, len(parts.train) // 2, seed), seed)
    taken = {data.groups[i] for part in trained_on for i in part}
    rest = [i for i in parts.train if data.groups[i] not in taken]
    gallery = sorted(random.Random(seed).sample(rest, min(_GALLERY, len(rest))))
    withheld = {data.samples[i].id for i in parts.test}
    train = tuple(sample for sample in source.samples if sample.id not in withheld)
    division = ImageDivision(data, tuple(gallery), trained_on, held_back, len(withheld))
    return dataclasses.replace(source, samples=train), division, []


def _checked(source: Source, talk: Reporter) -> EvalSet:
    """The images that can be read, in groups of near-duplicates."""
    bare = tuple(_bare(sample) for sample in source.samples)
    kind = "labels" if any(sample.label for sample in bare) else "images"
    plain = dataclasses.replace(source, kind=kind, samples=bare)
    with talk.step("check"), talk.bar("check images") as bar:
        report = checks.check(plain, progress=bar)
    return EvalSet.of(report.usable(plain), report.hashes, report.same, report.fingerprint)


def _bare(sample: Sample) -> Sample:
    return dataclasses.replace(sample, captions=(), groups=())


def _some(data: EvalSet, among: Sequence[int], count: int, seed: int) -> list[int]:
    """Whole groups of some images, until there are so many."""
    members: dict[int, list[int]] = {}
    for i in among:
        members.setdefault(data.groups[i], []).append(i)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    found: list[int] = []
    for group in order:
        if len(found) + len(members[group]) <= count:
            found += members[group]
    return sorted(found)


def _queries(data: EvalSet, among: Sequence[int], seed: int) -> QueryParts:
    """Two parts of some images, each of `_QUERIES` at the most."""
    groups = [data.groups[i] for i in among]
    halves = split(groups, seed, 0.5, minimum=2)
    validation, test = ([among[i] for i in half] for half in (halves.train, halves.test))
    return QueryParts(*(tuple(_some(data, half, min(_QUERIES, len(half)), seed)) for half in (validation, test)))
