"""Captions of pictures: how alike they are to those that people gave, and in generated scenes how true they are.

Beside the model's captions stand what needs no model of words: the caption of the nearest other picture, and one
caption for all pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deixis.data.synthetic.scenes.caption_facts import has_looks, invented_at_recall, noun_recall
from deixis.engine.evaluation.captions.sources import generated, image_rows, nearest_other, typical
from deixis.engine.evaluation.captions.values import caption_values
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["NEAREST", "ONE_FOR_ALL", "PROTOCOL", "CaptionPlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Captions of pictures, beside the caption of the nearest picture and one caption for all",
    capabilities=(("caption",),),
    fields=("images", "captions"),
    metrics=(
        EvalMetric("cider", "CIDEr-D"),
        EvalMetric("head_noun", "the right thing is named first"),
        EvalMetric("different", "share of different captions"),
        EvalMetric("facts", "F1 of things with their looks (scenes)"),
        EvalMetric("invented", "share of nouns that are not there (CHAIR; scenes)", "lower"),
        EvalMetric("missed", "share of nouns that are not named (scenes)", "lower"),
        EvalMetric("well_formed", "well-formed captions (scenes)"),
    ),
    plots=("head_noun", "facts"),
    test="the split `test` if the data has one, else all images; the nearest picture is one of the other "
    "splits, or of another concept where there are none",
    source="CIDEr-D: Vedantam et al. 2015; CHAIR: Rohrbach et al. 2018, on nouns that a rule finds",
)

NEAREST, ONE_FOR_ALL = "nearest", "one caption for all"


class CaptionPlan(NamedTuple):
    """The pictures that are described, and those whose captions may be copied."""

    data: EvalSet
    bank: EvalSet

    @property
    def groups(self) -> tuple[Sequence[int], Sequence[int]]:
        """The concepts of both, where captions may not be copied within one: other splits are others anyway."""
        if self.data is self.bank:
            return self.data.groups, self.bank.groups
        return [-1] * len(self.data.ids), self.bank.groups

    @property
    def references(self) -> list[tuple[str, ...]]:
        """The captions of each picture."""
        return [tuple(filter(str.strip, sample.captions)) for sample in self.data.samples]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> CaptionPlan:
    """The captioned pictures of the split `test` and the others; all, where there are no splits.

    Raises:
        DeixisError: there is but one.
    """
    every = data.captioned(options.limit, talk.say)
    test = [i for i, sample in enumerate(every.samples) if sample.split == "test"]
    rest = [i for i in range(len(every.samples)) if i not in set(test)]
    plan = CaptionPlan(every.take(test), every.take(rest)) if test and rest else CaptionPlan(every, every)
    if len(plan.data.samples) < 2:
        raise DeixisError(f"{data.source.name} has one captioned picture to measure on.", "Give two or more.")
    return plan


def measure(plan: CaptionPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """One value a picture for each measure, of the model's captions and of those that need none."""
    samples, references = plan.data.samples, plan.references
    with talk.step("caption"), talk.bar("caption pictures") as bar:
        texts = {"": generated(model.model, plan.data.pictures, bar)}
    bank, notes = [each.captions[0] for each in plan.bank.samples], list[str]()
    texts[ONE_FOR_ALL] = [typical(bank)] * len(samples)
    try:
        queries, rows = image_rows(plan, model, talk)
        places = nearest_other(queries, rows, *plan.groups).tolist()
        texts[NEAREST] = [bank[place] if place >= 0 else texts[ONE_FOR_ALL][0] for place in places]
    except DeixisError as error:  # the starter is not in the cache
        notes.append(f"{NEAREST} is left out: {error}")
    arms = {arm: _columns(caption_values(some, samples, references), plan.data) for arm, some in texts.items()}
    facts: dict[str, Any] = {"images": len(samples), "captions": sum(map(len, references))}
    if all(has_looks(sample.regions) for sample in samples):
        equal = _at_equal_recall(texts, plan.data)
        facts["invented_at_equal_recall"] = equal["shares"]
        shares = ", ".join(f"{arm or model.name} {share:.1%}" for arm, share in equal["shares"].items())
        notes.append(f"Nouns that are not there, at an equal recall of {equal['recall']:.1%}: {shares}.")
    return EvalOutput(arms, tuple(notes), facts)


def _columns(values: Mapping[str, np.ndarray], data: EvalSet) -> dict[Column, QueryValues]:
    pictures = np.arange(len(data.ids))
    return {Column(name): QueryValues(column, data.ids, pictures) for name, column in values.items()}


def _at_equal_recall(texts: Mapping[str, Sequence[str]], data: EvalSet) -> dict[str, Any]:
    """Of each source of captions the share of invented nouns, up to the recall of the one that says least."""
    scenes = [sample.regions for sample in data.samples]
    recall = min(noun_recall(some, scenes) for some in texts.values())
    return {"recall": recall, "shares": {arm: invented_at_recall(some, scenes, recall) for arm, some in texts.items()}}
