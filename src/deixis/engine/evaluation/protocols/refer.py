"""Which of the regions does an expression mean? For methods that choose among the regions of a picture.

Each phrase is a sentence of its own. A phrase of which no region is right can't be found: the share that could be
stands beside, and so do choices that read no words.
"""

from __future__ import annotations

import numpy as np

from deixis.engine.evaluation.data import EvalData, on_test
from deixis.engine.evaluation.grounding import phrase_queries
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.protocols.grounding import PhrasePlan
from deixis.engine.evaluation.protocols.word_region import blind_choices, right_regions
from deixis.engine.features.region_pairs import RegionPairs
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
    pairs, pictures = RegionPairs(model.model), [data.samples[query.picture].picture for query in queries]
    with talk.step("choose regions"), talk.bar("choose regions") as bar:
        found = pairs.by_region(pairs.method.refer, pictures, [query.phrase for query in queries])
        for number, (query, answer) in enumerate(zip(queries, found, strict=True)):
            bar(number + 1, len(queries))
            if not len(answer.boxes):
                continue
            right = right_regions(answer.boxes, query.regions)
            values = {"accuracy": float(right[answer.scores.argmax()]), **blind_choices(answer.boxes, right)}
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
