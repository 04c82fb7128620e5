"""How much images that got worse are still recognised: twelve kinds of noise, blur, light and coding, three strengths.

Where there are labels a linear classifier is fitted on the features of clean images, as in the protocol `linear`, and
is asked about test images that got worse. Without labels these look for their originals, as in `copies`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional as F

from deixis.data.quality.corruptions import KINDS, STRENGTHS, CorruptedImage
from deixis.engine.evaluation.classify import labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test, redrawn
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import LinearProbe, ProbeSplit, linear_probe, probe_split
from deixis.errors import DeixisError
from deixis.ops.metrics import accuracy
from deixis.ops.similarity.copies import copy_matches
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "CorruptionPlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Images that got worse by noise, blur, light or coding: top-1 of a classifier of clean ones (labels), or R@1 "
    "of their originals",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images",),
    metrics=(EvalMetric("corrupted", "top-1 or R@1"), EvalMetric("clean", "the same of clean images")),
    plots=("corrupted",),
    axis="kind, all strengths; strength, all kinds",
    test="120 images of the split `test`, else of two fifths of the images, by concept; the classifier is fitted on "
    "all others. Without labels 200 images, or --limit",
    source="Hendrycks, Dietterich 2019, with strengths of our own",
    slow=True,
)

_QUERIES, _MOST = 120, 200
_ALL = "all kinds"


class CorruptionPlan(NamedTuple):
    """What is measured.

    Attributes:
        data: all images.
        queries: the images that get worse.
        split: labelled images in three parts, of which the last holds the queries; None without labels.
    """

    data: EvalSet
    queries: EvalSet
    split: ProbeSplit | None


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> CorruptionPlan:
    """The images, in parts where they have labels.

    Raises:
        DeixisError: without labels, no two images differ.
    """
    if data.has("labels"):
        every = data.labelled(options.limit, talk.say)
        split = probe_split(every, validation=True)
        step = max(1.0, len(split.test) / _QUERIES)
        split = split._replace(test=tuple(split.test[int(i * step)] for i in range(int(len(split.test) / step))))
        return CorruptionPlan(every, every.take(split.test), split)
    every = on_test(data.pictured(options.limit or _MOST, talk.say))
    if len(set(every.groups)) < 2:
        raise DeixisError("All images are near-duplicates of one another.", "Give two that differ.")
    return CorruptionPlan(every, every, None)


def measure(plan: CorruptionPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """One value an image, of each kind (the mean of its strengths) and of each strength (the mean of the kinds)."""
    features = model.image_features(plan.data, talk)
    probe = None
    if plan.split is not None:
        with talk.step("learn"):
            probe = linear_probe(features, plan.data, plan.split)
    clean = _right(plan, features, probe, model.image_features(plan.queries, talk))
    table = np.stack(
        [
            [_right(plan, features, probe, model.image_features(_worse(plan.queries, *each), talk)) for each in of_kind]
            for of_kind in ([(kind, strength) for strength in STRENGTHS] for kind in KINDS)
        ]
    )  # kinds, strengths, queries
    columns = {Column("corrupted", _ALL): table.mean(axis=(0, 1))}
    columns |= {Column("corrupted", kind): values for kind, values in zip(KINDS, table.mean(axis=1), strict=True)}
    by_strength = zip(STRENGTHS, table.mean(axis=0), strict=True)
    columns |= {Column("corrupted", f"strength {strength}"): values for strength, values in by_strength}
    columns[Column("clean")] = clean
    if probe is None or plan.split is None:
        notes = [f"R@1: {len(plan.queries.samples)} images look for their originals among themselves when clean."]
    else:
        learned = len(plan.split.train) + len(plan.split.validation)
        notes = ["Top-1 of a linear classifier.", probe.note(plan.split), plan.split.note(learned)]
    return EvalOutput.of(columns, plan.queries, notes, labels=probe is not None)


def _worse(data: EvalSet, kind: str, strength: int) -> EvalSet:
    return redrawn(data, f"{kind} {strength}", lambda picture, digest: CorruptedImage(picture, kind, strength, digest))


def _right(
    plan: CorruptionPlan,
    features: Float[torch.Tensor, "N F"],
    probe: LinearProbe | None,
    queries: Float[torch.Tensor, "Q F"],
) -> Float[np.ndarray, " Q"]:
    """Whether each query is named rightly, or finds its original."""
    if probe is not None and plan.split is not None:
        return np.asarray(accuracy(probe.scores(queries), labels_of(plan.queries, plan.split.classes)).numpy())
    rows, images = (F.normalize(each.double(), dim=1) for each in (queries, features))
    return np.asarray(copy_matches(rows, images, torch.tensor(plan.data.groups)).first.double().numpy())
