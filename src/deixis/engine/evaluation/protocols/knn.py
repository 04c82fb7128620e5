"""k nearest neighbours on image features, weighted by similarity as in DINO's protocol.

score(c) = sum over the k nearest training images i of exp(s_i / T) [y_i = c],     s: cosine, T = 0.07
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.classify import accuracies, labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import ProbeSplit, probe_split
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "TEMPERATURE", "measure", "neighbour_scores", "prepare"]

TEMPERATURE = 0.07

PROTOCOL = EvalProtocol(
    title="Classification by nearest neighbours of image features (--neighbours)",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "labels"),
    metrics=(
        EvalMetric("top1", "top-1"),
        EvalMetric("top5", "top-5"),
        EvalMetric("mean_per_class", "mean per class"),
    ),
    plots=("top1", "top5", "mean_per_class"),
    axis="neighbours (k)",
    test="the split `test`, else two fifths of the images, by concept; the rest are the training images",
    source="Wu et al. 2018; Caron et al. 2021 (DINO): k = 20, T = 0.07",
)


def neighbour_scores(
    queries: Float[Tensor, "Q F"], gallery: Float[Tensor, "G F"], labels: Int64[Tensor, " G"], classes: int, k: int
) -> Float[Tensor, "Q C"]:
    """Votes of the k nearest images of a gallery, each exp(cosine / T).

    Args:
        queries: features; their length does not matter.
        gallery: features of labelled images.
        labels: their classes.
        classes: how many there are (C).
        k: neighbours; all, where there are fewer.
    """
    gallery = F.normalize(gallery.double(), dim=-1)
    found = []
    for rows in F.normalize(queries.double(), dim=-1).split(1024):
        near, place = (rows @ gallery.T).topk(min(k, len(gallery)), dim=1)
        # The nearest neighbour votes with 1: the scale of a row changes no order, and large features don't overflow.
        votes = ((near - near[:, :1]) / TEMPERATURE).exp()
        found.append(torch.zeros(len(rows), classes, dtype=torch.float64).scatter_add(1, labels[place], votes))
    return torch.cat(found)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> tuple[EvalSet, ProbeSplit]:
    """The labelled images in two parts."""
    if not options.neighbours or min(options.neighbours) < 1:
        raise DeixisError(f"{list(options.neighbours)} neighbours are requested.", "Give 1 or more: --neighbours 20")
    every = data.labelled(options.limit, talk.say)
    return every, probe_split(every)


def measure(plan: tuple[EvalSet, ProbeSplit], model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy for each k, one value a test image."""
    data, split = plan
    train, test = data.take(split.train), data.take(split.test)
    features, labels = model.image_features(data, talk), labels_of(data.take(split.train), split.classes)
    gallery, queries = features[list(split.train)], features[list(split.test)]
    columns: dict[Column, np.ndarray] = {}
    for k in dict.fromkeys(options.neighbours):
        scores = neighbour_scores(queries, gallery, labels, len(split.classes), k)
        condition = f"k={k}" if len(set(options.neighbours)) > 1 else ""
        columns |= accuracies(scores, labels_of(test, split.classes), condition)
    ordered = sorted(columns, key=lambda column: [metric.name for metric in PROTOCOL.metrics].index(column.metric))
    notes = [f"k = {', '.join(map(str, dict.fromkeys(options.neighbours)))}; {split.note(len(train.samples))}"]
    if max(options.neighbours) > len(train.samples):
        notes.append(f"There are {len(train.samples)} images to look among, fewer than k: all of them vote.")
    return EvalOutput.of(
        {Column(*column): columns[column] for column in ordered},
        test,
        notes,
        classes=len(split.classes),
        neighbours=list(dict.fromkeys(options.neighbours)),
    )
