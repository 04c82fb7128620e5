"""Accuracy of a model that has learned the classes itself."""

from __future__ import annotations

from deixis.engine.evaluation.classify import accuracies, labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import EvalOutput, EvalReporter
from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.types import EvalMetric, EvalProtocol
from deixis.types.protocols import HasNames

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Accuracy of a classifier on the classes it was trained on",
    capabilities=(("classify",),),
    fields=("images", "labels"),
    metrics=(
        EvalMetric("top1", "top-1"),
        EvalMetric("top5", "top-5"),
        EvalMetric("mean_per_class", "mean per class"),
    ),
    plots=("top1", "top5", "mean_per_class"),
    test="the split `test` if the data has one, else all images",
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The labelled images."""
    return on_test(data.labelled(options.limit, talk.say))


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy, one value an image."""
    names = [str(name) for name in model.model.names] if isinstance(model.model, HasNames) else []
    labels = sorted({str(sample.label) for sample in plan.samples})
    place = {spoken: name for name, spoken in zip(names, class_names(names), strict=True)}
    spoken = dict(zip(labels, class_names(labels), strict=True))
    unknown = [label for label in labels if spoken[label] not in place]
    if unknown:
        raise DeixisError(
            f"{model.name} was not trained on {len(unknown)} of the {len(labels)} classes, such as {unknown[0]!r}.",
            f"It was trained on: {', '.join(names[:9]) or 'none'}. Measure it on these, or with another --protocol.",
        )
    order = [place[spoken[label]] for label in labels]
    classes = [*labels, *(name for name in names if name not in order)]
    columns = [names.index(each) for each in [*order, *classes[len(labels) :]]]
    logits = model.class_logits(plan, talk)[:, columns]
    counts = f"{len(plan.samples)} images of {len(labels)} classes; the model knows {len(names)}."
    return EvalOutput.of(
        accuracies(logits, labels_of(plan, classes)),
        plan,
        [counts],
        classes=len(labels),
    )
