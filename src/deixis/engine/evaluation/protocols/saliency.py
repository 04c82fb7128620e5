"""Whether maps tell the truth: by method, layer and measure, on pictures with masks or boxes."""

from __future__ import annotations

import numpy as np

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.saliency import SaliencyQueries, questions
from deixis.engine.evaluation.saliency_checks import SaliencyResult, SaliencyRow, entries
from deixis.engine.evaluation.saliency_checks import measure as measure_entry
from deixis.types import EvalMetric, EvalProtocol, Source

__all__ = ["PROTOCOL", "measure", "prepare"]

PICTURES = 24
"""Pictures that are taken where no limit is given."""

PROTOCOL = EvalProtocol(
    title="Saliency maps, compared with masks (boxes where there are none) and tested against random weights",
    capabilities=(("encode_image", "encode_text"), ("attribute",)),
    fields=("images", "boxes"),
    metrics=(
        EvalMetric("pointing", "pointing"),
        EvalMetric("difficult", "difficult"),
        EvalMetric("exact", "exact"),
        EvalMetric("energy", "energy"),
        EvalMetric("overlap", "overlap"),
        EvalMetric("named", "named"),
        EvalMetric("insertion", "insertion"),
        EvalMetric("deletion", "deletion", "lower"),
        EvalMetric("class_sensitivity", "two things", "lower"),
        EvalMetric("random_label", "absent noun", "lower"),
    ),
    plots=("pointing",),
    axis="layer of the map",
    test="the first pictures that have masks or boxes (24 by default, see --limit); nothing is trained or chosen",
    source="Zhang et al. 2018 (pointing game); Adebayo et al. 2018 (random weights); Petsiuk et al. 2018",
    slow=True,
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> Source:
    """The pictures; which of their objects are visible depends on the model's crop."""
    return data.source


def measure(plan: Source, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """All measures of every map."""
    encoder = model.require_encoder()
    todo = entries(encoder, options.methods)
    queries = questions(encoder, plan, options.limit or PICTURES)
    talk.say(
        f"{len(queries.picture)} objects of {len(queries.nouns)} nouns are queried in {len(queries.images)} pictures."
    )
    rows = []
    with talk.step("explain"), talk.bar("explain and measure") as bar:
        for done, entry in enumerate(todo):
            bar(done, len(todo))
            rows.append(measure_entry(entry, encoder, queries))
        bar(len(todo), len(todo))
    arms = {f"{row.method}, {row.layer}".strip(", "): _columns(row, queries) for row in rows}
    facts = {"pictures": len(queries.images), "questions": len(queries.picture)}
    return EvalOutput(arms, (), facts, SaliencyResult(plan.name, encoder, todo, queries, rows))


def _columns(row: SaliencyRow, queries: SaliencyQueries) -> dict[Column, QueryValues]:
    found = {}
    for name, values in row.values.items():
        known, pictures = np.isfinite(values), queries.picture[: len(values)].numpy()
        if known.any():
            nouns = [queries.nouns[i] for i in queries.noun[: len(values)].tolist()]
            names = [f"{picture}: {noun}" for picture, noun in zip(pictures, nouns, strict=True)]
            named = tuple(name for name, has in zip(names, known, strict=True) if has)
            found[Column(name)] = QueryValues(values[known], named, pictures[known])
    return found
