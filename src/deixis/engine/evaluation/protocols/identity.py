"""The same thing again: each picture looks for the other pictures of what it shows.

Things are told by the column of --group (or the label, where there are no groups); a picture's own copy is no answer.
"""

from __future__ import annotations

import numpy as np
import torch

from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.errors import DeixisError
from deixis.ops.similarity.identity import identity_ranks
from deixis.types import EvalMetric, EvalProtocol, Sample

__all__ = ["PROTOCOL", "individual_of", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="The same thing again: whether the nearest pictures show the same product, animal or person (--group)",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "individuals"),
    metrics=(
        EvalMetric("rank1", "rank 1"),
        EvalMetric("rank5", "rank 5"),
        EvalMetric("rank10", "rank 10"),
        EvalMetric("mean_average_precision", "mAP"),
    ),
    plots=("rank1", "mean_average_precision"),
    test="the split `test`, else all; nothing is learned",
    source="Zheng et al. 2015 (Market-1501), without cameras: cumulative matches and mean average precision",
    slow=True,
)


def individual_of(sample: Sample) -> str:
    """What a picture shows, by name; empty where that is not known."""
    return sample.groups[0] if sample.groups else sample.label or ""


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The pictures to report on.

    Raises:
        DeixisError: no two pictures show one thing.
    """
    every = on_test(data.individuals(options.limit, talk.say))
    names = [individual_of(sample) for sample in every.samples]
    if len(set(names)) == len(names):
        raise DeixisError(
            f"No two of the {len(names)} pictures show the same thing.",
            "Name the column that tells things apart: --group product_id",
        )
    return every


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Matches and average precision, one value for each picture of whose thing there is another."""
    names = [individual_of(sample) for sample in plan.samples]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    ids = torch.tensor([numbers[name] for name in names])
    vectors = model.image_embeddings(plan, talk)
    found = identity_ranks(vectors, vectors, ids, ids, torch.arange(len(ids)))
    asked = (found.hits > 0).nonzero()[:, 0].tolist()
    first = found.first[asked]
    columns: dict[Column, np.ndarray] = {Column(f"rank{k}"): (first <= k).double().numpy() for k in (1, 5, 10)}
    columns[Column("mean_average_precision")] = found.precision[asked].numpy()
    alone = len(names) - len(asked)
    notes = [f"{len(numbers)} things; each picture looks among {len(names) - 1} others."]
    if alone:
        notes.append(f"{alone} of {len(names)} pictures are the only one of their thing, and only answers.")
    return EvalOutput.of(columns, plan.take(asked), notes, things=len(numbers))
