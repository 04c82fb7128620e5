"""Which of the regions does an expression mean? For methods that choose among the regions of a picture.

Each phrase is a sentence of its own. A phrase of which no region is right can't be found: the share that could be
stands beside, and so do choices that read no words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from deixis.engine.evaluation.data import EvalData, on_test
from deixis.engine.evaluation.grounding import PhraseQuery, phrase_queries
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.protocols.grounding import PhrasePlan
from deixis.engine.evaluation.protocols.word_region import blind_choices, right_regions
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.region_pairs import RegionPairs
from deixis.nn import compute
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Which of the regions is meant: accuracy of the one that an expression chooses",
    capabilities=(("refer",),),
    fields=("images", "boxes", "phrases"),
    metrics=(
        EvalMetric("accuracy", "the region chosen"),
        EvalMetric("largest", "the largest region"),
        EvalMetric("first", "the likeliest region"),
        EvalMetric("chance", "any region"),
        EvalMetric("could", "one of the regions is right"),
    ),
    plots=("accuracy", "largest", "first"),
    axis="family of phrase",
    test="the split `test` if the data has one, else all images; one phrase at a time",
    source="Yu et al. 2016 (RefCOCO: accuracy at IoU 0.5)",
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> PhrasePlan:
    """The pictures, and their phrases for what is there."""
    some = on_test(data.boxed(options.limit, talk.say, phrases=True))
    return PhrasePlan(some, [query for query in phrase_queries(some.samples) if query.regions])


def measure(plan: PhrasePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """For each phrase whether the region chosen is one that it names, in all and by family."""
    data, queries = plan
    rows = {metric.name: np.zeros(len(queries)) for metric in PROTOCOL.metrics}
    with talk.step("choose regions"), talk.bar("choose regions") as bar:
        for number, (query, (boxes, scores)) in enumerate(zip(queries, _chosen(plan, model), strict=True)):
            bar(number + 1, len(queries))
            if not len(boxes):
                continue
            right = right_regions(boxes, query.regions)
            values = {"accuracy": float(right[scores.argmax()]), **blind_choices(boxes, right)}
            for name, value in values.items():
                rows[name][number] = value
    families = np.array([query.family for query in queries])
    names = np.array([f"{data.samples[query.picture].id}: {query.phrase}" for query in queries], object)
    clusters = data.clusters[np.array([query.picture for query in queries])]
    columns = {}
    for name, row in rows.items():
        for family in ("", *sorted(set(families.tolist()))):
            some = families == family if family else np.ones(len(queries), dtype=bool)
            columns[Column(name, family)] = QueryValues(row[some], tuple(names[some]), clusters[some])
    return EvalOutput({"": columns}, (), {"images": len(data.samples), "phrases": len(queries)})


def _chosen(plan: PhrasePlan, model: EvalModel) -> Iterator[tuple[Float[Tensor, "T 4"], Float[Tensor, " T"]]]:
    """The regions of each phrase's picture, and how well the phrase fits each."""
    queries: Sequence[PhraseQuery] = plan.queries
    pairs, pictures = RegionPairs(model.model), [plan.data.samples[query.picture].picture for query in queries]
    device = compute.current().device
    with compute.placed(pairs.method), eval_without_grad(pairs.method):
        for batch in pairs.batches(pictures, [query.phrase for query in queries]):
            scores: Tensor = pairs.method.refer(batch.to(device)).float().cpu()
            assert batch.boxes is not None
            for boxes, valid, row in zip(batch.boxes.float(), batch.valid["T"], scores, strict=True):
                yield boxes[valid], row[valid]
