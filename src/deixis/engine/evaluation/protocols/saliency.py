"""Whether maps tell the truth: by method, layer and measure, on pictures with masks."""

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
    title="Saliency maps, compared with masks and tested against random weights",
    capabilities=(("encode_image", "encode_text"), ("attribute",)),
    fields=("images", "masks"),
    metrics=(
        EvalMetric("pointing", "pointing"),
        EvalMetric("difficult", "difficult"),
        EvalMetric("exact", "exact"),
        EvalMetric("energy", "energy"),
        EvalMetric("overlap", "overlap"),
        EvalMetric("insertion", "insertion"),
        EvalMetric("deletion", "deletion", "lower"),
        EvalMetric("class_sensitivity", "two things", "lower"),
        EvalMetric("random_label", "absent noun", "lower"),
    ),
    plots=("pointing",),
    axis="layer of the map",
    test="the first pictures that have masks (24 by default, see --limit); nothing is trained or chosen",
    source="Zhang et al. 2018 (pointing game); Adebayo et al. 2018 (random weights); Petsiuk et al. 2018",
    slow=True,
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> Source:
    """The pictures; which of their things are seen hangs on the model."""
    return data.source


def measure(plan: Source, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """All measures of every map."""
    encoder = model.require_encoder()
    todo = entries(encoder, options.methods)
    asked = questions(encoder, plan, options.limit or PICTURES)
    talk.say(f"{len(asked.picture)} things of {len(asked.nouns)} nouns are asked for in {len(asked.images)} pictures.")
    rows = []
    with talk.step("explain"), talk.bar("explain and measure") as bar:
        for done, entry in enumerate(todo):
            bar(done, len(todo))
            rows.append(measure_entry(entry, encoder, asked))
        bar(len(todo), len(todo))
    arms = {f"{row.method}, {row.layer}".strip(", "): _columns(row, asked) for row in rows}
    facts = {"pictures": len(asked.images), "questions": len(asked.picture)}
    return EvalOutput(arms, (), facts, SaliencyResult(plan.name, encoder, todo, asked, rows))


def _columns(row: SaliencyRow, asked: SaliencyQueries) -> dict[Column, QueryValues]:
    found = {}
    for name, values in row.values.items():
        known, pictures = np.isfinite(values), asked.picture[: len(values)].numpy()
        if known.any():
            nouns = [asked.nouns[i] for i in asked.noun[: len(values)].tolist()]
            queries = [f"{picture}: {noun}" for picture, noun in zip(pictures, nouns, strict=True)]
            kept = tuple(query for query, has in zip(queries, known, strict=True) if has)
            found[Column(name)] = QueryValues(values[known], kept, pictures[known])
    return found
