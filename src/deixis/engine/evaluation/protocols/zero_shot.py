"""Classification by the names of the classes: nothing is learned."""

from __future__ import annotations

from typing import NamedTuple

from deixis.engine.evaluation.classify import accuracies, labels_of, name_logits
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot.names import class_names
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Classification by class names in prompts (--templates)",
    capabilities=(("encode_image", "encode_text"), ("compare",), ("adapters",)),
    fields=("images", "labels"),
    metrics=(
        EvalMetric("top1", "top-1"),
        EvalMetric("top5", "top-5"),
        EvalMetric("mean_per_class", "mean per class"),
    ),
    plots=("top1", "top5", "mean_per_class"),
    test="the split `test` if the data has one, else all images",
    source="Radford et al. 2021 (CLIP), section 3.1",
)


class _Plan(NamedTuple):
    data: EvalSet
    classes: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> _Plan:
    """The labelled images, and all classes of the data."""
    every = data.labelled(options.limit, talk.say)
    classes = tuple(sorted({str(sample.label) for sample in every.samples}))
    class_names(classes)
    return _Plan(on_test(every), classes)


def measure(plan: _Plan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy, one value an image."""
    data, classes = plan
    logits = name_logits(model, data, classes, options.templates, talk)
    counts = f"{len(data.samples)} images of {len(classes)} classes, templates: {' | '.join(options.templates)}"
    return EvalOutput.of(
        accuracies(logits, labels_of(data, classes)),
        data,
        [counts],
        classes=len(classes),
    )
