"""Phrases on pictures: boxes of what they name, where these are right, and whether anything is there at all.

Each phrase is given alone, as a sentence of its own. A picture's phrases for things that it does not show stand in the
column `absent`.
"""

from __future__ import annotations

from typing import NamedTuple

from deixis import zoo
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.grounders import answer_by_method, control
from deixis.engine.evaluation.grounding import GroundingResult, PhraseQuery, grounding_values, phrase_queries
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol
from deixis.types.protocols import Proposals

__all__ = ["PROTOCOL", "PhrasePlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Boxes for phrases: recall, accuracy and pointing, and phrases for what is not there",
    capabilities=(("ground",), ("encode_image", "encode_text")),
    fields=("images", "boxes", "phrases"),
    metrics=(
        EvalMetric("any_r1", "R@1, any box"),
        EvalMetric("any_r5", "R@5, any box"),
        EvalMetric("any_r10", "R@10, any box"),
        EvalMetric("merged_r1", "R@1, merged box"),
        EvalMetric("merged_r5", "R@5, merged box"),
        EvalMetric("merged_r10", "R@10, merged box"),
        EvalMetric("accuracy", "accuracy at IoU 0.5, one thing"),
        EvalMetric("accuracy_giou", "the same at GIoU 0.5 (MDETR's code)"),
        EvalMetric("pointing", "pointing"),
        EvalMetric("several_f1", "boxes of several things, F1"),
        EvalMetric("auroc", "absent phrases, AUROC"),
        EvalMetric("false_answers", "absent phrases answered", "lower"),
        EvalMetric("answered", "other phrases answered"),
        EvalMetric("found_at_5", "pointed at rightly where 5 % of absent phrases are answered"),
        EvalMetric("mask_iou", "mIoU of masks"),
        EvalMetric("mask_overall", "overall IoU of masks"),
    ),
    plots=("any_r1", "accuracy", "pointing"),
    test="the split `test` if the data has one, else all images; one phrase at a time",
    source="Plummer et al. 2015 (Flickr30k Entities: any and merged boxes); Yu et al. 2016 (RefCOCO: accuracy)",
    methods=("middle", "largest", "crops", "windows"),
    slow=True,
)


_NOTE = (
    "A box is right where its IoU is 0.5 or more. Any: with one of the boxes of the things named; merged: with the box "
    "around all of them. Pointing: the middle of the best box lies in one of them. Phrases of one picture are drawn "
    "together."
)


class PhrasePlan(NamedTuple):
    """Pictures, and phrases about them."""

    data: EvalSet
    queries: list[PhraseQuery]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> PhrasePlan:
    """The pictures with phrases."""
    some = on_test(data.boxed(options.limit, talk.say, phrases=True))
    return PhrasePlan(some, phrase_queries(some.samples))


def measure(plan: PhrasePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """The model's own boxes, where it gives any, and beside them what any model has to beat (`--methods`)."""
    data, queries = plan
    own = None
    arms, notes = dict[str, dict[Column, QueryValues]](), [_NOTE]
    if grounds := "ground" in model.capabilities:
        with talk.step("ground"), talk.bar("ground phrases") as bar:
            own = GroundingResult(data, queries, answer_by_method(model.model, data, queries, bar))
        arms[""] = grounding_values(*own)
    encoder = model.encoder or zoo.load("starter")
    proposals, reason = _proposals(model)
    for name in options.methods or PROTOCOL.methods:
        with talk.step(name):
            try:
                answers = control(name, data, queries, encoder, proposals)
            except DeixisError as error:
                if options.methods:
                    raise
                notes.append(f"{name} is left out: {reason or error}")
                continue
        arms[name] = grounding_values(data, queries, answers, conditions=not grounds)
    absent = sum(not query.regions for query in queries)
    facts = {"images": len(data.samples), "phrases": len(queries) - absent, "absent": absent}
    return EvalOutput(arms, tuple(notes), facts, own)


def _proposals(model: EvalModel) -> tuple[Proposals | None, str]:
    """Those of the model, else the detector's; why there are none."""
    own = getattr(model.model, "proposals", None)
    if isinstance(own, Proposals):
        return own, ""
    try:
        found: Proposals = zoo.load_part("proposals", "centernet")
        return found, ""
    except DeixisError as error:
        return None, str(error)
