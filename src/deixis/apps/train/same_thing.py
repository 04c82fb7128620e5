"""Of a method that learns individuals: what of DATA it can learn from, and how often it finds the same thing again."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import torch

from deixis.data.loading.sampler import group_of
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.stages import group_size, offers
from deixis.errors import DeixisError
from deixis.ops.similarity.identity import identity_ranks
from deixis.types import Batch, Source
from deixis.types.protocols import AnyMethod, OffersEncodeImage

__all__ = ["require_things", "several_of_each", "share_found_again"]


def several_of_each(source: Source, method: AnyMethod) -> tuple[Source, list[str]]:
    """The pictures of things of which there are two or more, where the method asks for groups of them; and a note.

    Args:
        source: with groups.
        method: that is trained.

    Raises:
        DeixisError: there are fewer than two such things.
    """
    if group_size(method) == 1:
        return source, []
    counts = collections.Counter(group_of(sample) for sample in source.samples)
    several = tuple(sample for sample in source.samples if counts[group_of(sample)] > 1)
    things = sum(count > 1 for count in counts.values())
    if things < 2:
        raise DeixisError(
            f"{source.name!r} has {len(counts)} things, and two pictures or more of {things}.",
            "Name the column with the same value for pictures of one thing, such as --group product_id, or give more.",
        )
    alone = len(source.samples) - len(several)
    note = (
        [f"{alone} of {len(source.samples)} pictures are the only one of their thing, and are left out."]
        if alone
        else []
    )
    return dataclasses.replace(source, samples=several), note


def require_things(size: int, group: int, things: int) -> None:
    """Refuses a batch that would hold some things twice.

    Args:
        size: of the batch.
        group: pictures of each thing in it.
        things: that there are to train on.

    Raises:
        DeixisError: there are too few.
    """
    if group > 1 and size > things * group:
        raise DeixisError(
            f"A batch of {size} holds {size // group} things with {group} pictures of each, and there are {things}.",
            f"Give a --batch-size of {things * group} or less, or more things.",
        )


def share_found_again(method: AnyMethod, batches: Iterable[Batch]) -> float:
    """The share of pictures to which another one of the same thing is the nearest of all.

    Args:
        method: that encodes images.
        batches: with images and groups.
    """
    device = next(method.parameters()).device
    vectors, ids = [], []
    with eval_without_grad(method):
        assert offers(method, OffersEncodeImage)
        for batch in batches:
            assert batch.images is not None
            assert batch.groups is not None
            vectors.append(method.encode_image(batch.images.to(device)).float().cpu())
            ids.append(batch.groups)
    gallery, individuals = torch.cat(vectors), torch.cat(ids)
    found = identity_ranks(gallery, gallery, individuals, individuals, torch.arange(len(gallery)))
    asked = found.hits > 0
    return float((found.first[asked] == 1).double().mean()) if bool(asked.any()) else 0.0
